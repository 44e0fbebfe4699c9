"""Shapes of no kind: a seeded grammar of solids, plans and attachments."""

from g3pt.procedural.grammar.assembly import THINNEST, make_assembly

__all__ = ["THINNEST", "make_assembly"]
