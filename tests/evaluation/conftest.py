"""Tiny settings and simple solids that the tests of evaluation share."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trimesh

from shared import made_once


@pytest.fixture(scope="session")
def tiny_settings():
    from g3pt.evaluation.objects import EvaluationSettings

    return EvaluationSettings(
        resolution=16,
        num_volume=4000,
        num_prefix=500,
        num_surface=800,
        num_near=200,
        truth_resolution=24,
    )


@pytest.fixture(scope="session")
def box_mesh():
    """Makes boxes."""
    from g3pt.geometry.mesh import TriangleMesh

    def make(extents=(1.0, 1.0, 1.0), center=(0.0, 0.0, 0.0)):
        body = trimesh.creation.box(extents=extents)
        return TriangleMesh.from_arrays(body.vertices + np.array(center), body.faces)

    return make


@pytest.fixture(scope="session")
def chair(box_mesh):
    """Seat, back and one leg: no rotation maps it onto itself."""
    from g3pt.geometry.mesh import concatenate

    parts = [
        box_mesh((1.0, 0.2, 1.0)),
        box_mesh((1.0, 1.2, 0.2), (0.0, 0.6, -0.4)),
        box_mesh((0.2, 0.6, 0.2), (0.35, -0.3, 0.4)),
    ]
    return concatenate(parts)


@pytest.fixture(scope="session")
def mesh_set(tmp_path_factory: pytest.TempPathFactory, box_mesh) -> Path:
    """A folder with a manifest: two boxes for validation, one for training, one sheet."""
    from g3pt.geometry.mesh import TriangleMesh, write_mesh

    folder = tmp_path_factory.mktemp("meshes")
    write_mesh(folder / "cube.glb", box_mesh())
    write_mesh(folder / "slab.glb", box_mesh((4, 1, 2), (5, 0, 0)))
    write_mesh(folder / "pole.glb", box_mesh((1, 6, 1)))
    point = TriangleMesh.from_arrays(np.zeros((3, 3)), [[0, 1, 2]])
    write_mesh(folder / "point.off", point)
    rows = [
        {"id": "cube", "path": "cube.glb", "split": "val", "caption": "a cube"},
        {"id": "pole", "path": "pole.glb", "split": "train", "caption": "a pole"},
        {"id": "slab", "path": "slab.glb", "split": "val", "caption": "a slab"},
        {"id": "point", "path": "point.off", "split": "broken", "caption": "a point"},
    ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="session")
def training_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six prepared procedural shapes with their canonical pictures."""
    from g3pt.preparation.build import ShardsConfig, build_shards
    from g3pt.preparation.sources import ProceduralSourceConfig
    from g3pt.shapes.stored import PrepareConfig, ViewsConfig

    config = ShardsConfig(
        source=ProceduralSourceConfig(num=6),
        prepare=PrepareConfig(num_points=256, num_volume_queries=2048, num_near_queries=384),
        views=ViewsConfig(num_views=0, size=128, supersample=1),
    )
    return made_once(tmp_path_factory, "training-shards", partial(build_shards, config))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> dict[str, Path]:
    """Untrained weights of all three systems, and of a CAR that is asked with points."""
    from dataclasses import replace

    import torch

    from g3pt.models.alternatives.kl import KlConfig, KlTokenizer
    from g3pt.models.car import Car
    from g3pt.models.conditioning import ImageConditionConfig, PointsConditionConfig
    from g3pt.models.cvq import FieldDecoderConfig
    from g3pt.models.rivals.flow import Flow, FlowConfig
    from g3pt.models.rivals.regressor import Regressor, RegressorConfig
    from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
    from g3pt.models.weights.load import load_weights, save_regressor_weights, save_weights

    image = ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2)
    sizes = {"depth": 1, "width": 32, "num_heads": 2, "conditions": (image,)}
    field = {"num_latents": 8, "dim": 32, "num_heads": 2, "decoder_layers": 1, "num_octaves": 1}
    root = tmp_path_factory.mktemp("systems")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kl = KlConfig(encoder_layers=1, latent_dim=4, **field)
        flow = Flow(FlowConfig(num_latents=8, latent_dim=4, **sizes))
        regressor = Regressor(RegressorConfig(decoder=FieldDecoderConfig(**field), **sizes))
        torch.nn.init.normal_(flow.head.weight, std=0.3)
        save_weights(
            root / "flow", KlTokenizer(kl), flow=flow, config=WeightsConfig(name="f", tokenizer=kl)
        )
        tiny = load_weights(tiny_weights, "cpu")
        assert tiny.car is not None
        points = PointsConditionConfig(num_points=64, width=32)
        scanner = Car(replace(tiny.car.config, conditions=(points,)))
        save_weights(
            root / "points", tiny.tokenizer, scanner, config=replace(tiny.config, name="p")
        )
    alone = RegressorWeightsConfig(name="r", regressor=regressor.config)
    save_regressor_weights(root / "regressor", regressor, config=alone, card="A test.\n")
    return {
        "car": tiny_weights,
        "flow": root / "flow",
        "regressor": root / "regressor",
        "points": root / "points",
    }
