"""Mesh files: every file of unknown origin is read here, within limits."""
