"""Arrays of a prepared set that are computed once and kept."""
