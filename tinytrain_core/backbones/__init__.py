"""Backbones as data, their trainable and their folded form, and their files."""
