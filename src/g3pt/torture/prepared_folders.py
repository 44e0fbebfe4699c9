"""Doors that read a folder of prepared shapes: shards, and what is packed of them."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from g3pt.torture.damage import FOREIGN, Rng, pick, replace_by_special
from g3pt.torture.doors import Door, Hostile, Must

Files = dict[str, bytes]
"""The content of files by their names."""


class PreparedFolder(Door):
    """A folder of an index and of the files that it describes."""

    optional: ClassVar[tuple[str, ...]] = ()
    """Files that a folder may lack."""

    @abstractmethod
    def sound(self) -> Files:
        """The files of a sound folder."""

    def signed(self, files: Files, changed: str) -> Files:
        """The same with the right hash of the file that was changed, so that it is looked at."""
        return files

    @abstractmethod
    def misfitting(self, number: int, files: Files, rng: Rng) -> tuple[str, Files, Must]:
        """What was done to a sound folder, its files then, and what has to become of it.

        Args:
            number: 0 to 7, drawn already: chooses between kinds of damage that are no other door's.
            files: the sound files.
            rng: chooses everything else.
        """

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A folder."""
        path = folder / self.name
        path.mkdir()
        files = self.sound()
        must: Must = "refuse"
        match int(rng.integers(12)):
            case 0:
                what, must = "sound", "open"
            case 1:
                write_files(path, files)
                name = pick(tuple(files), rng)
                what = f"{name}: {replace_by_special(path / name, rng)}"
                return Hostile(path, what, "refuse")
            case 2:
                name = pick(tuple(files), rng)
                what, must = f"without {name}", "either" if name in self.optional else "refuse"
                files = {each: content for each, content in files.items() if each != name}
            case 3:
                name, kind = pick(tuple(files), rng), pick(tuple(FOREIGN), rng)
                what, files = f"{name}: {kind}", self.signed(files | {name: FOREIGN[kind]}, name)
            case number:
                what, files, must = self.misfitting(number - 4, files, rng)
        write_files(path, files)
        return Hostile(path, what, must)


def write_files(path: Path, files: Files) -> None:
    """Write files into an existing folder."""
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
