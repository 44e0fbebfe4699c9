"""Jobs on disk: states, events and files, in one folder with an SQLite database.

A job goes queued -> running -> done, failed or cancelled -> expired; whoever waits can be cancelled
too. Every change names the state that it starts from, so that two that come at once cannot both
happen. The database is held by one server at a time.
"""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
ENDED: tuple[Status, ...] = ("done", "failed", "cancelled", "expired")
BEFORE: dict[Status, tuple[Status, ...]] = {
    "running": ("queued",),
    "done": ("running",),
    "failed": ("queued", "running"),
    "cancelled": ("queued", "running"),
    "expired": ("done", "failed", "cancelled"),
}
"""State -> the states that lead to it."""

FORGET_SECONDS = 24 * 3600.0
"""Expired jobs are forgotten so long after they ended."""

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL,
    client TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL, timeout REAL NOT NULL,
    created REAL NOT NULL, started REAL, finished REAL, scale INTEGER, scales INTEGER,
    outcome TEXT, error TEXT, bytes INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, number);
CREATE TABLE IF NOT EXISTS events (
    job TEXT NOT NULL, number INTEGER NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (job, number)) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job as it is stored; times are seconds since 1970."""

    number: int
    """Counts up in the order of submission."""
    id: str
    kind: str
    client: str
    status: Status
    request: dict[str, Any]
    """The settings, with names of files in the place of bytes."""
    timeout: float
    created: float
    started: float | None = None
    finished: float | None = None
    scale: int | None = None
    """Scales sampled so far."""
    scales: int | None = None
    outcome: dict[str, Any] = field(default_factory=dict[str, Any])
    error: dict[str, Any] | None = None
    """`reason` and `detail` of a failure."""
    bytes: int = 0
    """Size of its files."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    number: int
    """Counts up from 1 for every job."""
    event: str
    data: dict[str, Any]


class JobStore:
    """Jobs, their events and their files; may be used from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and take it for this process.

        Raises:
            ValueError: if another server holds it, or the database is of something else.
        """
        self.folder = folder
        self._files = folder / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(
            folder / "jobs.sqlite", timeout=0.2, check_same_thread=False, isolation_level=None
        )
        self._database.row_factory = sqlite3.Row
        try:
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_TABLES)
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            self._database.close()
            raise ValueError(
                f"{folder}: is held by another server ({error}); name another folder"
            ) from None
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ValueError(
                f"{folder / 'jobs.sqlite'}: is not a database of jobs: {error}"
            ) from None

    def close(self) -> None:
        """Give the folder back."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def files_of(self, job: str) -> Path:
        """The folder of a job's files; only ids that the store gave are asked for."""
        return self._files / job

    # --- jobs ------------------------------------------------------------------------------

    @staticmethod
    def new_id() -> str:
        """An id that cannot be guessed."""
        return secrets.token_hex(16)

    def add(
        self, job: str, kind: str, client: str, request: dict[str, Any], *, timeout: float
    ) -> Job:
        """Put a job into the queue; its files are there already."""
        row = (job, kind, client, "queued", json.dumps(request), timeout, time.time())
        size = _size(self.files_of(job))
        with self._change() as database:
            database.execute(
                "INSERT INTO jobs (id, kind, client, status, request, timeout, created, bytes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*row, size),
            )
        found = self.get(job)
        assert found is not None
        return found

    def get(self, job: str) -> Job | None:
        """A job by its id, or None if there is none."""
        with self._lock:
            row = self._database.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
        return None if row is None else _job(row)

    def listed(
        self, statuses: Sequence[Status] = (), *, limit: int = 100, before: int | None = None
    ) -> list[Job]:
        """Jobs, newest first.

        Args:
            statuses: only jobs in one of these states; empty takes all.
            limit: largest number of jobs.
            before: only jobs with a smaller number.
        """
        marks = ", ".join("?" * len(statuses))
        clauses = [f"status IN ({marks})"] if statuses else []
        values: list[Any] = list(statuses)
        if before is not None:
            clauses.append("number < ?")
            values.append(before)
        where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
        with self._lock:
            rows = self._database.execute(
                f"SELECT * FROM jobs {where}ORDER BY number DESC LIMIT ?", (*values, limit)
            ).fetchall()
        return [_job(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """State -> number of jobs in it."""
        with self._lock:
            rows = self._database.execute(
                "SELECT status, COUNT(*) AS num FROM jobs GROUP BY status"
            ).fetchall()
        return {row["status"]: row["num"] for row in rows}

    def move(
        self,
        job: str,
        to: Status,
        *,
        outcome: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        told: dict[str, Any] | None = None,
    ) -> bool:
        """Change the state of a job, and append an event of that name at the same time.

        Args:
            job: its id.
            to: the new state.
            outcome: what it made, if it is done.
            error: why it failed, if it did.
            told: data of the event.

        Returns:
            Whether it was in a state that leads there; otherwise nothing changed.
        """
        now = time.time()
        sets, values = ["status = ?"], [to]
        if to == "running":
            sets, values = [*sets, "started = ?"], [*values, now]
        elif to != "expired":
            size = _size(self.files_of(job))
            sets = [*sets, "finished = ?", "outcome = ?", "error = ?", "bytes = ?"]
            texts = [None if one is None else json.dumps(one) for one in (outcome, error)]
            values = [*values, now, *texts, size]
        else:
            sets = [*sets, "bytes = 0"]
        marks = ", ".join("?" * len(BEFORE[to]))
        with self._change() as database:
            changed = database.execute(
                f"UPDATE jobs SET {', '.join(sets)} WHERE id = ? AND status IN ({marks})",
                (*values, job, *BEFORE[to]),
            ).rowcount
            if changed:
                self._append(database, job, to, told or {})
        return bool(changed)

    def set_scale(self, job: str, scale: int, scales: int) -> None:
        """Note how many scales of a running job are sampled."""
        with self._change() as database:
            database.execute(
                "UPDATE jobs SET scale = ?, scales = ? WHERE id = ?", (scale, scales, job)
            )

    def restart(self) -> list[Job]:
        """After a start: what was running has failed; what waited still waits.

        Returns:
            The jobs that wait, oldest first.
        """
        for job in self.listed(("running",), limit=-1):
            error = {
                "reason": "restarted",
                "detail": "the server was restarted while the job ran; submit it again",
            }
            self.move(job.id, "failed", error=error, told={"error": error})
            self.drop_files(job.id)
        with self._lock:
            rows = self._database.execute("SELECT id FROM jobs WHERE status != 'expired'")
            known = {row["id"] for row in rows.fetchall()}
        for folder in self._files.iterdir():
            if folder.name not in known:  # the server ended before the job was stored
                shutil.rmtree(folder, ignore_errors=True)
        return self.listed(("queued",), limit=-1)[::-1]

    # --- events ----------------------------------------------------------------------------

    def add_event(self, job: str, event: str, data: dict[str, Any]) -> None:
        """Append an event."""
        with self._change() as database:
            self._append(database, job, event, data)

    @staticmethod
    def _append(database: sqlite3.Connection, job: str, event: str, data: dict[str, Any]) -> None:
        database.execute(
            "INSERT INTO events (job, number, event, data) VALUES (?, (SELECT "
            "COALESCE(MAX(number), 0) + 1 FROM events WHERE job = ?), ?, ?)",
            (job, job, event, json.dumps(data)),
        )

    def events(self, job: str, after: int = 0) -> list[Event]:
        """Events of a job with larger numbers, in order."""
        with self._lock:
            rows = self._database.execute(
                "SELECT number, event, data FROM events WHERE job = ? AND number > ? "
                "ORDER BY number",
                (job, after),
            ).fetchall()
        return [Event(row["number"], row["event"], json.loads(row["data"])) for row in rows]

    # --- expiry ----------------------------------------------------------------------------

    def expire(self, *, older_than: float, keep_bytes: int, now: float | None = None) -> list[str]:
        """Delete the files of jobs that ended long ago, and of the oldest if there are too many.

        Args:
            older_than: seconds since the end of a job.
            keep_bytes: largest size of all files of ended jobs.
            now: the present time.

        Returns:
            Ids of the jobs that expired.
        """
        now = time.time() if now is None else now
        with self._lock:
            rows = self._database.execute(
                "SELECT id, finished, bytes FROM jobs WHERE status IN ('done', 'failed', "
                "'cancelled') ORDER BY finished DESC, number DESC"
            ).fetchall()
        total, expired = 0, list[str]()
        for row in rows:
            total += row["bytes"]
            late = now - row["finished"] > older_than or total > keep_bytes
            if late and self.move(row["id"], "expired"):
                total -= row["bytes"]
                shutil.rmtree(self.files_of(row["id"]), ignore_errors=True)
                expired.append(row["id"])
        with self._change() as database:
            old = (now - older_than - FORGET_SECONDS,)
            gone = "SELECT id FROM jobs WHERE status = 'expired' AND finished < ?"
            database.execute(f"DELETE FROM events WHERE job IN ({gone})", old)
            database.execute("DELETE FROM jobs WHERE status = 'expired' AND finished < ?", old)
        return expired

    def drop_files(self, job: str) -> None:
        """Delete the files of a job that has no result."""
        shutil.rmtree(self.files_of(job), ignore_errors=True)
        self.measure(job)

    def measure(self, job: str) -> None:
        """Note the size of an ended job's files after one was added."""
        with self._change() as database:
            database.execute(
                "UPDATE jobs SET bytes = ? WHERE id = ? AND status != 'expired'",
                (_size(self.files_of(job)), job),
            )


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in ("request", "outcome", "error"):
        values[name] = None if values[name] is None else json.loads(values[name])
    values["outcome"] = values["outcome"] or {}
    return Job(**values)


def _size(folder: Path) -> int:
    """Bytes of the files in a folder; 0 if there is none."""
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except FileNotFoundError:
        return 0
