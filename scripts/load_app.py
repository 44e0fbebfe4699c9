"""Load a server of `g3pt serve` on loopback, hurt it, and print what it did as lines of JSON.

    python scripts/load_app.py --seconds 60 --clients 50 --jobs 10000

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

    threads = [threading.Thread(target=client, args=(f"127.0.4.{k + 1}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"jobs": num, "ended": dict(counts), "before": warm, "after": server.size()}


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


def main() -> None:
    """Run all parts, and print what each found as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--cancels", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    told = parser.parse_args()
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
                print(json.dumps({name: part()}), flush=True)
        finally:
            server.program.terminate()
            server.program.wait(30)


if __name__ == "__main__":
    main()
