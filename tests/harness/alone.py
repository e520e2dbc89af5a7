"""Parts of the operator for unit tests: no Kubernetes, no Harbor, and a clock that tests advance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from harborhook.kube.gateway import Gateway
from harborhook.plan.references import references
from harborhook.reconcile.context import Context
from harborhook.reconcile.secrets import Secrets
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings


@dataclass
class Clock:
    """A clock that advances only when a test sets it."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def bare_context(clock: Clock) -> Context:
    """Returns a context without objects and connections, which writes nowhere."""

    async def nothing(*_: Any) -> None:
        return None

    return Context(
        settings=Settings(),
        store=Store(references),
        queue=Queue(clock=clock),
        gateway=cast(Gateway, None),
        recorder=Recorder(nothing, instance="test", clock=clock),
        secrets=Secrets(read=nothing, watched=lambda _: True),
        cluster="test",
    )


def kubeconfig_file(directory: Path, *, user: Any = None, **cluster: Any) -> Path:
    """Writes a kubeconfig with one user and one cluster, which need not exist."""
    entry = {"name": "x", "cluster": {"server": "http://127.0.0.1:9", **cluster}, "user": user}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    file = directory / "kubeconfig"
    content = {"current-context": "x", "clusters": [entry], "users": [entry], "contexts": [context]}
    file.write_text(yaml.safe_dump(content))
    return file
