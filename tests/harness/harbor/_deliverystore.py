"""The rows behind Harbor's executions, tasks and jobs, in SQLite so that they survive a killed stand-in."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Delivery:
    """The delivery of one event to one target: an execution with its task, or before 2.8 a job. Times are seconds since
    1970."""

    id: int
    task_id: int
    policy_id: int
    project_id: int
    event_type: str
    notify_type: str
    payload: str
    """The body to send."""
    content_type: str
    address: str
    auth_header: str
    skip_cert_verify: bool
    created: float
    updated: float
    has_task: bool = True
    status: str = "Pending"
    run_count: int = 0
    started: float | None = None
    ended: float | None = None
    execution_status: str = "Running"
    execution_ended: float | None = None
    log: str | None = None
    due: float | None = None  # time of the next attempt
    refresh_due: float | None = None  # when the execution takes over its task's status
    shown: str | None = None  # the body that Harbor shows, if it differs from the one sent
    forgotten: bool = False  # the policy was deleted or the execution swept; pending attempts are still made

    @property
    def detail(self) -> str:
        """The body in executions and jobs."""
        return self.payload if self.shown is None else self.shown

    @property
    def vendor_type(self) -> str:
        return "SLACK" if self.notify_type == "slack" else "WEBHOOK"


class DeliveryStore:
    """Saves each change at once; without fsync, since it must survive a kill but not a power cut."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "deliveries.sqlite"
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS delivery (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
        self._database.execute("CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")

    def load(self) -> list[Delivery]:
        rows = self._database.execute("SELECT body FROM delivery ORDER BY id")
        return [Delivery(**json.loads(body)) for (body,) in rows]

    def save(self, *deliveries: Delivery) -> None:
        rows = [(delivery.id, json.dumps(asdict(delivery))) for delivery in deliveries]
        self._write("INSERT OR REPLACE INTO delivery VALUES (?, ?)", rows)

    def remove(self, *ids: int) -> None:
        self._write("DELETE FROM delivery WHERE id = ?", [(one,) for one in ids])

    def _write(self, statement: str, rows: list[tuple[int, str]] | list[tuple[int]]) -> None:
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")

    def take_ids(self, name: str, count: int) -> list[int]:
        """Returns ``count`` new numbers; numbers of removed rows are not reused."""
        row = self._database.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
        last = row[0] if row else 0
        self._database.execute("INSERT OR REPLACE INTO counter VALUES (?, ?)", (name, last + count))
        return list(range(last + 1, last + count + 1))

    def close(self) -> None:
        self._database.close()
