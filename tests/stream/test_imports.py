"""A GPU machine has torch, NumPy and SciPy, and none of what reads and casts meshes elsewhere."""

import pkgutil
import subprocess
import sys

import g3pt.stream

ABSENT = ("embreex", "igl", "trimesh", "tyro", "pebble")
ELSEWHERE = ("distances_triton", "primitives_triton", "mesh_kernel")
"""What needs Triton."""


def test_the_stream_needs_nothing_that_a_gpu_machine_lacks():
    names = [
        f"g3pt.stream.{module.name}"
        for module in pkgutil.iter_modules(g3pt.stream.__path__)
        if module.name not in ELSEWHERE
    ]
    names += [
        "g3pt.training.kinds.stream",
        "g3pt.models.weights.load",
    ]
    assert len(names) > 10
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
    code += "\n".join(f"import {name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
