"""Whole sets of shapes, compared and looked up."""
