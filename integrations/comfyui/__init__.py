"""g3pt in ComfyUI: put this folder, or a link to it, into `custom_nodes`."""

from .nodes import G3ptExtension

__all__ = ["comfy_entrypoint"]


async def comfy_entrypoint() -> G3ptExtension:
    """ComfyUI asks here for the nodes."""
    return G3ptExtension()
