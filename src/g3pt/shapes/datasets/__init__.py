"""Batches of stored shapes as pure functions of a step."""
