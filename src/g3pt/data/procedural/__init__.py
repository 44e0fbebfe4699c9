"""Parametric shapes with exact fields, captions and colours."""
