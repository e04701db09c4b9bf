"""Nodes: adding them, and keeping the SuperLink's list like ours."""
