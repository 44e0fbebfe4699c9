"""Makes unpickling raise in the processes of the tests, unless processes talk to each other.

A pickle that names a class or function runs code. Python announces each such name
(`pickle.find_class`), and code objects read from bytes (`marshal.loads`), to audit hooks. What
unpickles decides: only the modules that carry messages between processes may, not what they
call. Threads and forked processes have the hook of their process; others that tests start get it
by `watched/sitecustomize.py`, unless their environment is cleared.

`exec`, `eval` and `compile` are announced too, but libraries make classes with them all the time;
that no module of g3pt has them is a test of `test_no_pickle.py`.
"""

import os
import sys
from pathlib import Path
from types import FrameType

TRANSPORTS = (
    *("multiprocessing.connection", "multiprocessing.queues", "multiprocessing.spawn"),
    *("multiprocessing.forkserver", "multiprocessing.managers", "concurrent.futures.process"),
    *("pebble", "ray", "torch.multiprocessing", "torch.distributed"),
)
"""Modules and packages whose pickles come from processes that this one knows, not from files."""
TESTS = Path(__file__).parent
WATCHED = TESTS / "watched"
_installed: list[bool] = []


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


def talks(nearest: FrameType | None) -> bool:
    """Whether what unpickles is a test itself, or what connects processes."""
    frame = past_storages(nearest)
    if frame is None:
        return False
    module = frame.f_globals.get("__name__", "")
    if any(module == one or module.startswith(f"{one}.") for one in TRANSPORTS):
        return True
    return TESTS in Path(frame.f_code.co_filename).parents


def past_storages(frame: FrameType | None) -> FrameType | None:
    """What unpickles a message in which tensors are; their bytes are a pickle of their own."""
    above = frame
    while above is not None and above.f_globals.get("__name__") == "torch.serialization":
        above = above.f_back
    if above is not None and above is not frame and above.f_code.co_name == "_load_from_bytes":
        return above.f_back
    return frame


def install() -> None:
    """Watch this process from now on, if that is not done; a hook cannot be taken away."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(refuse)


def install_in_others() -> None:
    """Watch the processes of Python that this one starts."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(WATCHED) not in given:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(WATCHED), *filter(None, given)])
