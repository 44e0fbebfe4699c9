"""Meshes, solids, metrics, surfaces and pictures; NumPy only, no torch."""
