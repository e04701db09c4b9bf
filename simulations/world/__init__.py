"""The world that simulated devices live in: when they are there, their links, their power, and what goes wrong."""
