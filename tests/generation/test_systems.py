"""CAR, flow and regressor answer the same questions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from g3pt.generation.field import ShapeField
from g3pt.generation.flow_sampler import generate_latents
from g3pt.generation.prompts import PromptError, read_prompts
from g3pt.generation.systems import (
    CarSystem,
    FlowSystem,
    GeneratedFields,
    RegressorSystem,
    ShapeGenerator,
    load_system,
)
from g3pt.models.alternatives.kl import KlConfig, KlTokenizer
from g3pt.models.conditioning import ConditionBatch, ImageConditionConfig
from g3pt.models.cvq import FieldDecoderConfig
from g3pt.models.rivals.flow import Flow, FlowConfig
from g3pt.models.rivals.regressor import Regressor, RegressorConfig
from g3pt.models.sampling import STANDARD, Sampling
from g3pt.models.weights.config import RegressorWeightsConfig, WeightsConfig
from g3pt.models.weights.load import (
    load_regressor_weights,
    load_weights,
    save_regressor_weights,
    save_weights,
)

IMAGE = ImageConditionConfig(image_size=32, patch_size=8, depth=1, width=32, num_heads=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> dict[str, Path]:
    """Untrained weights of all three systems."""
    root = tmp_path_factory.mktemp("systems")
    torch.manual_seed(0)
    kl = KlConfig(
        num_latents=8,
        dim=32,
        num_heads=2,
        encoder_layers=1,
        decoder_layers=1,
        num_octaves=1,
        latent_dim=4,
    )
    sizes = {"depth": 2, "width": 32, "num_heads": 2, "conditions": (IMAGE,)}
    flow = Flow(FlowConfig(num_latents=8, latent_dim=4, **sizes))
    decoder = FieldDecoderConfig(
        num_latents=8, dim=32, num_heads=2, decoder_layers=1, num_octaves=1
    )
    regressor = Regressor(RegressorConfig(decoder=decoder, **sizes))
    with torch.no_grad():
        flow.head.weight.normal_(std=0.3)
        for model in (flow, regressor):
            model.trunk.ada_ln.offsets.normal_(std=0.3)
    config = WeightsConfig(name="flow", tokenizer=kl, storage="float32")
    save_weights(root / "flow", KlTokenizer(kl), flow=flow, config=config)
    alone = RegressorWeightsConfig(name="regressor", regressor=regressor.config)
    save_regressor_weights(root / "regressor", regressor, config=alone, card="# card\n")
    save_weights(root / "stage1", KlTokenizer(kl), config=config)
    return {name: root / name for name in ("flow", "regressor", "stage1")} | {"car": tiny_weights}


def picture_prompt(system: ShapeGenerator, num: int = 2) -> ConditionBatch:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(num):
        picture = np.full((64, 64, 3), 255, np.uint8)
        picture[16:48, 16:48] = rng.integers(0, 255, (32, 32, 3))
        pictures.append(picture)
    return read_prompts(system.model, image=pictures).condition


@pytest.mark.parametrize("name", ["car", "flow", "regressor"])
def test_every_system_makes_fields_of_pictures(folders: dict[str, Path], name: str) -> None:
    system = load_system(folders[name], "cpu", num_steps=3)
    assert isinstance(system, ShapeGenerator)
    assert "image" in system.conditions
    condition = picture_prompt(system)
    made = system.generate(condition, [3, 4])
    assert isinstance(made, GeneratedFields)
    assert len(made.fields) == 2 and made.seconds > 0
    assert (made.nll is not None) == (name == "car")
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    logits = [field(points) for field in made.fields]
    assert all(np.isfinite(row).all() for row in logits)
    # A shape can be made again alone; a batch of another size rounds differently.
    again = system.generate(condition.rows(torch.tensor([1])), [4]).fields[0](points)
    np.testing.assert_allclose(again, logits[1], rtol=1e-3, atol=1e-3)


def test_the_mean_of_a_flow_is_that_of_the_latents_of_its_samples(
    folders: dict[str, Path],
) -> None:
    loaded = load_weights(folders["flow"], "cpu")
    assert loaded.flow is not None and isinstance(loaded.tokenizer, KlTokenizer)
    system = FlowSystem(loaded, num_steps=2, num_samples=3)
    condition = picture_prompt(system, 1)
    guidance = STANDARD.guidance
    assert guidance is not None
    samples = [
        generate_latents(loaded.flow, condition, seeds=[seed], num_steps=2, guidance=guidance)
        for seed in (7, 8, 9)
    ]
    mean_1LE = torch.stack(samples).mean(dim=0)
    field = ShapeField(
        loaded.tokenizer, loaded.tokenizer.shape_memory(loaded.tokenizer.expand(mean_1LE))
    )
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    (made,) = system.generate(condition, [7]).fields
    np.testing.assert_array_equal(made(points), field(points))
    (single,) = FlowSystem(loaded, num_steps=2).generate(condition, [7]).fields
    assert not np.allclose(made(points), single(points))


def test_seeds_matter_to_what_is_drawn_and_not_to_what_is_regressed(
    folders: dict[str, Path],
) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    for name in ("flow", "regressor"):
        system = load_system(folders[name], "cpu", num_steps=3)
        condition = picture_prompt(system, 1)
        first, second = (system.generate(condition, [seed]).fields[0](points) for seed in (1, 2))
        assert np.array_equal(first, second) == (name == "regressor")
        with pytest.raises(ValueError, match="2 seeds for 1 conditions"):
            system.generate(condition, [1, 2])


def test_steps_and_guidance_reach_the_samplers(folders: dict[str, Path]) -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    systems = [
        load_system(folders["flow"], "cpu", num_steps=steps, sampling=Sampling(guidance=guidance))
        for steps, guidance in ((3, None), (3, 2.0), (3, 1.0), (4, 2.0))
    ]
    condition = picture_prompt(systems[0], 1)
    default, same, unguided, longer = (
        system.generate(condition, [1]).fields[0](points) for system in systems
    )
    assert np.array_equal(default, same)
    assert not np.allclose(unguided, default) and not np.allclose(longer, default)
    assert systems[3].name == "flow, 4 steps"


def test_a_regressor_comes_back_from_its_folder_as_it_was(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    loaded = load_regressor_weights(folders["regressor"], "cpu")
    config = replace(loaded.config, storage="float32")
    save_regressor_weights(tmp_path / "again", loaded.regressor, config=config)
    again = load_regressor_weights(tmp_path / "again", "cpu").regressor
    for name, tensor in loaded.regressor.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    assert not any(p.requires_grad for p in again.parameters())
    assert (folders["regressor"] / "README.md").read_text() == "# card\n"


def test_a_flow_comes_back_with_its_statistics(folders: dict[str, Path], tmp_path: Path) -> None:
    loaded = load_weights(folders["flow"], "cpu")
    assert loaded.flow is not None and loaded.car is None
    loaded.flow.set_statistics(torch.arange(4.0), torch.arange(4.0) + 1)
    save_weights(tmp_path / "again", loaded.tokenizer, flow=loaded.flow, config=loaded.config)
    again = load_weights(tmp_path / "again", "cpu").flow
    assert again is not None
    assert torch.equal(again.scale_E, torch.arange(4.0) + 1)


def test_weights_of_another_kind_are_refused_by_name(folders: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="hold no CAR"):
        load_system(folders["stage1"], "cpu")
    with pytest.raises(ValueError, match="hold no flow"):
        FlowSystem(load_weights(folders["car"], "cpu"))
    with pytest.raises(ValueError, match="hold no CAR"):
        CarSystem(load_weights(folders["flow"], "cpu"))
    with pytest.raises(ValueError, match="kind"):
        load_weights(folders["regressor"], "cpu")
    with pytest.raises(ValueError, match="kind"):
        load_regressor_weights(folders["flow"], "cpu")


def test_a_folder_without_a_config_is_no_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
        load_system(tmp_path)


def test_a_rival_says_what_it_cannot_be_told(folders: dict[str, Path]) -> None:
    system = load_system(folders["regressor"], "cpu")
    assert isinstance(system, RegressorSystem) and system.conditions == ("image",)
    with pytest.raises(PromptError, match="these weights take no text; they know: image"):
        read_prompts(system.model, text="a mug")
