"""Flags of how a mesh leaves g3pt, and how what was done is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g3pt.geometry.finishing import Finishing


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishFlags(Finishing):
    """Flags for size, up axis, origin and solidity of what is written."""

    def spelled(self, name: str) -> str:
        """The flag of a setting."""
        return "--" + name.replace("_", "-")

    def check_files(self, paths: Sequence[Path], **known: bool) -> None:
        """Refuse what a format cannot carry, before any work; `known` as for `check`.

        Raises:
            ValueError: if flags and formats do not fit; the message names the flag.
        """
        self.check([path.suffix.lower() for path in paths], **known)


def describe_finish(entry: dict[str, Any]) -> str:
    """What is added to the line of a result: its size, and lines about a printable solid."""
    text = ""
    if entry.get("size_mm"):
        text = ", " + " x ".join(f"{side:g}" for side in entry["size_mm"]) + " mm"
    if "texture" in entry:
        side = entry["texture"]
        text += f", texture of {side} x {side}" if side else ", no texture, as there are no colours"
    if "note" in entry:
        text += f"\n  {entry['note']}"
    if "printable" in entry:
        text += "\n" + "\n".join(_describe_printable(entry["printable"]))
    return text


def _describe_printable(said: dict[str, Any]) -> list[str]:
    walls = said["walls"]
    done = [f"{said[what]} {what}" for what in ("joined", "dropped") if said[what]]
    lines = [
        f"  one closed solid, {said['volume_cm3']:.1f} cm3, {said['area_cm2']:.1f} cm2; loose "
        f"parts: {', '.join(done) or 'none'}; cavities filled: {said['filled']}"
    ]
    if said["walls_before"]:
        before = said["walls_before"]
        lines.append(
            f"  thickened: walls below {before['minimum']:g} mm were {before['thin_share']:.1%} of "
            f"the surface, the thinnest {before['thinnest']:.2f} mm"
        )
    if not walls["thin_share"]:
        lines.append(
            f"  no wall below {walls['minimum']:g} mm; the thinnest {walls['thinnest']:.2f} mm"
        )
        return lines
    lines.append(
        f"  walls below {walls['minimum']:g} mm: {walls['thin_share']:.1%} of the surface, the "
        f"thinnest {walls['thinnest']:.2f} mm"
        + ("" if said["walls_before"] else " (--thicken makes them thicker)")
    )
    lines += [
        f"    {place['share']:.1%} around x {x:.1f}, y {y:.1f}, z {z:.1f} mm, from "
        f"{place['thinnest']:.2f} mm"
        for place in walls["places"]
        if place["share"] >= 0.001
        for x, y, z in [place["center"]]
    ]
    return lines
