"""Training examples made while a training runs, on its own device: no shape is stored for it.

Shapes come as primitives (`procedural`) or as meshes of a stock, are warped, drawn and tokenized in
batches; a pool holds the newest of them, and a step draws from it.
"""
