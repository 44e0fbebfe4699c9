"""Tokenizer, generator, losses and their weights."""
