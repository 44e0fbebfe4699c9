"""What is measured, one module an evaluation."""
