"""From any picture to its object on a transparent square.

`generation.pixels` reads the picture, `generation.cutouts` finds the object, and `geometry.cameras`
centres it as the training views were centred. Pictures are (H, W, 4) uint8, straight alpha.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from g3pt.generation.cutouts import Cutout, find_object, own_range, report_on
from g3pt.generation.pixels import PictureError, open_picture
from g3pt.geometry.cameras import frame_object

WORKING_SIDE = 1024
"""Longest side in pixels; larger pictures are reduced to it before the object is looked for."""
MASK_STRETCH = 0.02
"""Largest difference between the proportions of a mask and its picture, as a share."""


@dataclass(frozen=True, eq=False)
class CutPicture:
    """A picture whose object was found; it stands for the picture wherever one is taken."""

    name: str
    """File name of the picture, or `picture`."""
    rgba: UInt8[np.ndarray, "H W 4"]
    """The whole picture, at most `WORKING_SIDE` pixels long, its background transparent."""
    cutout: Cutout
    """How the object was found."""


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture ready for the image encoder."""

    rgba: UInt8[np.ndarray, "S S 4"]
    cutout: Cutout
    """How the object was found."""
    cut_rgba: UInt8[np.ndarray, "H W 4"]
    """The whole picture, at most `WORKING_SIDE` pixels long, its background transparent."""
    guess_rgba: UInt8[np.ndarray, "Z Z 4"] | None = None
    """The same picture at the side that the first guess reads, if that is another."""
    name: str = "picture"
    """File name of the picture, or `picture`."""


def prepare_picture(
    picture: object,
    size: int,
    guess_size: int | None = None,
    *,
    mask: object = None,
    whole_picture: bool = False,
) -> PreparedPicture:
    """Read a picture, find its object, and frame it as the training views are framed.

    Args:
        picture: any of `pixels.Picture`, or one whose object was found before (`cut_out`).
        size: side of the result in pixels, as the image encoder expects it.
        guess_size: side in pixels that the first guess reads, if it differs.
        mask: as in `cut_out`.
        whole_picture: as in `cut_out`.

    Raises:
        FileNotFoundError: if there is no such file.
        PictureError: if it is not a picture, too large, too small, or shows no object; or if a mask
            is given for a picture whose object was found before.
    """
    if not isinstance(picture, CutPicture):
        picture = cut_out(picture, mask=mask, whole_picture=whole_picture)
    elif mask is not None or whole_picture:
        raise PictureError(
            f"{picture.name}: its object was found before; give mask and whole_picture to cut_out"
        )
    return PreparedPicture(
        rgba=frame_object(picture.rgba, size),
        cutout=picture.cutout,
        cut_rgba=picture.rgba,
        guess_rgba=None if guess_size is None else frame_object(picture.rgba, guess_size),
        name=picture.name,
    )


def cut_out(picture: object, *, mask: object = None, whole_picture: bool = False) -> CutPicture:
    """Read a picture and find its object; see `generation.cutouts` for the order of the means.

    Args:
        picture: any of `pixels.Picture`.
        mask: which part is the object, as any picture of the same proportions: its alpha channel if
            that hides something, else its brightness.
        whole_picture: everything that is visible is the object.

    Raises:
        FileNotFoundError: if there is no such file.
        PictureError: if it is not a picture, too large, too small, or shows no object; or if the
            mask has other proportions or marks nothing.
    """
    name = _name_of(picture)
    if mask is not None and whole_picture:
        raise PictureError(f"{name}: a mask and the whole picture cannot both be the object")
    image = open_picture(picture)
    rgba = _reduced(image)
    share = None if mask is None else _read_mask(mask, image.size, rgba.shape[:2], name)
    found = find_object(rgba, share, whole_picture=whole_picture, name=name)
    short = Path(name).name if isinstance(picture, str | Path) else name
    return CutPicture(short, found.rgba, report_on(found, image.size))


def at_own_size(picture: object, cut: CutPicture | PreparedPicture) -> UInt8[np.ndarray, "H W 4"]:
    """The picture at its own size, with the alpha that was found.

    Args:
        picture: the same picture that was cut out.
        cut: what became of it.
    """
    image = open_picture(picture)
    found = cut.rgba if isinstance(cut, CutPicture) else cut.cut_rgba
    if image.size == found.shape[1::-1]:
        return found
    enlarged = np.asarray(Image.fromarray(found).resize(image.size, Image.Resampling.BICUBIC))
    # Inside the object the picture itself is sharper; at the edge it is mixed with the background.
    colors = np.where(enlarged[..., 3:] == 255, np.asarray(image)[..., :3], enlarged[..., :3])
    return np.dstack([colors, enlarged[..., 3]])


def _name_of(picture: object) -> str:
    return str(picture) if isinstance(picture, str | Path) else "picture"


def _reduced(image: Image.Image) -> UInt8[np.ndarray, "H W 4"]:
    longest = max(image.size)
    if longest > WORKING_SIDE:
        factor = WORKING_SIDE / longest
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image).copy()


def _read_mask(
    mask: object, size: tuple[int, int], shape: tuple[int, ...], name: str
) -> Float32[np.ndarray, "H W"]:
    """A mask at the working size of its picture, from 0 to 1."""
    image = open_picture(mask)
    (width, height), told = image.size, _name_of(mask)
    if abs(width * size[1] / (height * size[0]) - 1) > MASK_STRETCH:
        raise PictureError(
            f"{told if told != 'picture' else 'mask'}: {width} x {height} pixels do not fit {name} "
            f"with {size[0]} x {size[1]}; a mask needs the proportions of its picture"
        )
    alpha = np.asarray(image.getchannel("A"))
    marks = alpha if (alpha < 128).any() else np.asarray(image.convert("L"))
    whole = Image.fromarray(own_range(marks))
    resized = whole.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / 255
