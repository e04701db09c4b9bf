"""Personalised federated learning that aggregates weights, as a baseline: simulated only, never on a device."""
