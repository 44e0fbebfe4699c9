"""Training examples made during training, on the training device, without stored shapes.

Shapes come as primitives (`procedural`) or as meshes of a stock. They are warped, drawn and
tokenized in batches; a pool holds the newest examples, and every step draws from it.
"""
