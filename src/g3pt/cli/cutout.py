"""Flags and files of the cut-out: where the pictures of a prompt show their objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g3pt.cli.options import make_folder_for, plan_outputs, require_files, say

if TYPE_CHECKING:
    from g3pt.generation.pictures import CutPicture


@dataclass(frozen=True, kw_only=True, slots=True)
class CutoutFlags:
    """Flags for the object in a picture."""

    mask: tuple[Path, ...] = ()
    """Which part of each picture is its object, as a picture of the same proportions: white (or
    opaque) is the object. Without it the alpha channel decides, or a plain border, or a network."""

    whole_picture: bool = False
    """Take each whole picture as the object, where nothing stands out from a background."""

    cutout: Path | None = None
    """Also write each picture at its own size with all but the object transparent: a PNG file, or a
    folder when there are several pictures."""

    def check(self, pictures: Sequence[Path]) -> None:
        """Refuse flags that do not fit together, or name no files.

        Raises:
            ValueError: if they do not fit; the message names the flag.
            FileNotFoundError: if there is no such mask.
        """
        if not (self.mask or self.whole_picture or self.cutout):
            return
        if not pictures:
            raise ValueError("--mask, --whole-picture and --cutout need --image")
        if self.mask and self.whole_picture:
            raise ValueError("--mask and --whole-picture: give one of the two")
        if self.mask and len(self.mask) != len(pictures):
            raise ValueError(
                f"--mask: give one for each picture, got {len(self.mask)} for {len(pictures)}"
            )
        if self.mask:
            require_files(self.mask, "mask")
        self.paths(pictures)

    def paths(self, pictures: Sequence[Path]) -> list[Path]:
        """The file of each cut-out; empty if none is wanted."""
        if self.cutout is None:
            return []
        stems = [picture.stem for picture in pictures]
        return plan_outputs(self.cutout, stems, (".png",), folder_suffix=".png")


@dataclass(frozen=True)
class CutPictures:
    """Pictures whose objects were found, and those that cannot be used."""

    paths: tuple[Path, ...]
    """All of them."""
    kept: "dict[int, CutPicture]"
    """By the number of the picture."""
    refused: dict[int, str]
    """Number of a picture -> why it cannot be used."""

    @property
    def only(self) -> "CutPicture | None":
        """The picture if there is one, for commands that take one at most."""
        return self.kept.get(0)

    @property
    def summary(self) -> dict[str, Any]:
        """`inputs`: each picture with its cut-out or its error, as JSON values; {} without one."""
        inputs = [
            {"path": str(path), "cutout": self.kept[number].cutout.to_json()}
            if number in self.kept
            else {"path": str(path), "error": self.refused[number]}
            for number, path in enumerate(self.paths)
        ]
        return {"inputs": inputs} if inputs else {}

    def tell(self) -> None:
        """Say on stderr what is doubtful about each picture, in a line."""
        for number, cut in self.kept.items():
            if cut.cutout.warnings:
                say(f"{self.paths[number]}: {'; '.join(cut.cutout.warnings)}")

    @property
    def complaint(self) -> str | None:
        """One line about all refused pictures, or None."""
        if not self.refused:
            return None
        total = len(self.kept) + len(self.refused)
        return f"{len(self.refused)} of {total} pictures were left out: " + "; ".join(
            self.refused.values()
        )


def cut_pictures(pictures: Sequence[Path], flags: CutoutFlags) -> CutPictures:
    """Find the object of every picture; one that cannot be used does not end the others.

    Raises:
        PictureError: if no picture can be used; the message is that of the first.
    """
    from g3pt.generation.pictures import cut_out
    from g3pt.generation.pixels import PictureError

    kept: dict[int, CutPicture] = {}
    errors: dict[int, PictureError] = {}
    for number, path in enumerate(pictures):
        mask = flags.mask[number] if flags.mask else None
        try:
            kept[number] = cut_out(path, mask=mask, whole_picture=flags.whole_picture)
        except PictureError as error:
            errors[number] = error
    if pictures and not kept:
        raise errors[0]
    return CutPictures(
        tuple(pictures), kept, {number: str(error) for number, error in errors.items()}
    )


def cut_picture(picture: Path | None, flags: CutoutFlags) -> CutPictures:
    """Check the flags and find the object of the one picture of a command, if it is given.

    Raises:
        FileNotFoundError: if there is no such picture or mask.
        ValueError: if the flags do not fit together, or the picture cannot be used.
    """
    pictures = [] if picture is None else [picture]
    if pictures:
        require_files(pictures, "picture")
    flags.check(pictures)
    return cut_pictures(pictures, flags)


def write_cutouts(cut: CutPictures, flags: CutoutFlags) -> None:
    """Write what was found in each picture, if the flags ask for it."""
    from g3pt.generation.pictures import at_own_size
    from g3pt.geometry.render import save_png

    paths = flags.paths(cut.paths)
    for number, found in cut.kept.items() if paths else ():
        make_folder_for(paths[number])
        save_png(paths[number], at_own_size(cut.paths[number], found))
