"""A GPU machine has torch, NumPy and SciPy, and none of what reads and casts meshes elsewhere."""

import pkgutil
import subprocess
import sys

import g3pt.data.stream

ABSENT = ("embreex", "igl", "trimesh", "tyro", "pebble")


def test_the_stream_needs_nothing_that_a_gpu_machine_lacks():
    names = [
        f"g3pt.data.stream.{module.name}"
        for module in pkgutil.iter_modules(g3pt.data.stream.__path__)
        if not module.name.endswith("_triton")
    ]
    assert len(names) > 2
    code = f"import sys; sys.modules.update(dict.fromkeys({ABSENT}))\n"
    code += "\n".join(f"import {name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
