"""What the pipeline does with numbers and pictures of other types than its annotations name.

In a process of its own, where nothing checks annotations: there a user meets them.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from g3pt.arguments import (
    MAX_SEED,
    check_number,
    check_ranges,
    check_whole,
    seed_of,
)

ASK = """
import json, sys
import numpy as np, torch
from g3pt import G3PT
from g3pt.generation.completion import SearchConfig

pipeline = G3PT.from_pretrained(sys.argv[1], "cpu")
tokens = pipeline(seed=np.int64(3), num=1, resolution=np.int32(16), guidance=np.float32(1.0)).tokens
rgb = np.zeros((40, 40, 3), np.float32)
rgb[10:30, 10:30] = 1.0
one = pipeline.read_prompts(image=torch.from_numpy(rgb).permute(2, 0, 1))
two = pipeline.read_prompts(image=[(rgb * 255).astype(np.uint8), rgb > 0])
same = torch.equal(one.condition.pictures_BSS4[0], two.condition.pictures_BSS4[1])
asked = {
    "resolution": lambda: pipeline(resolution="128"),
    "resolution 2": lambda: pipeline.decode(tokens[0], resolution=64.0),
    "seed": lambda: pipeline(seed=1.5),
    "seed 2": lambda: pipeline(seed="7"),
    "seed 3": lambda: pipeline(seed=-1),
    "seed 4": lambda: pipeline.tokenize("nothing.glb", seed=None),
    "num": lambda: pipeline(num=2.0),
    "num_scales": lambda: pipeline(num_scales="2"),
    "num_scales 2": lambda: pipeline.score(tokens[0], num_scales=1.0),
    "best_of": lambda: pipeline(best_of=True),
    "consensus": lambda: pipeline(consensus=[4]),
    "guidance": lambda: pipeline(guidance="3"),
    "temperature": lambda: pipeline(temperature=["1", "1", "1"]),
    "top_k": lambda: pipeline(top_k=2.5),
    "top_p": lambda: pipeline(top_p=float("nan")),
    "min_share": lambda: pipeline(min_share="0.1"),
    "keep": lambda: pipeline.vary(tokens[0], keep=1.5),
    "keep 2": lambda: SearchConfig(keep="1"),
    "width": lambda: SearchConfig(width=8.0),
    "image": lambda: pipeline.read_prompts(image=7),
    "image 2": lambda: pipeline.read_prompts(image=[rgb, None]),
    "image 3": lambda: pipeline.read_prompts(image=[[{}]]),
    "text": lambda: pipeline.read_prompts(text=5),
    "text 2": lambda: pipeline.read_prompts(text=["a mug", None]),
}
answers = {}
for name, ask in asked.items():
    try:
        ask()
    except Exception as error:
        answers[name] = [type(error).__name__, str(error)]
    else:
        answers[name] = ["nothing", ""]
print(json.dumps({"same": same, "answers": answers}))
"""

EXPECTED = {
    "resolution": ("ValueError", "resolution must be a whole number, got the text '128'"),
    "resolution 2": ("ValueError", "resolution must be a whole number, got 64.0 (float)"),
    "seed": ("ValueError", "seed must be a whole number, got 1.5 (float)"),
    "seed 2": ("ValueError", "seed must be a whole number, got the text '7'"),
    "seed 3": ("ValueError", f"seed must lie in 0..{MAX_SEED}, got -1"),
    "seed 4": ("ValueError", "seed must be a whole number, got None (NoneType)"),
    "num": ("ValueError", "num must be a whole number, got 2.0 (float)"),
    "num_scales": ("ValueError", "num_scales must be a whole number, got the text '2'"),
    "num_scales 2": ("ValueError", "num_scales must be a whole number, got 1.0 (float)"),
    "best_of": ("ValueError", "best_of must be a whole number, got True"),
    "consensus": ("ValueError", "consensus must be a whole number, got [4] (list)"),
    "guidance": ("ValueError", "guidance must be a number, got the text '3'"),
    "temperature": ("ValueError", "temperature must be a number, got the text '1'"),
    "top_k": ("ValueError", "top_k must be a whole number, got 2.5 (float)"),
    "top_p": ("ValueError", "top_p must be a number, got nan (float)"),
    "min_share": ("ValueError", "min_share must be a number, got the text '0.1'"),
    "keep": ("ValueError", "keep must be a whole number, got 1.5 (float)"),
    "keep 2": ("ValueError", "keep must be a whole number, got the text '1'"),
    "width": ("ValueError", "width must be a whole number, got 8.0 (float)"),
    "image": ("PictureError", "picture: got int, expected a file"),
    "image 2": ("PictureError", "picture: got NoneType, expected a file"),
    "image 3": ("PictureError", "picture: got dict, expected a file"),
    "text": ("PromptError", "text must be a sentence or several, got 5 (int)"),
    "text 2": ("PromptError", "text must be a sentence or several, got None (NoneType)"),
}


@pytest.fixture(scope="module")
def answers(tiny_weights: Path) -> dict:
    command = [sys.executable, "-c", ASK, str(tiny_weights)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_no_such_argument_is_refused_by_name(answers: dict, name: str) -> None:
    kind, sentence = EXPECTED[name]
    assert answers["answers"][name][0] == kind
    assert answers["answers"][name][1].startswith(sentence)


def test_a_tensor_is_one_picture_and_a_list_of_arrays_several(answers: dict) -> None:
    assert answers["same"]


def test_numbers_of_other_libraries_are_numbers() -> None:
    import numpy as np
    import torch

    for value in (3, np.int64(3), np.uint8(3), torch.tensor(3)):
        check_whole("num", value)
        assert seed_of(value) == 3
    for value in (3, 0.5, np.float32(0.5), np.int64(3)):
        check_number("top_p", value)


def test_a_field_outside_its_range_is_named_with_the_range():
    config = SimpleNamespace(seed=3, grid=(1, 9))
    check_ranges(config, "data", seed=(0, 3), grid=(1, 9))
    with pytest.raises(ValueError, match=r"^data\.seed must lie in 0\.\.2, got 3$"):
        check_ranges(config, "data", seed=(0, 2))
    with pytest.raises(ValueError, match=r"^grid must lie in 2\.\.9, got 1$"):
        check_ranges(config, "", grid=(2, 9))
    with pytest.raises(ValueError, match="seed"):
        check_ranges(SimpleNamespace(seed=float("nan")), "", seed=(0, 1))
