"""Weights folders: what is in one, written and read."""
