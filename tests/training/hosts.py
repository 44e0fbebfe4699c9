"""Two hosts that train together with `torchrun`, one of which is lost.

`cut FOLDER` makes them as network namespaces and cuts the cable: start it with `UNSHARE` before it,
which gives it a network, a mount table and process numbers of its own; all of that goes with it.
`elastic FOLDER` takes two addresses of this machine. `work FOLDER HOST` is what both hosts run.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

UNSHARE = ("unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")
CABLE = {"one": ("10.77.0.1", "left"), "two": ("10.77.0.2", "right")}
LOOPBACK = {"one": ("127.0.0.1", "lo"), "two": ("127.0.0.2", "lo")}
STEPS, SECONDS = 50, 300.0


class Host:
    """A launcher on one host, its log, and the process that it started."""

    def __init__(self, name, folder, hosts, *, nodes, port, before=()):
        self.name, self.folder = name, folder
        address, cable = hosts[name]
        self.log = folder / f"{name}.log"
        self._command = [
            *before, sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}",
            "--nproc-per-node=1", "--max-restarts=5", "--rdzv-backend=c10d",
            f"--rdzv-endpoint={hosts['one'][0]}:{port}", f"--local-addr={address}",
            "--rdzv-conf=last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3,"
            f"is_host={int(name == 'one')}",
            __file__, "work", str(folder), name,
        ]  # fmt: skip
        # Without the last one a new launcher cannot join (pytorch issue 135712).
        mine = {"GLOO_SOCKET_IFNAME": cable, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", **mine}
        self.start()

    def start(self):
        with self.log.open("a") as log:
            self.launcher = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self):
        """End launcher and process as a machine ends that loses its power."""
        self.launcher.kill()
        self.launcher.wait()
        try:
            os.kill(int((self.folder / f"{self.name}.pid").read_text()), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


def until(condition, *hosts):
    """Wait for something to happen, while launchers run."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{condition.__doc__} did not come"
        for host in hosts:
            assert host.launcher.poll() is None, host.log.read_text()
        time.sleep(0.05)


def steps_of(folder, size):
    """How many steps so many processes have begun."""
    told = folder / "steps.txt"
    return told.read_text().split().count(str(size)) if told.is_file() else 0


def end(*hosts):
    """Wait until all launchers have left, together: one waits for another that has failed."""
    deadline = time.monotonic() + SECONDS
    codes = [None]
    while None in codes and time.monotonic() < deadline:
        time.sleep(0.05)
        codes = [host.launcher.poll() for host in hosts]
        if any(codes):
            break
    logs = "\n".join(f"{host.name}:\n{host.log.read_text()}" for host in hosts)
    assert codes == [0] * len(hosts), f"{codes}\n{logs}"


# -- a cable that is cut ------------------------------------------------------------------------


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def lay_cable(folder):
    """Two namespaces with a cable between them, whose names both know."""
    names = "".join(f"{address} {name}\n" for name, (address, _) in CABLE.items())
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
    mounts = (["-t", "proc", "none", "/proc"], ["-t", "tmpfs", "none", "/run"])
    for arguments in (*mounts, ["--bind", folder / "hosts", "/etc/hosts"]):
        subprocess.run(["mount", *arguments], check=True)
    ip("link", "add", "left", "type", "veth", "peer", "name", "right")
    for name, (address, cable) in CABLE.items():
        ip("netns", "add", name)
        ip("link", "set", cable, "netns", name)
        ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
        for each in ("lo", cable):
            ip("-n", name, "link", "set", each, "up")


def cut(folder):
    """Cut the cable; when both have noticed, take the second host away and bring it back."""
    lay_cable(folder)
    with ExitStack() as ends:
        one, two = (
            Host(
                name, folder, CABLE, nodes=2, port=29400,
                before=("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c",
                        f'hostname {name} && exec "$@"', "sh"),
            )
            for name in CABLE
        )  # fmt: skip
        for host in (one, two):
            ends.callback(host.kill)
        until(lambda: steps_of(folder, 2) >= 12, one, two)
        ip("-n", "two", "link", "set", "right", "down")
        for host in (one, two):
            until(lambda host=host: "leaves with code 70" in host.log.read_text(), one)
        two.kill()
        ip("-n", "two", "link", "set", "right", "up")
        two.start()
        end(one, two)


# -- fewer hosts, and more ----------------------------------------------------------------------


def elastic(folder):
    """Two hosts, then one of them alone, then both again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ExitStack() as ends:
        one, two = (Host(name, folder, LOOPBACK, nodes="1:2", port=port) for name in LOOPBACK)
        for host in (one, two):
            ends.callback(host.kill)
        until(lambda: steps_of(folder, 2) >= 12, one, two)
        two.kill()
        until(lambda: steps_of(folder, 1) >= 3, one)
        two.start()
        end(one, two)


# -- what the hosts run -------------------------------------------------------------------------


def work(folder, name):
    """Train the toy, slowly enough to be disturbed, and slower if alone."""
    import logging

    import worker

    from g3pt.training.launch import process_group

    logging.basicConfig()
    (folder / f"{name}.pid").write_text(str(os.getpid()))
    with process_group("cpu") as world:

        def tell(step, visit):
            if world.speaks:
                with (folder / "steps.txt").open("a") as told:
                    told.write(f"{world.size}\n")
            time.sleep(0.03 if world.size > 1 else 0.3)
            return False

        changes = {"accumulation": 1, "slices": worker.SLICES, "checkpoint_every": 4}
        worker.toy_run(
            folder / "run", world.size, poison=tell, resume=True, hang_seconds=8.0, **changes
        )


if __name__ == "__main__":
    check, folder, *arguments = sys.argv[1:]
    globals()[check](Path(folder), *arguments)
