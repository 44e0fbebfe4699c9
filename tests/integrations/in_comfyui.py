"""Runs in a Python that has what ComfyUI needs: loads the nodes as ComfyUI does, runs workflows.

    python in_comfyui.py CHECKOUT FOLDER WORKFLOW.json http://127.0.0.1:8000 WEIGHTS

FOLDER has `custom_nodes`, `input` and `output`.
"""

# ruff: noqa: T201

import asyncio
import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    checkout, folder, workflow, server, weights = sys.argv[1:]
    sys.argv = ["main.py", "--cpu", "--base-directory", folder, "--disable-api-nodes"]
    sys.path.insert(0, checkout)
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy_extras.nodes_save_3d as saving
    import execution
    import nodes

    async def load() -> None:
        assert await nodes.load_custom_node(str(Path(folder, "custom_nodes", "g3pt")))
        assert await nodes.load_custom_node(saving.__file__, module_parent="comfy_extras")

    asyncio.run(load())
    ours = {name: node for name, node in nodes.NODE_CLASS_MAPPINGS.items() if "G3pt" in name}
    assert len(ours) == 6, ours
    assert all(node.RELATIVE_PYTHON_MODULE == "custom_nodes.g3pt" for node in ours.values())

    example = json.loads(Path(workflow).read_text())
    prompt = as_prompt(example, nodes.NODE_CLASS_MAPPINGS)
    for where in ({"server": server}, {"server": "", "weights": weights}):
        for node in prompt.values():
            if node["class_type"].startswith("G3pt"):
                node["inputs"] |= {**where, "resolution": 16}
        prompt["4"]["inputs"]["keep"] = 1
        outputs = run(execution, prompt)
        assert sorted(outputs) == ["3", "5"], outputs
        counts = [len(output["3d"]) for _, output in sorted(outputs.items())]
        assert counts == [1, 2], outputs
        print("example", where, outputs)
    outputs = run(execution, everything(server))
    assert len(outputs) == 4, outputs
    print("everything", outputs)
    print("all well")


def as_prompt(workflow: dict[str, Any], classes: dict[str, Any]) -> dict[str, Any]:
    """The prompt that the page makes of a workflow; every widget must have its value."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt: dict[str, Any] = {}
    for node in workflow["nodes"]:
        told = classes[node["type"]].INPUT_TYPES()
        links = {one["name"]: one["link"] for one in node["inputs"]}
        values = iter(node["widgets_values"])
        inputs: dict[str, Any] = {}
        for name, (kind, *options) in [
            *told.get("required", {}).items(),
            *told.get("optional", {}).items(),
        ]:
            extra = options[0] if options else {}
            if name in links:
                inputs[name] = sources[links[name]]
            elif isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"):
                inputs[name] = next(values)
                if extra.get("control_after_generate"):
                    assert next(values) in ("fixed", "increment", "decrement", "randomize")
            if extra.get("image_upload"):
                assert next(values) == "image"
        assert list(values) == [], f"{node['type']} has values without widgets"
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def everything(server: str) -> dict[str, Any]:
    """A prompt with the nodes that the example has not."""
    where = {"server": server, "resolution": 16, "seed": 1}

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    made = {
        "1": node("G3ptGenerate", text="a mug", num=1, **where),
        "2": node("G3ptGenerate", text="a chair", num=1, **where | {"seed": 2}),
        "3": node("G3ptMix", coarse=["1", 1], fine=["2", 1], keep=1, method="resample", **where),
        "4": node("G3ptComplete", mesh=["1", 0], width=4, survivors=2, num=2, **where),
        "5": node("G3ptTokenize", mesh=["4", 0], server=server, seed=0),
        "6": node("G3ptDetokenize", tokens=["5", 0], num_scales=0, server=server, resolution=16),
        "7": node("G3ptDetokenize", tokens=["3", 1], num_scales=1, server=server, resolution=16),
    }
    for number, source in enumerate(("3", "4", "6", "7")):
        made[f"1{number}"] = node("SaveGLB", mesh=[source, 0], filename_prefix="3d/g3pt-all")
    return made


class Listening:
    """What an executor tells the page."""

    client_id = None
    last_node_id = None
    last_prompt_id = None
    sockets_metadata: dict[str, Any]

    def __init__(self) -> None:
        self.sockets_metadata, self.told = {}, []

    def send_sync(self, event: str, data: Any, sid: Any = None) -> None:
        self.told.append((event, data))


def run(execution: Any, prompt: dict[str, Any]) -> dict[str, Any]:
    """Validate a prompt and run it with ComfyUI's executor; returns what the outputs showed."""

    async def whole() -> dict[str, Any]:
        valid, error, outputs, errors = await execution.validate_prompt("1", prompt, None)
        assert valid, (error, errors)
        server = Listening()
        limits = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}  # of memory for what is kept: none
        executor = execution.PromptExecutor(server, cache_args=limits)
        await executor.execute_async(prompt, "1", {}, outputs)
        assert executor.success, server.told[-3:]
        return executor.history_result["outputs"]

    return asyncio.run(whole())


if __name__ == "__main__":
    main()
