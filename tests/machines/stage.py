"""A process that has loaded g3pt and forks for each command line, on a machine that is broken.

Each command is a process with signals, limits and files of its own, that ends as `g3pt` ends; but
the seconds of loading are spent once. It reads a line of JSON for each request and answers with
one.

A request to start is {"argv": ..., "folder": ..., "out": ..., "err": ..., "env": {name: value or
null}, "limits": {name of the resource: number}, "closed": [numbers of files], "first": statements
to run before}; the answer is the number of the process. {"wait": number} is answered with its exit
code, negative for the signal that ended it. {"run": [...]} runs a program, as root of its
namespaces, and answers with its complaint. {"list": folder} names all files in a folder.
{"warm": argv} runs a command in this process itself, so that those to come find all loaded.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path


def load():
    """Import what commands import, and start no thread."""
    import torch

    import g3pt.cli.main as cli

    torch.set_num_threads(1)
    return cli.main


def become(request):
    """Turn this forked process into the command."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    kinds = ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY))
    for number, name, how in kinds:
        flags = how | (os.O_CREAT | os.O_APPEND if how else 0)
        os.dup2(os.open(request.get(name, os.devnull), flags, 0o644), number)
    os.closerange(3, 256)
    for name, value in request.get("env", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    for name, number in request.get("limits", {}).items():
        which = getattr(resource, f"RLIMIT_{name}")
        resource.setrlimit(which, (number, number))
    for number in request.get("closed", ()):
        os.close(number)
    tempfile.tempdir = None
    if request.get("first"):
        exec(request["first"], {})
    sys.argv = ["g3pt", *map(os.fsdecode, request["argv"])]


def serve():
    """Answer requests until there are none; return only in a command, with what it runs."""
    main = load()
    # A command has other files of these numbers, which nobody may close for it.
    told = os.fdopen(os.dup(1), "w", closefd=False)
    os.dup2(2, 1)
    asked = os.fdopen(os.dup(0), closefd=False)
    print(json.dumps("ready"), file=told, flush=True)
    for line in iter(asked.readline, ""):
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif "warm" in request:
            answer = main(request["warm"])
            gc.freeze()  # collections of a forked process would copy the memory of all that is here
        elif "list" in request:
            found = sorted(Path(request["list"]).rglob("*"))
            answer = [str(path.relative_to(request["list"])) for path in found if path.is_file()]
        elif "run" in request:
            done = subprocess.run(request["run"], capture_output=True, text=True, check=False)
            answer = done.stderr or (f"exit code {done.returncode}" if done.returncode else "")
        else:
            answer = os.fork()
            if answer == 0:
                become(request)
                return main
        print(json.dumps(answer), file=told, flush=True)
    return lambda: 0


if __name__ == "__main__":
    sys.exit(serve()())
