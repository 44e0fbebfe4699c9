"""Meshes, solids, metrics, surfaces and pictures, without torch.

Arrays are NumPy's. SciPy, trimesh, libigl, Embree, scikit-image and Pillow do parts of the work.
"""
