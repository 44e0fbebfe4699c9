import numpy as np
import pytest
import torch
import trimesh

from g3pt.generation.cutouts import Cutout
from g3pt.generation.drafts import Draft, select_drafts
from g3pt.generation.pictures import PreparedPicture
from g3pt.generation.prompts import Prompts
from g3pt.geometry.cameras import canonical_camera
from g3pt.geometry.mesh import TriangleMesh
from g3pt.geometry.render import render
from g3pt.models.conditioning import ConditionBatch
from g3pt.models.g3t import TokenPyramid


def box(*extents: float) -> TriangleMesh:
    body = trimesh.creation.box(extents=extents)
    return TriangleMesh.from_arrays(body.vertices, body.faces)


BOXES = [box(1.9, 0.3, 0.3), box(0.6, 1.9, 0.6), TriangleMesh.from_arrays(np.zeros((0, 3)), [])]


def draft(prompt: int, shape: int, nll: float) -> Draft:
    """Tokens that stand for a box: their only index is its number."""
    return Draft(prompt, 10 * prompt + shape, TokenPyramid((1,), 4, torch.tensor([shape])), nll)


def mesh_of(draft: Draft) -> TriangleMesh:
    return BOXES[int(draft.tokens.indices[0])]


def prompts_of(*pictures: TriangleMesh) -> Prompts:
    views = [render(one, canonical_camera(), size=128) for one in pictures]
    shown = Cutout("alpha", (0, 0, 128, 128), 1.0)
    drawn = [PreparedPicture(view, shown, view) for view in views]
    return Prompts(ConditionBatch(batch_size=2), tuple(drawn), ())


def test_every_group_is_compared_with_its_own_picture():
    drafts = [draft(prompt, shape, 0.0) for prompt in (0, 1) for shape in (0, 1, 2)]
    selected = select_drafts(drafts, 3, prompts_of(BOXES[1], BOXES[0]), mesh_of)
    assert [kept.seed for kept, _ in selected] == [1, 10]
    assert [one.seeds for _, one in selected] == [(0, 1, 2), (10, 11, 12)]
    assert {one.choice.criterion for _, one in selected} == {"silhouette"}
    assert all(kept is drafts[kept.prompt * 3 + kept.seed % 10] for kept, _ in selected)


def test_without_a_picture_the_likeliest_that_is_not_empty_is_kept():
    drafts = [draft(0, 0, 3.0), draft(0, 1, 2.0), draft(0, 2, 1.0)]
    ((kept, selection),) = select_drafts(drafts, 3, prompts_of(), mesh_of)
    assert kept is drafts[1]
    assert selection.choice.scores == pytest.approx((-3.0, -2.0, -np.inf))
