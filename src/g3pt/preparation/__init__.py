"""Preparation: from mesh files and procedural shapes to shards and stocks."""
