"""The studio's light, for everything that draws: it moves with the camera.

A key light from the camera's upper left, a weak fill from its right, a little light from
everywhere. Directions point from the object to the light, camera frame: right, up, backward.
"""

KEY_DIRECTION = (-0.35, 0.75, 0.56)
KEY_STRENGTH = 0.8
FILL_DIRECTION = (0.9, 0.0, 0.45)
FILL_STRENGTH = 0.16
AMBIENT = 0.24
DARKEST = 0.02
"""Reflectance of black, so that its shape shows."""
