"""Inference: from a condition to tokens, and from tokens to a mesh."""
