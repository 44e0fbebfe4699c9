"""`g3pt`: the table of commands, and the place where their errors become messages and exit codes.

`train` reports its own errors. Exit codes: 0 done, 1 the work failed, 2 the input or the arguments
are wrong, 75 stopped by a signal, start it again, 130 interrupted by the user.
"""

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from g3pt import __version__
from g3pt.cli.options import STOPPED, sentence
from g3pt.cli.speech import hear_only_g3pt
from g3pt.cli.streams import OUTPUT, drop_output, settle_streams
from g3pt.processes import let_waiting_threads_sleep
from g3pt.training.signals import Stopped, heed_no_more, stop_at_once

COMMANDS = {
    "generate": ("generate", "pictures, sentences or point clouds to meshes"),
    "reconstruct": ("reconstruct", "meshes through the tokenizer and back, with scores"),
    "tokenize": ("tokenize", "meshes to .g3t token files"),
    "detokenize": ("detokenize", ".g3t token files to meshes"),
    "vary": ("vary", "keep the coarse scales of a shape, sample the others anew"),
    "mix": ("mix", "the coarse scales of one shape, the finer ones of another"),
    "complete": ("complete", "whole shapes from a partial mesh or point cloud"),
    "score": ("score", "how likely shapes are under the generator, scale by scale"),
    "prepare": ("prepare", "meshes to training shards"),
    "train": ("train", "train a tokenizer or a generator by a named recipe"),
    "finetune": ("finetune", "a generator on your own meshes, with what it learnt and forgot"),
    "reproduce": ("reproduce", "a table of the paper by name, with the paper's numbers"),
    "export": ("export", "trained runs to a weights folder"),
    "evaluate": ("evaluate", "score meshes, reconstructions or generated shapes"),
    "compare": ("compare", "two weights, or two folders of meshes, on the same objects"),
    "render": ("render", "meshes to a sheet of pictures or a turntable"),
    "serve": ("serve", "a web page and jobs over HTTP on this machine"),
    "mcp": ("mcp", "tools for agents (Model Context Protocol), on the jobs of a server"),
    "bench": ("bench", "measure what g3pt promises and compare it with other software"),
    "torture": ("torture", "damaged and malicious files at every door, and which promises hold"),
    "doctor": ("doctor", "what this machine can do and what is missing"),
}
"""Command -> (module in `g3pt.cli` with `main(arguments) -> exit code`, one line of help)."""

INPUT_ERRORS = (
    ValueError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""Errors that mean wrong input. Failed work raises `WorkError`, see `working` in `options.py`."""

INPUT_ERROR_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of the system that are no such class, and mean that a name was wrong all the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: those of this process, which then is a command of its own: it answers to
            signals, and its streams are what a shell has made of them.
    """
    if arguments is not None:
        return _run(list(arguments))
    hear_only_g3pt()
    settle_streams()
    try:
        with stop_at_once("start it again"):
            return _run(sys.argv[1:])
    except Stopped as stop:  # it came between the work and the end
        return _fail(sentence(stop), STOPPED)
    finally:
        heed_no_more()  # ending takes a moment, with all that was loaded


def _run(given: list[str]) -> int:
    """Run the command line, tell of its errors, and return its exit code."""
    try:
        code = _dispatch(given)
        print(end="", flush=True)
        return code
    except Stopped as stop:
        return _fail(sentence(stop), STOPPED)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except INPUT_ERRORS as error:
        return _fail(sentence(error), 2)
    except OSError as error:
        if error.filename == OUTPUT:
            drop_output()
            if isinstance(error, BrokenPipeError):  # whoever read our output has had enough
                return 1
        return _fail(sentence(error), 2 if error.errno in INPUT_ERROR_NUMBERS else 1)
    except Exception as error:
        return _fail(sentence(error), 1)


def _dispatch(given: list[str]) -> int:
    """Find the command and run it."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if given else 2
    if given[0] in ("-V", "--version"):
        print(f"g3pt {__version__}")
        return 0
    command, *rest = given
    let_waiting_threads_sleep()
    if command not in COMMANDS:
        return _fail(f"there is no command {command!r}; there are: {', '.join(COMMANDS)}", 2)
    try:
        return int(_command(command)(rest))
    except SystemExit as stop:  # tyro: help was asked for, or a flag was wrong
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0


def _command(name: str) -> Callable[[Sequence[str]], int]:
    """Import a command only when it is asked for, so that help stays quick."""
    return importlib.import_module(f"g3pt.cli.{COMMANDS[name][0]}").main


def usage() -> str:
    """Help text of `g3pt` itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: g3pt COMMAND [FLAGS]",
            "",
            "Coarse-to-fine autoregressive 3D shape generation.",
            "",
            *lines,
            "",
            "`g3pt COMMAND --help` lists the flags. Every command takes --weights, --device,",
            "--seed and --json. Set G3PT_TRACEBACK=1 to see where an error came from.",
        ]
    )


def _fail(message: str, code: int) -> int:
    if os.environ.get("G3PT_TRACEBACK") and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"g3pt: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
