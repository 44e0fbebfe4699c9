from pathlib import Path

import numpy as np
import pytest

from g3pt.evaluation.objects import list_objects
from g3pt.evaluation.protocols.controls import condition_features
from g3pt.evaluation.protocols.generation import GenerationSettings, evaluate_generation
from g3pt.evaluation.systems import SystemSettings, draw_candidates, open_systems
from g3pt.generation.prompts import read_prompts
from g3pt.generation.systems import CarSystem, FlowSystem, RegressorSystem
from g3pt.models.sampling import Sampling


@pytest.mark.parametrize(
    ("name", "kind"),
    [("car", CarSystem), ("flow", FlowSystem), ("regressor", RegressorSystem)],
)
def test_a_weights_folder_opens_as_what_it_holds(folders, name: str, kind: type):
    systems = open_systems(folders[name], "cpu", SystemSettings(num_steps=2))
    assert isinstance(systems.guided, kind)
    assert isinstance(systems.plain, kind)
    assert (systems.likelihood is not None) == (name == "car")
    assert len(systems.sha256) == 64


@pytest.mark.parametrize("name", ["car", "flow", "regressor"])
def test_every_generator_looks_at_pictures_with_its_own_encoder(folders, name: str):
    generator = open_systems(folders[name], "cpu").generator
    picture = np.zeros((64, 64, 4), dtype=np.uint8)
    picture[20:40, 10:50] = 255
    prompts = read_prompts(generator, image=[picture, picture[::-1].copy()])
    features = condition_features(generator, prompts.condition, "image")
    assert features.shape == (2, 32)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("name", ["flow", "regressor"])
def test_rivals_are_evaluated_as_car_is(folders, mesh_set, tiny_settings, name: str):
    objects = list_objects(str(mesh_set), limit=1)
    generation = GenerationSettings(num_steps=2, num_samples=2, best_of=2)
    report = evaluate_generation(folders[name], objects, tiny_settings, generation)
    methods = [row["method"] for row in report["objects"]]
    assert methods == ["image", "image", "image_best_of_2", "unconditional", "unconditional"]
    first = report["objects"][0]
    assert first["nll"] is None
    assert "true_nll" not in first
    assert first["seconds_sample"] > 0
    assert report["objects"][2]["selected_by"] == "silhouette"


def test_what_samples_has_a_consensus_and_what_regresses_has_none(folders, mesh_set, tiny_settings):
    with pytest.raises(ValueError, match="a consensus is made of several samples"):
        open_systems(folders["regressor"], "cpu", SystemSettings(consensus=2))
    objects = list_objects(str(mesh_set), limit=1)
    generation = GenerationSettings(num_steps=2, consensus=2, unconditional=False)
    rows = evaluate_generation(folders["flow"], objects, tiny_settings, generation)["objects"]
    assert [row["method"] for row in rows] == ["image", "image_consensus_of_2"]


def test_samples_of_nothing_are_drawn_without_guidance(folders):
    def told(guidance: float) -> SystemSettings:
        return SystemSettings(sampling=Sampling(guidance=guidance, top_p=1.0))

    strong = open_systems(folders["car"], "cpu", told(8.0))
    neutral = open_systems(folders["car"], "cpu", told(1.0))
    condition = read_prompts(strong.generator, text="a red mug").condition

    def nll(system) -> float | None:
        return draw_candidates(system, condition, [7], resolution=16)[0].nll

    assert nll(strong.plain) == nll(neutral.guided)
    assert nll(strong.guided) != nll(neutral.guided)


def test_a_candidate_does_not_depend_on_how_many_are_drawn(folders):
    systems = open_systems(folders["flow"], "cpu", SystemSettings(num_steps=2))
    condition = read_prompts(systems.generator).condition
    alone = draw_candidates(systems.plain, condition, [5], resolution=16)[0]
    among = draw_candidates(systems.plain, condition, [4, 5], resolution=16)[1]
    assert alone.seed == among.seed == 5
    # Batched matrix products may sum in another order.
    np.testing.assert_allclose(alone.mesh.vertices, among.mesh.vertices, atol=1e-3)


def test_an_adapter_of_a_regressor_is_refused(folders, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="adapts a CAR"):
        open_systems(folders["regressor"], "cpu", adapter=tmp_path)
