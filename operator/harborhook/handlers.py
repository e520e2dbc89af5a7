"""The kopf handlers, thin: kopf watches and calls, the queue and the workers do the rest.

kopf's low-level side is used as informer and lifecycle only. Its change handlers would write annotations and finalizers
of their own to every object, and write again and again during an outage.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from harborhook import telemetry
from harborhook.api.base import GROUP, VERSION, Key
from harborhook.api.kinds import KINDS
from harborhook.kube.gateway import Gateway, KubeError, token_of
from harborhook.plan.references import references
from harborhook.reconcile.context import Context
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.worker import work
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings

logger = logging.getLogger(__name__)

HEARTBEAT_LIMIT = 60.0
"""Seconds without a turn of the event loop after which the process is taken for dead."""
LOGIN_LIFE = timedelta(minutes=10)
LOGIN_PAUSE = 5.0
"""Seconds between two logins at least: kopf asks for another one at each 401, without any pause of its own."""
SETTLE = 5.0
"""Seconds between the first doubt about what exists and a new listing, so that one listing serves many doubts."""
CLOSE_LIMIT = 6.0
"""Seconds that the Harbor clients have to log out at the end."""
CLUSTER_NAMESPACE = "kube-system"
"""Its UID is as good a name of a cluster as there is."""


class Backoffs:
    """Pauses between kopf's attempts to reach the API server: endless, so that an outage never ends the operator."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            pause = min(30.0, pause * 2)


@dataclass
class Operator:
    """The running operator: what kopf calls, and the tasks that work."""

    settings: Settings
    kubeconfig: str | None = None
    context: Context | None = None
    registry: kopf.OperatorRegistry = field(default_factory=kopf.OperatorRegistry)
    metrics: telemetry.Metrics = field(default_factory=telemetry.Metrics)
    _gateway: Gateway | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _heartbeat: float = field(default_factory=time.monotonic)
    _logged_in: float | None = None
    _deleted: set[str] = field(default_factory=set)
    """UIDs of what the watch has told to be deleted since the last listing began."""

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Runs until `stop` is set or the process is told to end."""
        self._register()
        probes = None
        if self.settings.listen_port:
            probes = await telemetry.serve_probes(
                self.settings.listen_host,
                self.settings.listen_port,
                alive=self._is_alive,
                ready=self._is_ready,
                metrics=self.metrics,
            )
        self._gateway = await Gateway.connect(self.kubeconfig)
        try:
            await kopf.operator(
                registry=self.registry,
                standalone=True,
                # Only for peering, which is not used. By default kopf asks for the name of the user, who may have none.
                identity="harborhook",  # type: ignore[arg-type]
                clusterwide=not self.settings.watch_namespaces,
                namespaces=self.settings.watch_namespaces,
                stop_flag=stop,
            )
        finally:
            await self._gateway.close()
            if probes is not None:
                await probes.cleanup()

    # What kopf calls

    def _register(self) -> None:
        registry = self.registry
        kopf.on.startup(registry=registry)(self._configure)
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._stop)
        kopf.on.login(registry=registry, retries=None)(self._login)
        for kind in KINDS.values():
            kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)(self._saw)
        kopf.on.event("", "v1", "configmaps", registry=registry)(self._saw_source)
        if self.settings.watch_secrets:
            kopf.on.event("", "v1", "secrets", registry=registry)(self._saw_source)

    async def _configure(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.networking.error_backoffs = Backoffs()
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 5
        settings.watching.server_timeout = 300 + random.randrange(300)  # noqa: S311 - no secret
        settings.watching.connect_timeout = 10
        settings.watching.reconnect_backoff = 1
        settings.watching.chunk_size = 500
        settings.queueing.idle_timeout = 1
        settings.scanning.disabled = True
        settings.posting.enabled = False
        # kopf strips its own finalizer where it finds it: it must not find ours.
        settings.persistence.finalizer = f"{GROUP}/not-used-by-kopf"
        settings.process.ultimate_exiting_timeout = None

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """The gateway's credentials, read anew before they can expire."""
        assert self._gateway is not None
        now = time.monotonic()
        early = self._logged_in is not None and now - self._logged_in < LOGIN_LIFE.total_seconds() / 2
        if self._logged_in is not None:
            await asyncio.sleep(max(0.0, self._logged_in + LOGIN_PAUSE - now))
        self._logged_in = time.monotonic()
        configuration = await self._gateway.refresh(anew=early)
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token_of(configuration),
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            expiration=datetime.now(UTC) + LOGIN_LIFE,
        )

    async def _start(self, **_: Any) -> None:
        """Lists everything before anything is reconciled, so that every claim is known; then lets the workers go."""
        assert self._gateway is not None
        self.context = context = await self._make_context(self._gateway)
        self.metrics.watch(context.store, context.queue, lambda: _notifications(context))
        await _patiently(lambda: self._list_all(first=True), "list the resources")
        self._tasks = [asyncio.create_task(work(context), name=f"worker {n}") for n in range(self.settings.workers)]
        self._tasks += [
            asyncio.create_task(self._beat(), name="heartbeat"),
            asyncio.create_task(self._relist(), name="relist"),
        ]
        logger.info("Started; %d resources", len(context.store.all()))

    async def _stop(self, **_: Any) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        clients = [link.client for link in self.context.links.values()] if self.context else []
        if clients:
            closing = [asyncio.create_task(client.close(), name="close a Harbor client") for client in clients]
            await asyncio.wait(closing, timeout=CLOSE_LIMIT)

    async def _saw(self, event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        assert self.context is not None
        key = _key(body)
        if event["type"] is None:  # kopf has listed anew: of what was deleted before, it says nothing
            self.context.doubtful.set()
        if event["type"] == "DELETED":
            self._deleted.add(body["metadata"]["uid"])
            self.context.forget(key)
        else:
            self.context.saw(key, dict(body))

    async def _saw_source(self, event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        assert self.context is not None
        if event["type"] is None:
            self.context.doubtful.set()
        gone = event["type"] == "DELETED"
        self.context.saw_secret(_key(body), None if gone else body["metadata"]["resourceVersion"])

    # What runs beside kopf

    async def _make_context(self, gateway: Gateway) -> Context:
        settings = self.settings
        cluster = settings.cluster_name
        if not cluster:
            cluster = await _patiently(lambda: gateway.namespace_uid(CLUSTER_NAMESPACE), "read the cluster's name")
        return Context(
            settings=settings,
            store=Store(references),
            queue=Queue(clock=time.monotonic),
            gateway=gateway,
            recorder=Recorder(gateway.create_event, instance=socket.gethostname(), clock=time.monotonic),
            secrets=Secrets(read=gateway.data, watched=self._is_watched),
            cluster=cluster,
            metrics=self.metrics,
        )

    def _is_watched(self, source: Key) -> bool:
        """Whether kopf tells of this Secret or ConfigMap."""
        settings = self.settings
        in_view = not settings.watch_namespaces or source.namespace in settings.watch_namespaces
        return in_view and (settings.watch_secrets or source.kind == "ConfigMap")

    async def _list_all(self, *, first: bool = False) -> None:
        """Takes in all that exists and forgets what does not: the watch can miss a deletion."""
        assert self.context is not None
        assert self._gateway is not None
        before = set(self.context.store.all())
        seen = set()
        self._deleted.clear()
        for kind in KINDS.values():
            for namespace in (self.settings.watch_namespaces if kind.namespaced else []) or [""]:
                async for body in self._gateway.list(kind.name, namespace):
                    if body["metadata"]["uid"] in self._deleted:  # while the page was on its way
                        continue
                    seen.add(_key(body))
                    self.context.saw(_key(body), body, first=first)
        for gone in before - seen:
            self.context.forget(gone)

    async def _relist(self) -> None:
        """Lists everything now and then, and soon after the watch may have missed a deletion."""
        assert self.context is not None
        doubtful = self.context.doubtful
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(doubtful.wait(), self.context.jittered(self.settings.relist_interval))
            await asyncio.sleep(SETTLE)
            doubtful.clear()
            try:
                await self._list_all()
            except KubeError as error:
                logger.info("%s; tried again in %.0f s", error, SETTLE)
                doubtful.set()

    async def _beat(self) -> None:
        while True:
            self._heartbeat = time.monotonic()
            await asyncio.sleep(1)

    def _is_alive(self) -> bool:
        """Before the start there is nothing to be stuck; afterwards the loop turns and no worker has ended."""
        if not self._tasks:
            return True
        return time.monotonic() - self._heartbeat < HEARTBEAT_LIMIT and not any(task.done() for task in self._tasks)

    def _is_ready(self) -> bool:
        return bool(self._tasks)


def _notifications(context: Context) -> dict[Key, bool]:
    """Harbor's own switch, by connection, where it is known."""
    states = {key: link.notifications_enabled for key, link in context.links.items()}
    return {key: state for key, state in states.items() if state is not None}


def _key(body: Any) -> Key:
    metadata = body["metadata"]
    return Key(body["kind"], metadata.get("namespace") or "", metadata["name"])


async def _patiently(attempt: Any, what: str) -> Any:
    """Tries until the API server answers; what it refuses is logged, since somebody must grant it."""
    for pause in Backoffs():
        try:
            return await attempt()
        except KubeError as error:
            logger.warning("Could not %s: %s; tried again in %.0f s", what, error, pause)
            await asyncio.sleep(pause)
    raise AssertionError("the pauses are endless")
