"""Watches the processes that tests start as `no_pickle` watches their own."""

import importlib.util
import sys
from pathlib import Path

path = Path(__file__).parent.with_name("no_pickle.py")
spec = importlib.util.spec_from_file_location("no_pickle", path)
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules["no_pickle"] = module
spec.loader.exec_module(module)
module.install()
