"""Prepared shapes on disk, and batches of them for training."""
