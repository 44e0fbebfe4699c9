"""Conditions of the generator: one contract for images, text and points."""
