"""Python files that belong to no package, as modules."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


def load_file(path: Path, name: str = "") -> ModuleType:
    """Run a file as a module of its stem, or of another name."""
    spec = spec_from_file_location(name or path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
