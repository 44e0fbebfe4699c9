"""Log output of the commands: only messages of g3pt are shown, not those of libraries.

`G3PT_TRACEBACK=1` also shows those of libraries, for debugging. Python's own `-W` and
`PYTHONWARNINGS` are respected.
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
"""Environment variables that silence libraries which bypass Python's logging. Variables that the
user has set are kept."""


class _Voice(logging.Handler):
    """Writes messages of g3pt to the current `sys.stderr`, which a progress bar replaces."""

    def __init__(self) -> None:
        super().__init__()
        if not os.environ.get("G3PT_TRACEBACK"):
            self.addFilter(logging.Filter("g3pt"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        print(self.format(record), file=sys.stderr, flush=True)


def hear_only_g3pt() -> None:
    """Silence the libraries of this process and its children; called when a command starts."""
    if os.environ.get("G3PT_TRACEBACK"):
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    listen()


def listen(level: int = logging.WARNING, *names: str, layout: str = PLAIN) -> None:
    """Show messages of g3pt from a log level on.

    Args:
        level: lowest level that is shown.
        names: loggers to show; without any, all of g3pt.
        layout: format of each line, as `logging.Formatter` takes it.
    """
    root = logging.getLogger()
    voice = next((one for one in root.handlers if isinstance(one, _Voice)), None)
    if voice is None:
        voice = _Voice()
        root.addHandler(voice)
    voice.setFormatter(logging.Formatter(layout, "%H:%M:%S"))
    for name in names or ("g3pt",):
        logging.getLogger(name).setLevel(level)
