"""What keeps a node running on its device."""
