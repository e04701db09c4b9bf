"""Studies: the method and its baselines on many tasks, and what the figures of the paper come to here."""
