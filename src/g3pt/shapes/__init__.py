"""Shape sources, preparation and batches."""
