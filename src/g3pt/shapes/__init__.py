"""Prepared shapes at rest, and batches of them."""
