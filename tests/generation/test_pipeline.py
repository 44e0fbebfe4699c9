import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from g3pt.generation.meshing import mesh_features, mesh_tokens
from g3pt.generation.pipeline import G3PT
from g3pt.generation.prompts import PromptError
from g3pt.generation.results import ScaleEvent
from g3pt.geometry.isosurface import extract_surface
from g3pt.geometry.mesh import (
    MeshError,
    TriangleMesh,
    is_closed,
    to_source,
    unit_frame_of,
    write_mesh,
)
from g3pt.models.g3t import TokenPyramid, read_g3t

RESOLUTION = 16


@pytest.fixture(scope="module")
def pipeline(tiny_weights: Path) -> G3PT:
    return G3PT.from_pretrained(tiny_weights, "cpu")


@pytest.fixture(scope="module")
def box() -> TriangleMesh:
    """A box of 2 x 4 x 1 at (10, 20, 30), twelve outward triangles."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], dtype=np.int64)
    return TriangleMesh(corners * [2, 4, 1] + [10, 20, 30], faces)


def picture(color: tuple[int, int, int] = (200, 30, 30)) -> Image.Image:
    image = Image.new("RGB", (80, 80), "white")
    image.paste(color, (20, 30, 60, 70))
    return image


def test_the_package_exports_the_pipeline() -> None:
    import g3pt

    assert g3pt.G3PT is G3PT
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = g3pt.nothing


def test_a_sentence_becomes_a_closed_mesh(pipeline: G3PT) -> None:
    result = pipeline(text="a red mug", resolution=RESOLUTION)
    assert len(result.meshes) == 1
    assert is_closed(result.meshes[0])
    assert np.abs(result.meshes[0].vertices).max() <= 1.0
    assert result.tokens[0].num_scales == pipeline.num_scales
    assert set(result.timings) == {"condition", "tokens", "extract", "color"}


def test_a_picture_becomes_a_closed_mesh(pipeline: G3PT) -> None:
    result = pipeline.generate(image=picture(), resolution=RESOLUTION)
    assert is_closed(result.meshes[0])
    assert result.prompts.pictures[0].cutout.method == "border"


def test_a_seed_gives_the_same_shape_whatever_else_is_made(pipeline: G3PT) -> None:
    many = pipeline.generate(text=["a table", "a mug"], num=3, seed=5, resolution=RESOLUTION)
    assert many.seeds == [5, 6, 7, 5, 6, 7]
    assert [shape.prompt for shape in many.shapes] == [0, 0, 0, 1, 1, 1]
    alone = pipeline.generate(text="a mug", seed=6, resolution=RESOLUTION)
    assert alone.tokens[0].equals(many.tokens[4])
    np.testing.assert_array_equal(alone.meshes[0].vertices, many.meshes[4].vertices)
    assert not many.tokens[0].equals(many.tokens[1])


def test_the_best_of_several_is_one_of_the_plain_samples(pipeline: G3PT) -> None:
    plain = pipeline.generate(text="a mug", num=4, seed=5, resolution=RESOLUTION)
    best = pipeline.generate(text="a mug", num=2, best_of=2, seed=5, resolution=RESOLUTION)
    for number, shape in enumerate(best.shapes):
        group = plain.shapes[2 * number : 2 * number + 2]
        likeliest = min(group, key=lambda one: np.inf if one.mesh.is_empty else one.nll)
        assert shape.seed == likeliest.seed
        assert shape.tokens.equals(likeliest.tokens)
        np.testing.assert_array_equal(shape.mesh.vertices, likeliest.mesh.vertices)
        assert shape.selection is not None
        assert shape.selection.seeds == tuple(one.seed for one in group)
    assert all(shape.selection is None for shape in plain.shapes)


def test_a_consensus_is_the_mean_of_the_plain_samples(pipeline: G3PT) -> None:
    plain = pipeline.generate(text=["a table", "a mug"], num=6, seed=5, resolution=RESOLUTION)
    agreed = pipeline.generate(
        text=["a table", "a mug"], num=2, consensus=3, seed=5, resolution=RESOLUTION
    )
    assert [shape.consensus for shape in agreed.shapes] == [(5, 6, 7), (8, 9, 10)] * 2
    assert agreed.seeds == [5, 8, 5, 8]
    for number, shape in enumerate(agreed.shapes):
        group = plain.tokens[3 * number : 3 * number + 3]
        mean_LC = torch.stack(
            [pipeline.tokenizer.decode_indices(one.indices[None])[0] for one in group]
        ).mean(dim=0)
        expected = mesh_features(
            pipeline.tokenizer, mean_LC, pipeline.num_scales, resolution=RESOLUTION
        )
        assert shape.mesh.vertices.shape == expected.mesh.vertices.shape
        # The features are summed in another order.
        np.testing.assert_allclose(shape.mesh.vertices, expected.mesh.vertices, atol=1e-4)
        quantised = pipeline.tokenizer.quantize(mean_LC[None]).indices_BT[0]
        assert (shape.tokens.indices == quantised).float().mean() > 0.9
        assert shape.selection is None
        score = pipeline.score(shape.tokens, text=("a table", "a mug")[shape.prompt])
        assert shape.nll == pytest.approx(float(score.nats[0]), rel=1e-4)


def test_a_consensus_of_one_is_the_sample(pipeline: G3PT) -> None:
    alone = pipeline.generate(text="a mug", seed=3, consensus=1, resolution=RESOLUTION)
    plain = pipeline.generate(text="a mug", seed=3, resolution=RESOLUTION)
    assert alone.tokens[0].equals(plain.tokens[0])
    np.testing.assert_array_equal(alone.meshes[0].vertices, plain.meshes[0].vertices)
    assert alone.shapes[0].consensus == plain.shapes[0].consensus == ()


def test_weights_may_answer_pictures_with_a_consensus_unless_variety_is_asked_for(
    pipeline: G3PT,
) -> None:
    config = pipeline.weights.config
    agreeing = replace(config, sampling=replace(config.sampling, consensus=2))
    other = G3PT(replace(pipeline.weights, config=agreeing))
    picture = np.zeros((48, 48, 4), np.uint8)
    picture[12:36, 12:36] = (200, 80, 40, 255)
    assert other.generate(image=picture, resolution=RESOLUTION).shapes[0].consensus == (0, 1)
    for plain in ({"num": 2}, {"best_of": 2}, {"consensus": 1}):
        result = other.generate(image=picture, resolution=RESOLUTION, **plain)
        assert all(shape.consensus == () for shape in result.shapes)
    assert other.generate(text="a mug", resolution=RESOLUTION).shapes[0].consensus == ()
    varied = other.vary(pipeline.generate(text="a mug", resolution=16).tokens[0], keep=1)
    assert varied.shapes[0].consensus == ()


def test_where_the_mean_has_no_inside_the_first_sample_takes_its_place(
    pipeline: G3PT, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pipeline.generate(text="a mug", seed=4, resolution=RESOLUTION).shapes[0]
    assert not plain.mesh.is_empty
    nothing = extract_surface(lambda points: -np.ones(len(points)), resolution=RESOLUTION)
    monkeypatch.setattr("g3pt.generation.drafts.mesh_features", lambda *_, **__: nothing)
    shape = pipeline.generate(text="a mug", seed=4, consensus=3, resolution=RESOLUTION).shapes[0]
    np.testing.assert_array_equal(shape.mesh.vertices, plain.mesh.vertices)
    assert shape.consensus == ()
    assert torch.equal(shape.tokens.indices, plain.tokens.indices)
    assert shape.nll == pytest.approx(plain.nll)


def test_a_consensus_has_coarser_scales_and_tells_how_far_it_is(pipeline: G3PT) -> None:
    events: list[ScaleEvent] = []
    result = pipeline.generate(
        text="a mug",
        consensus=3,
        num_scales=2,
        every_scale=True,
        resolution=RESOLUTION,
        on_scale=events.append,
    )
    sampled = [event for event in events if event.stage == "tokens"]
    assert [len(event.tokens) for event in sampled] == [3, 3]
    assert {event.total for event in sampled} == {3}
    (shape,) = result.shapes
    assert shape.tokens.num_scales == 2
    assert len(shape.scales) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"consensus": 0}, "consensus must be at least 1, got 0"),
        ({"consensus": 2, "best_of": 2}, "give one of the two"),
    ],
)
def test_what_a_consensus_cannot_be_is_refused(
    arguments: dict, sentence: str, pipeline: G3PT
) -> None:
    with pytest.raises(ValueError, match=sentence):
        pipeline.generate(text="a mug", **arguments)
    known = pipeline.generate(text="a mug", resolution=RESOLUTION).tokens[0].truncate(1)
    with pytest.raises(PromptError, match="one of consensus and known"):
        pipeline.generate(text="a mug", known=known, consensus=2)


def test_candidates_are_compared_coarsely_and_one_is_made_in_full(
    pipeline: G3PT, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "g3pt.generation.drafts.mesh_tokens",
        lambda tokenizer, tokens, *, resolution, **rest: (
            asked.append(resolution) or mesh_tokens(tokenizer, tokens, resolution=16, **rest)
        ),
    )
    pipeline.generate(text="a mug", best_of=3, resolution=256)
    assert asked == [64, 64, 64, 256]
    with pytest.raises(PromptError, match="best_of must be at least 1, got 0"):
        pipeline.generate(text="a mug", best_of=0)


def test_generating_leaves_the_global_random_state_alone(pipeline: G3PT) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    pipeline.generate(text="a mug", resolution=RESOLUTION)
    assert torch.equal(torch.rand(1), expected)


def test_every_scale_is_heard_and_extends_the_one_before(pipeline: G3PT) -> None:
    events: list[ScaleEvent] = []
    result = pipeline.generate(text="a mug", num=2, resolution=RESOLUTION, on_scale=events.append)
    sampled = [event for event in events if event.stage == "tokens"]
    assert [event.scale for event in sampled] == list(range(pipeline.num_scales))
    for event in sampled:
        assert event.num_scales == pipeline.num_scales
        for tokens, final in zip(event.tokens, result.tokens, strict=True):
            assert tokens.equals(final.truncate(event.scale + 1))


def test_an_error_in_the_listener_cancels(pipeline: G3PT) -> None:
    class CancelledError(Exception):
        pass

    def cancel(event: ScaleEvent) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        pipeline.generate(text="a mug", resolution=RESOLUTION, on_scale=cancel)


def test_meshing_is_heard_shape_by_shape(pipeline: G3PT) -> None:
    events: list[ScaleEvent] = []
    result = pipeline.generate(text="a mug", num=2, resolution=RESOLUTION, on_scale=events.append)
    meshing = events[pipeline.num_scales :]
    assert {event.stage for event in meshing} == {"mesh"}
    for number, shape in enumerate(result.shapes):
        own = [event for event in meshing if event.first == number]
        assert own and {event.total for event in own} == {2}
        assert all(event.tokens == (shape.tokens,) for event in own)
        assert own[-1].queries == shape.extraction.queries


@pytest.mark.parametrize("asked", [{}, {"best_of": 2}, {"consensus": 2}, {"every_scale": True}])
def test_an_error_while_meshing_cancels_at_once(pipeline: G3PT, asked: dict) -> None:
    heard: list[ScaleEvent] = []

    def cancel(event: ScaleEvent) -> None:
        if event.stage == "mesh":
            heard.append(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.generate(text="a mug", resolution=RESOLUTION, on_scale=cancel, **asked)
    assert len(heard) == 1


def test_whoever_listens_hears_of_meshing_within_a_second() -> None:
    pipeline = G3PT.from_pretrained("g3pt-small", "cpu")
    times: list[float] = []
    tokens = TokenPyramid(
        tuple(pipeline.tokenizer.scale_lengths), pipeline.tokenizer.num_bits, torch.zeros(1).long()
    )
    began = time.process_time()
    pipeline.decode(tokens, resolution=128, on_block=lambda _: times.append(time.process_time()))
    # Of processor time: another process on the same cores makes a second longer.
    assert max(np.diff([began, *times, time.process_time()])) < 1.0


def test_meshes_of_coarser_scales_are_those_of_the_truncated_tokens(pipeline: G3PT) -> None:
    shape = pipeline.generate(text="a mug", resolution=RESOLUTION, every_scale=True).shapes[0]
    assert len(shape.scales) == pipeline.num_scales - 1
    again = pipeline.decode(shape.tokens.truncate(2), resolution=RESOLUTION).mesh
    np.testing.assert_array_equal(shape.scales[1].vertices, again.vertices)


def test_generation_may_stop_at_a_coarser_scale(pipeline: G3PT) -> None:
    whole = pipeline.generate(text="a mug", resolution=RESOLUTION)
    coarse = pipeline.generate(text="a mug", resolution=RESOLUTION, num_scales=2)
    assert coarse.tokens[0].equals(whole.tokens[0].truncate(2))


def test_loose_parts_can_be_dropped(pipeline: G3PT) -> None:
    tokens = pipeline.generate(text="a mug", resolution=RESOLUTION).tokens[0]
    everything = pipeline.decode(tokens, resolution=RESOLUTION)
    largest = pipeline.decode(tokens, resolution=RESOLUTION, min_share=0.3)
    assert is_closed(largest.mesh)
    assert len(largest.mesh.faces) <= len(everything.mesh.faces)
    assert largest.queries == everything.queries


def test_no_prompt_gives_an_unconditional_shape(pipeline: G3PT) -> None:
    result = pipeline.generate(seed=3, resolution=RESOLUTION)
    assert len(result.shapes) == 1
    assert np.isfinite(result.shapes[0].nll)


def test_picture_and_text_can_describe_one_shape(pipeline: G3PT) -> None:
    both = pipeline.generate(image=picture(), text="a red mug", resolution=RESOLUTION)
    assert len(both.shapes) == 1
    with pytest.raises(PromptError, match="2 pictures and 1 texts"):
        pipeline.generate(image=[picture(), picture()], text=["a red mug"])


def test_wrong_requests_are_refused_with_a_sentence(pipeline: G3PT) -> None:
    with pytest.raises(PromptError, match="text is empty"):
        pipeline.generate(text="  ")
    with pytest.raises(PromptError, match="empty list"):
        pipeline.generate(image=[])
    with pytest.raises(PromptError, match="num must be at least 1"):
        pipeline.generate(text="a mug", num=0)
    for resolution in (4, 10**6):
        with pytest.raises(ValueError, match="resolution must lie between 16 and 1024"):
            pipeline.generate(text="a mug", resolution=resolution)


def test_weights_without_a_generator_say_so(pipeline: G3PT) -> None:
    alone = G3PT(replace(pipeline.weights, car=None))
    with pytest.raises(PromptError, match="tokenizer alone"):
        alone.generate(text="a mug")


def test_a_reconstruction_returns_to_the_sources_place(pipeline: G3PT, box: TriangleMesh) -> None:
    result = pipeline.reconstruct(box, resolution=RESOLUTION)
    assert result.frame == unit_frame_of(box)
    assert is_closed(result.mesh)
    np.testing.assert_allclose(
        result.mesh.vertices, to_source(result.unit_mesh, unit_frame_of(box)).vertices
    )
    # The query cube, about 4.2 source units wide, is centred on the box.
    assert np.abs(result.mesh.vertices - [11, 22, 30.5]).max() <= 4.0 / 1.9 + 1e-6


def test_reconstructing_is_tokenizing_and_back(
    pipeline: G3PT, box: TriangleMesh, tmp_path: Path
) -> None:
    file = pipeline.tokenize(box, seed=4)
    path = tmp_path / "box.g3t"
    file.save(path)
    back = pipeline.detokenize(path, resolution=RESOLUTION)
    direct = pipeline.reconstruct(box, seed=4, resolution=RESOLUTION)
    assert back.tokens.equals(direct.tokens)
    assert back.frame == direct.frame


def test_making_a_mesh_of_tokens_is_heard(pipeline: G3PT, box: TriangleMesh) -> None:
    for num_scales, work in ((None, pipeline.reconstruct), (1, pipeline.detokenize)):
        source = box if work == pipeline.reconstruct else pipeline.tokenize(box)
        events: list[ScaleEvent] = []
        asked = {"resolution": RESOLUTION, "num_scales": num_scales, "on_scale": events.append}
        made = work(source, **asked)
        first, *meshing = events
        assert (first.stage, first.scale + 1) == ("tokens", made.tokens.num_scales)
        assert meshing and {event.stage for event in meshing} == {"mesh"}
        assert meshing[-1].queries == made.extraction.queries


def test_tokens_do_not_depend_on_place_and_scale(pipeline: G3PT, box: TriangleMesh) -> None:
    moved = replace(box, vertices=box.vertices * 8.0 - 64.0)
    assert pipeline.tokenize(moved).tokens.equals(pipeline.tokenize(box).tokens)


def test_a_mesh_file_is_as_good_as_a_mesh(
    pipeline: G3PT, box: TriangleMesh, tmp_path: Path
) -> None:
    write_mesh(tmp_path / "box.obj", box)
    tokens = pipeline.tokenize(tmp_path / "box.obj", num_scales=2).tokens
    assert tokens.equals(pipeline.tokenize(box).tokens.truncate(2))


def test_the_first_scales_of_a_file_decode_to_a_coarser_shape(
    pipeline: G3PT, box: TriangleMesh, tmp_path: Path
) -> None:
    file = pipeline.tokenize(box)
    path = tmp_path / "box.g3t"
    file.save(path)
    coarse = pipeline.detokenize(path, num_scales=1, resolution=RESOLUTION)
    assert coarse.tokens.num_tokens == 1
    short = pipeline.detokenize(read_g3t(path), num_scales=1, resolution=RESOLUTION)
    np.testing.assert_array_equal(coarse.unit_mesh.vertices, short.unit_mesh.vertices)


def test_tokens_of_another_tokenizer_are_refused(pipeline: G3PT, box: TriangleMesh) -> None:
    file = replace(pipeline.tokenize(box), fingerprint="00" * 32)
    with pytest.raises(ValueError, match="name the weights it was made with"):
        pipeline.detokenize(file)
    foreign = replace(pipeline.tokenize(box).tokens, num_bits=6)
    with pytest.raises(ValueError, match="of 6 bits, this tokenizer reads"):
        pipeline.decode(foreign)


def test_bad_meshes_and_scales_are_refused(pipeline: G3PT, box: TriangleMesh) -> None:
    with pytest.raises(MeshError, match="no such file"):
        pipeline.tokenize("nowhere.glb")
    with pytest.raises(ValueError, match=r"scales must lie in 1\.\.3"):
        pipeline.reconstruct(box, num_scales=4)


def test_weights_may_say_that_the_last_scales_are_left_out(pipeline: G3PT) -> None:
    config = pipeline.weights.config
    config = replace(config, sampling=replace(config.sampling, num_scales=2))
    short = G3PT(replace(pipeline.weights, config=config))
    made = {
        asked: short(text="a red mug", resolution=RESOLUTION, num_scales=asked).tokens[0]
        for asked in (None, 1, 3)
    }
    assert [made[asked].num_scales for asked in (None, 1, 3)] == [2, 1, 3]
    assert torch.equal(made[None].indices, made[3].truncate(2).indices)
    varied = short.vary(made[3], keep=2, text="a red mug", resolution=RESOLUTION)
    assert varied.tokens[0].num_scales == 3
