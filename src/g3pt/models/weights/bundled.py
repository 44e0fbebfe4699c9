"""Files that come with the package: weights folders, and frozen networks that weights refer to.

A config holds the checksum of the frozen file that its model was trained with, so that no other
file is used with it.
"""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from g3pt.hashes import file_sha256


def bundled_root() -> Path:
    """The folder of all bundled files; a trimmed installation lacks it."""
    return Path(str(files("g3pt"))) / "pretrained"


def package_file(folder: str, name: str) -> Path:
    """Path of a bundled file."""
    return bundled_root() / folder / name


@lru_cache(maxsize=16)
def check_file(path: Path, sha256: str, *, field: str, what: str) -> None:
    """Check that a file has the expected checksum.

    Args:
        path: the file, from `package_file`.
        sha256: the checksum in the config.
        field: name of the config's field, for the message.
        what: what the file is, for the message.

    Raises:
        FileNotFoundError: if this installation lacks the file.
        ValueError: if the file has another checksum.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: this installation lacks the {what}; reinstall")
    if (found := file_sha256(path)) != sha256:
        raise ValueError(
            f"{field} is {sha256}: the model was trained with another {what} than {path} "
            f"({found}); use the version of g3pt that it was made with"
        )
