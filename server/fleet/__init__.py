"""Operating a real fleet: its database, nodes, rollouts and reports."""
