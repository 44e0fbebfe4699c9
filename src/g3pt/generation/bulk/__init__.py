"""Shapes of many pictures and sentences at once: a manifest to shards of meshes with an index."""
