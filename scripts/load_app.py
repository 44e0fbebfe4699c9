"""Load a server of `g3pt serve` on loopback, hurt it, and write what it did as JSON.

    python scripts/load_app.py --seconds 60 --clients 50 --jobs 10000 --out load.json

Every part is also printed when it is done, with the load of the machine before and after it. The
exit status is 1 if a mark is missed. Marks are printed last: nothing lost or wrong, refusals within
100 ms and 99 % of `/healthz` within 200 ms, 64 MB of growth over all jobs, files and threads back.

The server is a process of its own with untrained weights, so that a job takes some ten milliseconds
of work. Clients have addresses of their own (127.0.0.2, ...), so this needs Linux. Measured are
answers that are lost or wrong (a seed has one result), the time of refusals and of `/healthz`, and
memory, files and threads of the server before and after many jobs, cancels and killed workers.
"""

import argparse
import hashlib
import http.client
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from untrained import write_untrained

SEEDS = 8
LOOKS = 10
"""How often the server is measured while it does many jobs."""
SETTLE_SECONDS = 10.0
"""Connections are closed and processes replaced so long after the last request."""
JOB = {"text": "a mug", "resolution": 16, "previews": False}
LONG = {"text": "a mug", "resolution": 128, "num": 16, "previews": False}


def ask(
    port: int, method: str, path: str, body: Any = None, source: str = "127.0.0.1"
) -> tuple[int, bytes, float]:
    """Status, body and seconds of one request."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=60, source_address=(source, 0)
    )
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(), time.perf_counter() - started
    finally:
        connection.close()


class Server:
    """The server and what is asked of it."""

    def __init__(self, folder: Path, workers: int) -> None:
        weights = folder / "untrained"
        weights.mkdir()
        write_untrained(weights)
        flags = ["--port", 0, "--folder", folder / "served", "--weights", weights]
        flags += ["--device", "cpu", "--json", "--workers", workers]
        command = [sys.executable, "-m", "g3pt.cli.main", "serve", *map(str, flags)]
        log = (folder / "log").open("wb")
        self.program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.program.stdout is not None
        said = json.loads(self.program.stdout.readline())
        self.port = int(said["address"].rstrip("/").rsplit(":", 1)[1])
        while True:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)

    def ask(
        self, method: str, path: str, body: Any = None, source: str = "127.0.0.1"
    ) -> tuple[int, bytes, float]:
        """Status, body and seconds of one request."""
        return ask(self.port, method, path, body, source)

    def workers(self) -> list[int]:
        """Ids of the worker processes: children of the process that the server starts them from."""
        parents: dict[int, int] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = path.read_text().rsplit(")", 1)
            except OSError:
                continue
            if rest.split()[0] != "Z":
                parents[int(name.split()[0])] = int(rest.split()[1])
        return [pid for pid, parent in parents.items() if parents.get(parent) == self.program.pid]

    def size(self) -> dict[str, int]:
        """Memory, open files and threads of the server, and memory of its workers."""
        root = Path(f"/proc/{self.program.pid}")
        return {
            "memory_mb": _megabytes(self.program.pid),
            "workers_mb": sum(_megabytes(pid) for pid in self.workers()),
            "files": len(os.listdir(root / "fd")),
            "threads": len(os.listdir(root / "task")),
        }


def _megabytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def one_job(server: Server, source: str, seed: int) -> tuple[str, str]:
    """Run one job; returns how it ended, and the hash of its result."""
    while True:
        status, data, _ = server.ask("POST", "/v1/3d/generations", {**JOB, "seed": seed}, source)
        if status == 202:
            break
        if status != 429:
            return f"refused {status}", ""
        time.sleep(1.0)
    job = json.loads(data)["id"]
    status, data, _ = server.ask("GET", f"/v1/jobs/{job}/events", source=source)
    how = data.decode().rsplit("event: ", 1)[-1].split("\n", 1)[0]
    if status != 200 or how != "done":
        return f"lost {status} {how}", ""
    status, data, _ = server.ask("GET", f"/v1/jobs/{job}/result.glb", source=source)
    return ("done", hashlib.sha256(data).hexdigest()) if status == 200 else (f"lost {status}", "")


def crowd(server: Server, clients: int, seconds: float, right: dict[int, str]) -> dict[str, Any]:
    """Many clients at once for some time."""
    end = time.monotonic() + seconds
    counts: Counter[str] = Counter()
    lock = threading.Lock()

    def client(number: int) -> None:
        source, rng = f"127.0.1.{number + 1}", random.Random(number)
        while time.monotonic() < end:
            seed = rng.randrange(SEEDS)
            how, found = one_job(server, source, seed)
            with lock:
                counts[how if how != "done" or found == right[seed] else "wrong"] += 1

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as observer:
        observed = observer.submit(observe, server.port, seconds)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refusals, health = observed.result()
    return {
        "clients": clients,
        "seconds": seconds,
        "ended": dict(counts),
        "refusals": _spread(refusals),
        "healthz": _spread(health),
    }


def observe(port: int, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of refusals and of `/healthz`, in a process that does nothing else meanwhile."""
    end = time.monotonic() + seconds
    refusals: list[float] = []
    health: list[float] = []
    held: list[str] = []
    while time.monotonic() < end:
        health.append(ask(port, "GET", "/healthz", source="127.0.3.1")[2])
        # A client that keeps its four places taken is refused.
        status, data, spent = ask(port, "POST", "/v1/3d/generations", LONG, "127.0.2.1")
        if status == 429:
            refusals.append(spent)
        else:
            held.append(json.loads(data)["id"])
        time.sleep(0.05)
    for job in held:
        ask(port, "DELETE", f"/v1/jobs/{job}")
    return refusals, health


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    at = {"median": 0.5, "p99": 0.99, "largest": 1.0}
    spread = {
        name: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
        for name, share in at.items()
    }
    return {"num": len(values), **{f"{name}_ms": value for name, value in spread.items()}}


def many(server: Server, num: int, right: dict[int, str]) -> dict[str, Any]:
    """Many jobs, four at a time, and what memory does."""
    warm = server.size()
    counts: Counter[str] = Counter()
    sizes: list[dict[str, int]] = []
    lock, left = threading.Lock(), iter(range(num))

    def client(source: str) -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            seed = number % SEEDS
            how, found = one_job(server, source, seed)
            with lock:
                counts[how if how != "done" or found == right[seed] else "wrong"] += 1
                if counts.total() % max(1, num // LOOKS) == 0:
                    sizes.append({"jobs": counts.total(), **server.size()})

    threads = [threading.Thread(target=client, args=(f"127.0.4.{k + 1}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(SETTLE_SECONDS)
    return {
        "jobs": num,
        "ended": dict(counts),
        "before": warm,
        "meanwhile": sizes,
        "after": server.size(),
    }


def hurt(server: Server, cancels: int, kills: int) -> dict[str, Any]:
    """Cancel jobs and kill workers at random moments."""
    before, rng = server.size(), random.Random(3)
    reasons: Counter[str] = Counter()
    slowest = 0.0
    for number in range(cancels + kills):
        _, data, _ = server.ask("POST", "/v1/3d/generations", LONG)
        job = json.loads(data)["id"]
        time.sleep(rng.random() * 0.3)
        if number % (cancels // kills + 1) == 0:
            while (status := _status(server, job)) == "queued":
                time.sleep(0.02)
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            killed = time.monotonic()
            while status == "running" and _status(server, job) == "running":
                time.sleep(0.02)
            slowest = max(slowest, time.monotonic() - killed)
        server.ask("DELETE", f"/v1/jobs/{job}")
        state = json.loads(server.ask("GET", f"/v1/jobs/{job}")[1])
        error = state["error"] or {}
        reasons[f"{state['status']} {error.get('reason', '')}".strip()] += 1
    how, _ = one_job(server, "127.0.0.1", 0)
    time.sleep(SETTLE_SECONDS)
    return {
        "cancels": cancels,
        "kills": kills,
        "ended": dict(reasons),
        "noticed_after_ms": round(1000 * slowest, 1),
        "works_after": how == "done",
        "before": before,
        "after": server.size(),
    }


def _status(server: Server, job: str) -> str:
    return json.loads(server.ask("GET", f"/v1/jobs/{job}")[1])["status"]


def marks(found: dict[str, Any]) -> dict[str, bool]:
    """Which marks are met."""
    crowded, worked, hurt_ = found["crowd"], found["many"], found["hurt"]
    growth = worked["after"]["memory_mb"] - worked["before"]["memory_mb"]
    before, after = hurt_["before"], hurt_["after"]
    return {
        "nothing is lost or wrong": set(crowded["ended"]) | set(worked["ended"]) == {"done"},
        "refusals within 100 ms": crowded["refusals"]["largest_ms"] < 100,
        "99 % of /healthz within 200 ms": crowded["healthz"]["p99_ms"] < 200,
        "memory grows by at most 64 MB": growth <= 64,
        "files and threads are back": after["files"] <= before["files"]
        and after["threads"] <= before["threads"],
        "a killed worker is noticed within 5 s": hurt_["noticed_after_ms"] < 5000,
        "the server works afterwards": hurt_["works_after"],
    }


def machine() -> dict[str, Any]:
    """Where and what was measured."""
    root = Path(__file__).resolve().parents[1]
    told = {"capture_output": True, "text": True, "cwd": root, "check": True}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **told).stdout.strip()
    changed = bool(subprocess.run(["git", "status", "--short", "src"], **told).stdout)
    return {
        "commit": commit + ("+changes" if changed else ""),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def main() -> int:
    """Run all parts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--cancels", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for everything that was found")
    told = parser.parse_args()
    flags = {name: value for name, value in vars(told).items() if name != "out"}
    found: dict[str, Any] = {"machine": machine(), "flags": flags}
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), told.workers)
        try:
            right = {seed: one_job(server, "127.0.0.1", seed)[1] for seed in range(SEEDS)}
            for _ in range(50):  # warm up
                one_job(server, "127.0.0.1", 0)
            parts = {
                "crowd": lambda: crowd(server, told.clients, told.seconds, right),
                "many": lambda: many(server, told.jobs, right),
                "hurt": lambda: hurt(server, told.cancels, told.kills),
            }
            for name, part in parts.items():
                load = [round(os.getloadavg()[0], 1)]
                started = time.monotonic()
                found[name] = part()
                load.append(round(os.getloadavg()[0], 1))
                found[name] |= {"load": load, "took_s": round(time.monotonic() - started)}
                print(json.dumps({name: found[name]}), flush=True)
        finally:
            server.program.terminate()
            server.program.wait(30)
    found["marks"] = marks(found)
    print(json.dumps({"marks": found["marks"]}), flush=True)
    if told.out is not None:
        told.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(found["marks"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
