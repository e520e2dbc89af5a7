"""The operator as a separate process, run like in a pod: with its ServiceAccount's rights, configured by
environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

LEASH = Path(__file__).parent / "control_plane" / "leash.py"
SOURCE = Path(__file__).parents[2] / "operator"
AS_SHIPPED = Path(__file__).parent / "as_shipped"
"""Hides from the operator what the image does not have."""
STEPPING_CLOCK = Path(__file__).parent / "stepping_clock.py"
READY_SECONDS = 60.0


class Cluster(Protocol):
    """The part of a cluster that an operator needs."""

    def service_account_kubeconfig(self, namespace: str, name: str, *, server: str | None = None) -> Path: ...


class OperatorProcess:
    """`harborhook run` under its shipped roles. It ends with the process that started it.

    `api_server` is the address of a proxy in front of the API server, `account` and `namespace` select another
    ServiceAccount; with `clock_steps` its clock can be set. `package` is the location of its code: these sources, or
    the wheel of another version; `python` runs it.
    """

    made: ClassVar[list[OperatorProcess]] = []
    """All operators of this process, for checks of every operator."""

    def __init__(
        self,
        control_plane: Cluster,
        directory: Path,
        settings: dict[str, object],
        api_server: str | None = None,
        account: str = "harborhook",
        namespace: str = "harborhook",
        arguments: Sequence[str] = ("run",),
        clock_steps: bool = False,
        package: Path = SOURCE,
        python: str = sys.executable,
    ) -> None:
        self.log = directory / "operator.log"
        self.user = f"system:serviceaccount:{namespace}:{account}"
        self.kubeconfig = control_plane.service_account_kubeconfig(namespace, account, server=api_server)
        self._last_metrics = ""
        self._clock = directory / "clock"
        self._program = [str(STEPPING_CLOCK), str(self._clock), "harborhook"] if clock_steps else ["-m", "harborhook"]
        self._port = free_port()
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HARBORHOOK_")},
            "PYTHONPATH": os.pathsep.join([str(package), str(AS_SHIPPED)]),
            "PYTHONWARNINGS": "default",
            "KUBECONFIG": str(self.kubeconfig),
            "HARBORHOOK_LISTEN_HOST": "127.0.0.1",
            "HARBORHOOK_LISTEN_PORT": str(self._port),
            **{f"HARBORHOOK_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._arguments = arguments
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self.made.append(self)

    @classmethod
    def start(cls, control_plane: Cluster, directory: Path, **settings: object) -> Self:
        """Starts an operator with settings of settings.py by name, and waits until it is ready."""
        found = cls(control_plane, directory, settings)
        found.restart()
        return found

    @classmethod
    def of_deployment(
        cls, control_plane: Cluster, directory: Path, deployment: dict[str, Any], package: Path = SOURCE
    ) -> Self:
        """Starts the process that the pod of a Deployment would run: its arguments, variables and ServiceAccount."""
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        namespace = deployment["metadata"]["namespace"]
        settings: dict[str, object] = {
            variable["name"].removeprefix("HARBORHOOK_"): _value(variable, namespace) for variable in container["env"]
        }
        found = cls(
            control_plane,
            directory,
            settings,
            account=pod["serviceAccountName"],
            namespace=namespace,
            arguments=container["args"],
            package=package,
        )
        found.restart()
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of its probes and metrics."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def restart(self, *, wait: bool = True) -> None:
        """Starts it (again), after a `kill` or `stop`."""
        program = [self._python, *self._program, *self._arguments]
        command = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *program]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal reaches only the program that started it
            )
        if wait:
            self.wait_until_ready()

    def set_clock(self, off_by: float) -> None:
        """Sets its wall clock ahead of the true time by this many seconds, or back."""
        new = self._clock.with_suffix(".new")
        new.write_text(str(off_by))
        new.replace(self._clock)

    def kill(self) -> None:
        """Sends SIGKILL, as a crash."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """Sends SIGTERM, as Kubernetes does to end a pod."""
        self._last_metrics = self.shown_metrics()
        self.end(signal.SIGTERM)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> int | None:
        """Sends a signal, waits for the end and returns the exit code; None if it is not running."""
        if self._process is None:
            return None
        self.send(number)
        return self.wait()

    def wait(self) -> int:
        """Waits for its end and returns the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout=30)
        self._process = None
        return code

    def wait_until_ready(self) -> None:
        """Returns when it answers /readyz with 200."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._answers("/readyz"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"the operator did not become ready; its log ends with:\n{self.log.read_text()[-4000:]}")

    def metrics(self) -> dict[str, float]:
        """Returns the values of /metrics, by name with labels in their original spelling."""
        lines = self.metrics_page().splitlines()
        pairs = [line.rpartition(" ") for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in pairs}

    def metrics_page(self) -> str:
        """Returns the page that Prometheus scrapes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def shown_metrics(self) -> str:
        """Returns the metrics, or those of the last read if the operator does not run any more or does not answer."""
        with suppress(OSError):
            return self.metrics_page() if self.running else self._last_metrics
        return self._last_metrics

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _value(variable: dict[str, Any], namespace: str) -> str:
    """Resolves a variable like a kubelet: our Deployments only refer to the namespace."""
    if "valueFrom" not in variable:
        return str(variable["value"])
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
    return namespace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
