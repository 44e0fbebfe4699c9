"""Arrays computed once from a prepared set and kept on disk."""
