"""A node's connection to its server, and the loop around it."""
