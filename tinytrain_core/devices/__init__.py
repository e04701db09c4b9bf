"""Device classes and what a personalisation would take on them."""
