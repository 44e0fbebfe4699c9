"""Token files as a codec, beside compressed meshes."""
