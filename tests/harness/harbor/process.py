"""The stand-in as a separate process, for tests and the demonstration."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

_TESTS = Path(__file__).resolve().parents[2]
_READY_SECONDS = 30.0
_ADMIN_PASSWORD = "Harbor12345"


@dataclass(frozen=True)
class RequestRecord:
    """One request to the stand-in."""

    id: int
    method: str
    path: str
    query: str
    user: str
    auth: str
    """anonymous, basic or session."""
    status: int
    agent: str
    """The User-Agent."""
    time: float
    """Time of the answer, in seconds since the epoch."""

    @property
    def writes(self) -> bool:
        """Whether it was a write."""
        return self.method not in ("GET", "HEAD")


class StandIn:
    """A running stand-in. It ends with the process that started it."""

    def __init__(self, directory: Path, command: Sequence[str], password: str, temporary: bool) -> None:
        self.directory = directory
        self.url = ""
        self.admin = ("admin", password)
        self._command = list(command)
        self._temporary = temporary
        self._process: subprocess.Popen[str] | None = None
        self._port = "0"

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        version: str = "2.16",
        time_scale: float = 0.02,
        latency_ms: float = 0,
        hash_cost_ms: float = 0,
        port: int = 0,
        admin_password: str = _ADMIN_PASSWORD,
        extra: Sequence[str] = (),
    ) -> Self:
        """Starts one and waits until it serves. Without a directory its data last as long as it does."""
        home = Path(tempfile.mkdtemp(prefix="harbor-")) if directory is None else directory
        command = [
            f"--directory={home}",
            f"--version={version}",
            f"--time-scale={time_scale}",
            f"--latency-ms={latency_ms}",
            f"--hash-cost-ms={hash_cost_ms}",
            f"--admin-password={admin_password}",
            *extra,
        ]
        found = cls(home, command, admin_password, temporary=directory is None)
        found._port = str(port)
        found._launch()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # lifecycle

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    def kill(self) -> None:
        """Sends SIGKILL, as a crash. `restart` brings it back with its data."""
        self._end(signal.SIGKILL)

    def restart(self, *, version: str | None = None) -> None:
        """Restarts it with the same port and directory; with a version, as an upgrade."""
        self._end(signal.SIGTERM)
        if version is not None:
            kept = [argument for argument in self._command if not argument.startswith("--version=")]
            self._command = [*kept, f"--version={version}"]
        self._launch()

    def stop(self) -> None:
        """Ends it. Its own directory is removed, so its files need no clean end."""
        self._end(signal.SIGKILL if self._temporary else signal.SIGTERM)
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _launch(self) -> None:
        command = [sys.executable, "-m", "harness.harbor", f"--port={self._port}", "--until-eof"]
        path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [*command, *self._command],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,  # it ends with this process, which holds the other end
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C in a terminal reaches only the program that started it
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-in ended with {self._process.wait(_READY_SECONDS)}")
        self.url = json.loads(line)["url"]
        self._port = self.url.rsplit(":", 1)[1]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("the stand-in is not running")
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    # its control API

    def requests(self) -> list[RequestRecord]:
        """Every request since the last `clear_requests`, oldest first."""
        return [RequestRecord(**line) for line in self._control("GET", "requests")]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._control("DELETE", "requests")

    def counters(self) -> dict[str, int]:
        """password_hashes, sessions_started, logins, requests."""
        found: dict[str, int] = self._control("GET", "counters")
        return found

    def set_fault(self, match: dict[str, str] | None = None, **fault: Any) -> None:
        """Add a fault, see `settings.Fault`.

        For example `set_fault({"method": "POST", "path": "/projects$"}, times=1, status=503)`.
        """
        self._control("PUT", "faults", {"match": match or {}, **fault})

    def clear_faults(self) -> None:
        """Ends all faults."""
        self._control("DELETE", "faults")

    def settings(self, **values: Any) -> dict[str, Any]:
        """Change settings of the stand-in or of Harbor's configuration; returns them all."""
        found: dict[str, Any] = self._control("PUT", "settings", values)
        return found

    def expire_sessions(self) -> None:
        """Ends every session, as a flush of Redis does."""
        self._control("DELETE", "sessions")

    def expire_csrf(self) -> None:
        """Invalidates every CSRF cookie, as twelve hours do."""
        self._control("DELETE", "csrf")

    def happen(self, event_type: str, project: str, **event: Any) -> None:
        """Triggers an event in a project without a push."""
        self._control("POST", "events", {"type": event_type, "project": project, **event})

    def sweep(self) -> None:
        """Makes Harbor sweep old executions."""
        self._control("POST", "sweep")

    def sweep_logs(self) -> None:
        """Makes Harbor sweep the logs of tasks."""
        self._control("POST", "sweep/logs")

    def _control(self, method: str, name: str, body: Any = None) -> Any:
        url = f"{self.url}/_standin/{name}"
        response = httpx.request(method, url, json=body, verify=False, timeout=30, trust_env=False)
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"{method} {name}: {response.status_code} {response.text}")
        return response.json()
