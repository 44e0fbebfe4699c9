"""Measurements of what g3pt promises, and of other software on the same inputs.

Every number belongs to the machine and moment it was taken at, so both are in its row.
"""
