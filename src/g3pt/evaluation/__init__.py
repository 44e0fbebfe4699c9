"""Protocol g3pt-eval-v1."""
