"""Meshes, solids, metrics, surfaces and pictures, without torch.

Arrays are NumPy arrays. Built on SciPy, trimesh, libigl, Embree, scikit-image and Pillow.
"""
