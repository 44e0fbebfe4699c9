"""Build the Blender extension as a zip file that Blender installs from disk.

    python scripts/build_blender.py --out g3pt-blender.zip

The client of the HTTP jobs is that of the package; the zip has it as `client.py`. The same files
always give the same bytes.
"""

import argparse
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "integrations" / "blender"
CLIENT = ROOT / "src" / "g3pt" / "app" / "client.py"
REQUIRED = (
    "schema_version",
    "id",
    "version",
    "name",
    "tagline",
    "maintainer",
    "type",
    "blender_version_min",
    "license",
)
"""Fields of schema 1.0.0 that Blender asks for."""


def main() -> None:
    """Build the zip and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("g3pt-blender.zip"))
    out = parser.parse_args().out
    names = build(out)
    print(f"{out}: {', '.join(names)}")


def build(out: Path) -> list[str]:
    """Write the zip.

    Returns:
        Names of the files in it.

    Raises:
        ValueError: if the manifest lacks a field, or names a file that is not there.
    """
    manifest = tomllib.loads((FOLDER / "blender_manifest.toml").read_text())
    for field in REQUIRED:
        if not manifest.get(field):
            raise ValueError(f"blender_manifest.toml: {field} is missing")
    for field, text in [("tagline", manifest["tagline"]), *manifest["permissions"].items()]:
        if len(text) > 64 or not text[-1].isalnum():
            raise ValueError(
                f"blender_manifest.toml: {field}: at most 64 characters without punctuation at the "
                f"end, got {text!r}"
            )
    if "wheels" in manifest:
        raise ValueError("blender_manifest.toml: wheels: the extension brings none")
    files = {"blender_manifest.toml": FOLDER / "blender_manifest.toml"}
    for name in manifest["build"]["paths"]:
        files[name] = CLIENT if name == "client.py" else FOLDER / name
        if not files[name].is_file():
            raise ValueError(f"blender_manifest.toml: build.paths: there is no {name}")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return list(files)


if __name__ == "__main__":
    main()
