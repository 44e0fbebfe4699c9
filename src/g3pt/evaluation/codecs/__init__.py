"""Token files as a codec, compared with compressed meshes."""
