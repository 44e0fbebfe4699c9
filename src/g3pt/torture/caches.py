"""Hostile caches of tokens, latents and features: damaged indices and arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from g3pt.config import ConfigError
from g3pt.shapes.cache.features import FeatureCache
from g3pt.shapes.cache.latents import LatentCache
from g3pt.shapes.cache.tokens import TokenCache
from g3pt.torture.damage import (
    FOREIGN,
    Rng,
    damaged_bytes,
    damaged_json_bytes,
    pick,
    replace_by_special,
)
from g3pt.torture.doors import Door, Hostile

SHAPES, DRAWS, BITS, LENGTHS = 3, 2, 5, (1, 4)
KINDS = {"token": TokenCache, "latent": LatentCache, "feature": FeatureCache}


class Caches(Door):
    """Caches of tokens, latents and features."""

    name = "caches"
    promise = "numbers in a cache are of the size and range that its index says, or it is refused"
    errors = (ValueError, ConfigError, FileNotFoundError)

    def write(self, folder: Path, rng: Rng) -> Hostile:
        """A cache folder."""
        kind = pick(tuple(KINDS), rng)
        path = folder / f"{kind}s"
        path.mkdir()
        index, arrays = sound_cache(kind, rng)
        (path / "index.json").write_text(json.dumps(index))
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
        name = pick(tuple(arrays), rng)
        file = path / f"{name}.npy"
        match int(rng.integers(9)):
            case 0:
                return Hostile(path, f"sound {kind}s", "open")
            case 1:
                what = pick(tuple(FOREIGN), rng)
                target = pick((file, path / "index.json"), rng)
                target.write_bytes(FOREIGN[what])
                return Hostile(path, f"{target.name}: {what}", "refuse")
            case 2:
                target = pick((file, path / "index.json"), rng)
                return Hostile(path, f"{target.name}: {replace_by_special(target, rng)}", "refuse")
            case 3 | 4:
                what, content = damaged_json_bytes(index, rng)
                (path / "index.json").write_bytes(content)
                return Hostile(path, f"index.json: {what}")
            case 5:
                how, content = damaged_bytes(file.read_bytes(), rng)
                file.write_bytes(content)
                return Hostile(path, f"{file.name}: {how}")
            case 6:
                file.unlink()
                return Hostile(path, f"without {file.name}", "refuse")
            case _:
                what, array = misfit(arrays[name], rng)
                np.save(file, array, allow_pickle=False)
                return Hostile(path, f"{file.name}: {what}", "refuse")

    def enter(self, path: Path) -> None:
        """Open it and read every row."""
        match path.name:
            case "tokens":
                tokens = TokenCache(path)
                for row in range(len(tokens)):
                    for draw in range(tokens.resamplings):
                        indices = tokens.indices(row, draw)
                        assert indices.shape == (sum(tokens.identity.scale_lengths),)
                        assert indices.min() >= 0 and indices.max() < 2**tokens.identity.num_bits
            case "latents":
                latents = LatentCache(path)
                size = (latents.identity.num_latents, latents.identity.latent_dim)
                for row in range(len(latents)):
                    for draw in range(latents.resamplings):
                        for part in latents.moments(row, draw):
                            assert part.shape == size and np.isfinite(part).all()
            case _:
                features = FeatureCache(path)
                size = (features.identity.num_tokens, features.identity.width)
                assert len(features) >= 1
                for row in range(len(features)):
                    for item in range(features.num_items(row)):
                        tokens, summary = features.features(row, item)
                        features.shows(row, item)
                        assert tokens.shape == size and summary.shape == size[1:]
                        assert np.isfinite(tokens).all() and np.isfinite(summary).all()


def sound_cache(kind: str, rng: Rng) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Index and arrays of a small cache."""
    index: dict[str, Any] = {"format_version": 1, "shapes": rng.bytes(32).hex()}
    made_by: dict[str, Any] = {"fingerprint": rng.bytes(32).hex()}
    match kind:
        case "token":
            made_by |= {"scale_lengths": list(LENGTHS), "num_bits": BITS}
            size = (SHAPES, DRAWS, sum(LENGTHS))
            arrays = {"tokens": rng.integers(0, 2**BITS, size=size, dtype=np.uint16)}
        case "latent":
            made_by |= {"num_latents": 4, "latent_dim": 3}
            numbers = rng.standard_normal((SHAPES, DRAWS, 4, 6)).astype(np.float16)
            arrays = {"moments": numbers}
        case _:
            made_by |= {"slot": "image", "num_tokens": 4, "width": 3, "image_size": 32}
            arrays = {
                "tokens": rng.standard_normal((SHAPES * DRAWS, 4, 3)).astype(np.float16),
                "summary": rng.standard_normal((SHAPES * DRAWS, 3)).astype(np.float16),
                "shown": np.ones(SHAPES * DRAWS, np.uint8),
                "starts": np.arange(0, SHAPES * DRAWS + 1, DRAWS),
            }
            return {**index, "encoder": made_by}, arrays
    return {**index, "tokenizer": made_by, "draws": {"resamplings": DRAWS}}, arrays


def misfit(array: np.ndarray, rng: Rng) -> tuple[str, np.ndarray]:
    """A whole array that does not fit its cache."""
    match int(rng.integers(5)):
        case 0:
            return "text in place of numbers", np.array(["a"] * len(array))
        case 1:
            return "one more dimension", array[None]
        case 2:
            return "a number with a name", array.view([("a", array.dtype)])
        case 3:
            return "no dimension", array.reshape(-1)[:1].reshape(())
        case _:
            worst = np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).max
            changed = array.copy()
            changed.reshape(-1)[int(rng.integers(1, array.size))] = worst
            return f"a number is {worst}", changed
