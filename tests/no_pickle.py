"""Makes unpickling raise in the process of the tests, unless processes talk to each other.

A pickle that names a class or function runs code. Python announces each such name
(`pickle.find_class`), and code objects read from bytes (`marshal.loads`), to audit hooks.
"""

import sys
from pathlib import Path
from types import FrameType

PACKAGES_THAT_TALK = ("multiprocessing", "concurrent", "pebble", "ray", "torch/distributed")
"""Their pickles come from processes that this one has started, not from files."""
TESTS = Path(__file__).parent


class PickleError(AssertionError):
    """Something was unpickled."""


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: see `sys.addaudithook`."""
    if event == "pickle.find_class":
        if not talks(sys._getframe(1)):
            raise PickleError(f"a pickle wanted {arguments[0]}.{arguments[1]}")
    elif event in ("marshal.loads", "marshal.load"):
        frame = sys._getframe(1)
        if not frame.f_code.co_filename.startswith("<frozen importlib"):
            raise PickleError(f"{frame.f_code.co_filename} reads code from bytes")


def talks(frame: FrameType | None) -> bool:
    """Whether a call comes from a test itself, or from what connects processes."""
    nearest = frame
    while frame is not None:
        file = frame.f_code.co_filename
        if any(f"/{name}/" in file for name in PACKAGES_THAT_TALK):
            return True
        frame = frame.f_back
    return nearest is not None and TESTS in Path(nearest.f_code.co_filename).parents


def install() -> None:
    """Watch this process from now on; a hook cannot be taken away."""
    sys.addaudithook(refuse)
