"""Readers of 3MF and USDZ that are not ours."""

from pathlib import Path

import pytest


def read_by_lib3mf(path: Path):
    """The library and the model that it reads in strict mode; skips where it is not installed."""
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf is not installed: pip install lib3mf")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(path))
    assert reader.GetWarningCount() == 0, reader.GetWarning(0)
    return lib3mf, model


def assert_valid_usdz(path: Path) -> None:
    """Let no validator of usd-core find anything; skips where it is not installed."""
    pytest.importorskip("pxr", reason="usd-core is missing: pip install g3pt[usd]")
    from pxr import Usd, UsdValidation

    registry = UsdValidation.ValidationRegistry()
    metadata = registry.GetAllValidatorMetadata()
    validators = registry.GetOrLoadValidatorsByName([entry.name for entry in metadata])
    assert "usdUtilsValidators:UsdzPackageValidator" in [entry.name for entry in metadata]
    assert len(validators) >= 20
    stage = Usd.Stage.Open(str(path))
    errors = UsdValidation.ValidationContext(validators).Validate(stage)
    assert [error.GetMessage() for error in errors] == []
