"""The releases of a fleet: their registry, who signs them, and what is checked before one is rolled out."""
