"""Hostile files at every door of g3pt, to find out whether its promises hold (docs/torture.md)."""
