"""Weights folders: their contents, and how they are written and read."""
