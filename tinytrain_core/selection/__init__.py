"""What to update: cost ledger, Fisher potential, score, fit, plan, methods."""
