"""Servers as child processes: they end with their parent, log to a file, and are stopped by their own process id
only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.waiting import poll_until

_LEASH = Path(__file__).with_name("leash.py")
_SECONDS_TO_END = 2.0  # an API server with open watches would take a minute

# Linux ties a leashed child to the *thread* that started it, not to the process. Therefore one thread starts all
# children and lives as long as the process: the caller's may end long before (asyncio.to_thread).
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="control-plane-starter")


def leashed(
    command: Sequence[str | Path],
    *,
    output: IO[bytes] | int,
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a program that is killed when this process ends, with both its outputs going to `output`."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment,
            start_new_session=True,  # Ctrl-C in a terminal reaches this process alone, which stops the servers in order
        )

    return _starter.submit(start).result()


class Server:
    """One server program. It can be restarted with the same address and data."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        is_ready: Callable[[], bool],
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = environment
        self.log = log
        self.is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.running else None

    def start(self, *, timeout: float = 90.0) -> None:
        """Start the program and return when it is ready."""
        self.launch()
        self.wait_ready(timeout=timeout)

    def launch(self) -> None:
        """Starts the program without waiting."""
        if self.running:
            raise ControlPlaneError(f"{self.name} runs already")
        with self.log.open("ab") as log:
            self._process = leashed(self.command, output=log, environment=self.environment)

    def wait_ready(self, *, timeout: float = 90.0) -> None:

        def ready() -> bool:
            if not self.running:
                raise ControlPlaneError(f"{self.name} ended while starting; the end of {self.log}:\n{self._log_tail()}")
            return self.is_ready()

        if not poll_until(ready, timeout=timeout):
            raise ControlPlaneError(
                f"{self.name} was not ready after {timeout:.0f} s; the end of {self.log}:\n{self._log_tail()}"
            )

    def stop(self) -> None:
        """Ends the program by SIGTERM, then SIGKILL. Does nothing if it is stopped."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            kill_group(process)

    def kill(self) -> None:
        """Kills the program, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            kill_group(process)

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a leashed child with all its descendants: they have a separate session."""
    if process.poll() is None:  # not reaped yet, so the id still belongs to our child
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
