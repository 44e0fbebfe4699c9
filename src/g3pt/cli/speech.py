"""Who speaks to the user: g3pt alone. Libraries are heard by whoever looks for a fault.

`G3PT_TRACEBACK=1` lets them speak, and Python's own `-W` and `PYTHONWARNINGS` are obeyed.
"""

import logging
import os
import sys
import warnings

PLAIN = "%(message)s"
WITH_TIME = "%(asctime)s %(message)s"
_QUIET = {
    "PYTHONWARNINGS": "ignore",  # of the children that prepare
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
}
"""What libraries are told that print past Python's logging; what the user has set stays."""


class _Voice(logging.Handler):
    """Writes what loggers of g3pt say to what is stderr at the time, which a bar replaces."""

    def __init__(self) -> None:
        super().__init__()
        if not os.environ.get("G3PT_TRACEBACK"):
            self.addFilter(logging.Filter("g3pt"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(self.format(record), file=sys.stderr, flush=True)


def hear_only_g3pt() -> None:
    """Silence the libraries of this process and its children; for the start of a command."""
    if os.environ.get("G3PT_TRACEBACK"):
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    listen()


def listen(level: int = logging.WARNING, *names: str, layout: str = PLAIN) -> None:
    """Show what g3pt logs from a level on.

    Args:
        level: of the lowest messages shown.
        names: loggers that this is about; without any all of g3pt.
        layout: of each line, as `logging.Formatter` takes it.
    """
    root = logging.getLogger()
    voice = next((one for one in root.handlers if isinstance(one, _Voice)), None)
    if voice is None:
        voice = _Voice()
        root.addHandler(voice)
    voice.setFormatter(logging.Formatter(layout, "%H:%M:%S"))
    for name in names or ("g3pt",):
        logging.getLogger(name).setLevel(level)
