"""From a condition to tokens to a mesh."""
