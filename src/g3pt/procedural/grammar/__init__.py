"""A seeded grammar of assemblies: solids, plans and attachments without a model in the world."""

from g3pt.procedural.grammar.assembly import THINNEST, make_assembly

__all__ = ["THINNEST", "make_assembly"]
