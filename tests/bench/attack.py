"""One tenant attacks another with everything that it may declare in its own namespace, all at once:

* many policies whose targets accept a connection and stay silent, tested repeatedly
* HarborConnections to servers that answer slowly, with 429, endlessly, or with huge bodies; each has projects and
  policies
* fast annotation changes of all these
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from types import TracebackType
from typing import Any, Self

from bench.stage import Stage, wait
from harness.control_plane import RefusedError
from harness.world import Object, http_target, ready_condition

NAMESPACE = "attacker"
ALLOWED = "127.0.0.1,127.0.0.1:*"
"""The allowed hosts of HarborConnections: version 0.1.0 needs them without ports, later versions with ports."""
EACH = 5
"""Projects over each hostile Harbor."""
PER_SECOND = 50.0
"""Wanted annotation changes per second; a busy API server accepts fewer."""
THREADS = 4


class HostileHarbors:
    """The process with the hostile servers; `urls` has their addresses by name."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.hostile_harbors"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.urls: dict[str, str] = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def asked(self) -> dict[str, int]:
        """Returns the number of requests to each server."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return {name: int(count) for name, count in self._read().items()}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


class Attack:
    """The objects that the attacker declares, and its annotation changes."""

    def __init__(self, stage: Stage, harbors: HostileHarbors, silent: str) -> None:
        self._world = stage.world.elsewhere(NAMESPACE)
        self._stage = stage
        self._harbors = harbors
        self._silent = silent
        self._changed = 0
        self._lock = threading.Lock()
        self._over = threading.Event()

    def prepare(self) -> None:
        """Creates the objects that are Ready before the attack: policies that may be tested."""
        self._stage.control_plane.create_namespace(NAMESPACE)
        limits = {"maxConcurrentRequests": 8, "requestsPerSecond": self._stage.options.requests_per_second}
        tests = {"allowEndpointTests": True, "allowedTargetHosts": ["127.0.0.1"]}
        self._stage.world.connect("tested", limits=limits, **tests)
        self._world.secret("own", username="admin", password="Harbor12345")  # accepted by all hostile Harbors
        trap = f"{self._stage.prefix}-trap"
        self._world.project(trap, connectionRef={"name": "tested"})
        self._world.apply_all([_policy(f"trap-{number}", trap, self._silent) for number in range(self._number)])
        wait(self._all_ready, "the attacker's policies are Ready", pause=1.0)

    @property
    def _number(self) -> int:
        return self._stage.options.numbers.attacking

    def _all_ready(self) -> bool:
        return all(ready_condition(found).get("status") == "True" for found in self._world.all("WebhookPolicy"))

    def begin(self) -> None:
        """Connects the hostile Harbors, and creates resources over them."""
        for name, url in self._harbors.urls.items():
            spec = {"url": url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "own"}}
            self._world.apply({"kind": "HarborConnection", "metadata": {"name": name}, "spec": spec})
            reference = {"kind": "HarborConnection", "name": name}
            for number in range(EACH):
                project = f"{name}-{number}"
                self._world.project(project, connectionRef=reference, deletionPolicy="Retain")
                self._world.apply(_policy(project, project, self._silent))

    def go_on(self, thread: int) -> None:
        """Changes annotations until `end`; several threads run it."""
        resources = self._resources()
        first = thread * len(resources) // THREADS
        for kind, name in cycle(resources[first:] + resources[:first]):
            if self._over.is_set():
                return
            began = time.monotonic()
            with suppress(OSError, RefusedError):  # the API server is too busy
                self._change(kind, name)
            time.sleep(max(0.0, began + THREADS / PER_SECOND - time.monotonic()))

    def _resources(self) -> list[tuple[str, str]]:
        found = [("WebhookPolicy", f"trap-{number}") for number in range(self._number)]
        for name in self._harbors.urls:
            for number in range(EACH):
                found += [("HarborProject", f"{name}-{number}"), ("WebhookPolicy", f"{name}-{number}")]
        return found

    def _change(self, kind: str, name: str) -> None:
        with self._lock:
            self._changed += 1
            stamp = f"a{self._changed}"
        test = {"test_endpoint": stamp} if kind == "WebhookPolicy" else {}
        self._world.annotate(kind, name, reconcile_at=stamp, **test)

    def end(self) -> None:
        self._over.set()

    def counts(self) -> dict[str, int]:
        """Returns the counts of the attack's actions."""
        asked = {f"requests to the Harbor '{name}'": count for name, count in self._harbors.asked().items()}
        tested = sum("endpointTest" in found.get("status", {}) for found in self._world.all("WebhookPolicy"))
        changed = {"annotations changed": self._changed}
        return {**changed, **asked, "policies whose silent targets have been tested": tested}


def _policy(name: str, project: str, address: str) -> Object:
    return {
        "kind": "WebhookPolicy",
        "metadata": {"name": name},
        "spec": {
            "projectRef": {"name": project},
            "eventTypes": ["PUSH_ARTIFACT"],
            "targets": [http_target(address)],
        },
    }


@contextmanager
def prepared(stage: Stage) -> Iterator[Attack]:
    """Yields an attack that can begin."""
    with ExitStack() as stack:
        harbors = stack.enter_context(HostileHarbors())
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
        attack = Attack(stage, harbors, f"http://127.0.0.1:{silent.getsockname()[1]}")
        attack.prepare()
        yield attack


@contextmanager
def under_way(attack: Attack) -> Iterator[None]:
    """Runs the attack during the block."""
    attack.begin()
    with ThreadPoolExecutor(THREADS, "attacker") as threads:
        running = [threads.submit(attack.go_on, number) for number in range(THREADS)]
        try:
            yield
        finally:
            attack.end()
    for one in running:
        one.result()
