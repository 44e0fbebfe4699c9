"""Who speaks to the user: g3pt alone. Libraries are heard by whoever looks for a fault.

`G3PT_TRACEBACK=1` lets them speak, and Python's own `-W` and `PYTHONWARNINGS` are obeyed.
"""

import logging
import os
import sys
import warnings

_PLAIN = "%(message)s"
_QUIET = {
    "PYTHONWARNINGS": "ignore",  # of the children that prepare
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "error",
}
"""What libraries are told that print past Python's logging; what the user has set stays."""


class _Voice(logging.StreamHandler):  # pyright: ignore[reportMissingTypeArgument]
    """Writes what loggers of g3pt say to stderr, and what others say nowhere."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        if not os.environ.get("G3PT_TRACEBACK"):
            self.addFilter(logging.Filter("g3pt"))


def hear_only_g3pt() -> None:
    """Silence the libraries of this process and its children; for the start of a command."""
    if os.environ.get("G3PT_TRACEBACK"):
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    listen()


def listen(level: int = logging.WARNING, layout: str = _PLAIN) -> None:
    """Show what g3pt logs from a level on; nothing is changed where logging is set up already.

    Args:
        level: of the lowest messages shown.
        layout: of each line, as `logging.Formatter` takes it.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Voice())
    for voice in root.handlers:
        if isinstance(voice, _Voice):
            voice.setFormatter(logging.Formatter(layout))
            logging.getLogger("g3pt").setLevel(level)
