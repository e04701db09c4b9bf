"""What a run leaves for people who count: one tidy table of devices x rounds, and the figures that follow from it."""
