import base64
import inspect
import json
from dataclasses import fields

import pytest
from pydantic import ValidationError

from g3pt.app.fields import docs_of
from g3pt.app.problems import Problem
from g3pt.app.requests import (
    KINDS,
    Blob,
    GenerationRequest,
    MixRequest,
    VariationRequest,
    finishing_of,
    sampling_of,
)
from g3pt.geometry.finishing import Finishing
from g3pt.models.sampling import Sampling

DATA = base64.b64encode(b"bytes").decode()


def asked(**told) -> GenerationRequest:
    return GenerationRequest.model_validate_json(json.dumps({"text": "a mug", **told}), strict=True)


def refused(model=GenerationRequest, **told) -> list[tuple[str, str]]:
    """Field and message of every error."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(told), strict=True)
    problem = Problem.of_validation(caught.value, (*model.model_fields, "up_axis"))
    return [(error.field, error.detail) for error in problem.errors]


@pytest.mark.parametrize("cls", [Sampling, Finishing])
def test_settings_are_those_of_the_dataclasses_with_their_docs(cls) -> None:
    schema = GenerationRequest.model_json_schema()["properties"]

    for field in fields(cls):
        assert schema[field.name]["default"] == field.default
        assert schema[field.name]["description"] == docs_of(cls)[field.name]


def test_settings_come_through() -> None:
    told = asked(guidance=3, temperature=[1, 0.5, 0.2], size_mm=20, up_axis="z", format="stl")

    request = json.loads(told.model_dump_json())
    assert sampling_of(request) == Sampling(guidance=3, temperature=(1, 0.5, 0.2))
    assert finishing_of(request) == Finishing(size_mm=20, up="z")


def test_defaults_of_a_request_are_those_of_the_command() -> None:
    from g3pt.cli.generate import GenerateOptions

    request, options = asked(), inspect.signature(GenerateOptions).parameters
    for name in ("num", "resolution", "min_share", "best_of", "every_scale", "views", "seed"):
        assert getattr(request, name) == options[name].default, name


@pytest.mark.parametrize(
    ("told", "field", "part"),
    [
        ({"text": "a", "gidance": 3}, "gidance", "there is no such field"),
        ({"text": "a", "guidance": -1}, "guidance", "must not be negative"),
        ({"text": "a", "guidance_schedule": "up"}, "guidance_schedule", "ramp"),
        ({"text": "a", "top_p": [0.5, 2]}, "top_p", "must be within"),
        ({"text": "a", "resolution": 100_000}, "resolution", "256"),
        ({"text": "a", "format": "exe"}, "format", "'glb', 'obj', 'stl', 'ply' or '3mf'"),
        ({"text": "a", "up": "z"}, "up", "cannot be z in .glb"),
        ({"text": "a", "size_mm": -1, "format": "stl"}, "size_mm", "must be above 0"),
        ({"text": "a", "printable": True}, "printable", "give size_mm"),
        ({"text": "a", "thicken": True}, "thicken", "give printable"),
        ({"text": "a", "faces": 3}, "faces", "greater than or equal to 4"),
        ({"text": "a", "compress": "draco", "format": "obj"}, "compress", "write .glb"),
        ({"text": "a", "seed": -1}, "seed", "greater than or equal to 0"),
        ({"text": "a", "seed": 2**63}, "seed", "less than or equal to"),
        ({"text": ""}, "text.0", "at least 1 character"),
        ({"text": "x" * 1001}, "text.0", "at most 1000 characters"),
        ({"text": ["a"] * 9}, "text", "at most 8 items"),
        ({"text": "a", "num": 16, "best_of": 16}, "num", "256 samples in all"),
        ({"text": "a", "consensus": 65}, "num", "65 samples in all"),
        ({}, "image", "there is no prompt"),
        ({"image": "http://example.org/x.png"}, "image.0", "is not base64"),
        ({"image": "/etc/passwd"}, "image.0", "is not base64"),
        ({"image": "data:image/png,abc"}, "image.0", "data:TYPE;base64,DATA"),
        ({"image": 5}, "image.0", "got int"),
        ({"image": ""}, "image.0", "is empty"),
        ({"text": "a", "texture": 63}, "texture", "greater than or equal to 64"),
        ({"text": "a", "texture": 64, "format": "stl"}, "texture", "which .stl files do not get"),
        ({"text": "a", "texture": 64, "format": "obj"}, "texture", "/result.zip"),
        ({"text": "a", "texture": 64, "color": "none"}, "texture", "these meshes get none"),
        ({"text": "a", "texture": 64, "every_scale": True}, "texture", "belongs to one mesh"),
        ({"text": "a", "seed": "3"}, "seed", "valid integer"),
        ({"text": "a", "num": True}, "num", "valid integer"),
        ({"text": "a", "min_share": "0.1"}, "min_share", "valid number"),
        ({"text": "a", "every_scale": 1}, "every_scale", "valid boolean"),
        ({"image": DATA, "mask": [DATA, DATA]}, "mask", "one for each picture"),
        ({"text": "a", "mask": DATA}, "mask", "there is no image"),
        ({"image": DATA, "mask": DATA, "whole_picture": True}, "mask", "not both"),
        ({"image": [DATA, DATA], "text": "a"}, "text", "got 1 for 2"),
        ({"text": "a", "color": "picture"}, "color", "there is none"),
        ({"text": "a", "best_of": 2, "consensus": 2}, "best_of", "consensus joins them"),
        ({"text": "a", "views": True}, "views", "there are none"),
        ({"text": "a", "points": {"data": DATA, "format": "xyz"}}, "points", "stand alone"),
    ],
)
def test_what_is_wrong_names_its_field(told: dict, field: str, part: str) -> None:
    (error,) = refused(**told)

    assert error[0] == field
    assert part in error[1]


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        GenerationRequest.model_validate_json('{"text": "a", "size_mm": NaN}')


def test_a_shape_is_sent_along_or_named_by_its_job() -> None:
    sent = {"data": DATA, "format": "obj"}
    named = {"job": "0" * 32, "sample": 1}

    for source in (sent, named):
        assert VariationRequest.model_validate({"source": source, "keep": 1}).keep == 1
    upload = VariationRequest.model_validate({"source": Blob(b"x", "ply"), "keep": "1"})
    assert [(place, blob.format) for place, blob in upload.blobs()] == [("source", "ply")]
    assert refused(VariationRequest, source={**sent, "format": "exe"}, keep=1)[0][0] == (
        "source.format"
    )
    assert refused(VariationRequest, source={"job": "../x"}, keep=1)[0][0] == "source.job"
    assert refused(VariationRequest, source="/etc/passwd", keep=1)[0][0] == "source"


def test_json_has_numbers_and_arrays_of_its_own_and_a_form_has_text() -> None:
    from pathlib import Path

    from g3pt.app.requests import CompletionRequest
    from g3pt.app.settings import ModelSource, ServeSettings
    from g3pt.app.uploads import check_request

    source = ModelSource(name="a", weights="a")
    settings = ServeSettings(models=(source,), folder=Path("nowhere"))
    part = {"data": DATA, "format": "obj"}
    told = json.dumps({"part": part, "whole": [0, 0, 0, 1, 1, 2], "top_k": [4, 5]}).encode()
    found = check_request(told, CompletionRequest, settings)
    assert (found.whole, found.top_k) == ((0, 0, 0, 1, 1, 2), (4, 5))
    with pytest.raises(Problem, match=r"whole\.5: .*valid number"):
        check_request(told.replace(b"2]", b'"2"]'), CompletionRequest, settings)

    form = {"part": Blob(b"x", "obj"), "whole": list("000112"), "num": "3", "previews": "false"}
    found = check_request(form, CompletionRequest, settings)
    assert (found.whole, found.num, found.previews) == ((0, 0, 0, 1, 1, 2), 3, False)


def test_mixing_tokens_leaves_nothing_to_chance() -> None:
    shape = {"data": DATA, "format": "obj"}

    told = {"coarse": shape, "fine": shape, "keep": 1, "method": "tokens", "num": 2}
    assert refused(MixRequest, **told)[0][0] == "num"


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_request_is_explained(kind: str) -> None:
    schema = KINDS[kind].model_json_schema()

    assert schema["description"]
    unexplained = [
        name
        for name, field in schema["properties"].items()
        if "description" not in field and "$ref" not in str(field)
    ]
    assert unexplained == []
