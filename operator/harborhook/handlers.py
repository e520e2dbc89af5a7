"""The kopf handlers, thin: kopf watches and calls, the queue and the workers do the rest.

kopf's low-level side is used as informer and lifecycle only. Its change handlers would write annotations and finalizers
of their own to every object, and write again and again during an outage.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import kopf

from harborhook import __version__, telemetry
from harborhook.api.base import GROUP, VERSION, Key
from harborhook.api.kinds import KINDS
from harborhook.kube.gateway import Gateway, KubeError, token_of
from harborhook.kube.watches import Watches
from harborhook.plan.references import references
from harborhook.reconcile.context import Context
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.shards import SHARDED_KINDS, survey
from harborhook.reconcile.worker import work
from harborhook.runtime.events import Recorder
from harborhook.runtime.leader import Leader, LeadershipLostError
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings
from harborhook.tls import relaxed

logger = logging.getLogger(__name__)

HEARTBEAT_LIMIT = 60.0
"""Seconds without a turn of the event loop after which the process is taken for dead."""
WATCH_LIFE = 240
"""Seconds after which the API server ends the stream of a watch; up to a minute more, so that not all end at once."""
WATCH_SILENCE = 70.0
"""Seconds without a word after which kopf gives a stream up: the API server says something every minute."""
WATCH_LIMIT = 480.0
"""Seconds without a request after which a watch is taken for dead: more than its stream's life, the silence at its end
and the longest pause before the next attempt add up to."""
LOGIN_LIFE = timedelta(minutes=10)
LOGIN_PAUSE = 5.0
"""Seconds between two logins at least: kopf asks for another one at each 401, without any pause of its own."""
SETTLE = 5.0
"""Seconds between the first doubt about what exists and a new listing, so that one listing serves many doubts."""
FINISH_LIMIT = 8.0
"""Seconds that the visits in hand have to end by themselves when the process is told to end."""
CANCEL_LIMIT = 1.5
"""Seconds that tasks have to end once they are cancelled. kopf's need not: it can swallow a cancellation, for example
between two streams, and then waits for itself for ever."""
CLOSE_LIMIT = 4.0
"""Seconds that the Harbor clients have to log out at the end."""
RELEASE_LIMIT = 2.0
"""Seconds that giving up the lease may take."""
LOST_LIMIT = 3.0
"""Seconds that a process has to end that leads no more. Less than the renew deadline leaves of the lease."""
END_LIMIT = 22.0
"""Seconds after which a process that was told to end does so in any case: more than the limits above add up to, less
than the 30 that Kubernetes grants."""
CLUSTER_NAMESPACE = "kube-system"
"""Its UID is as good a name of a cluster as there is."""


class Backoffs:
    """Pauses between kopf's attempts to reach the API server: endless, so that an outage never ends the operator."""

    def __iter__(self) -> Iterator[float]:
        pause = 0.5
        while True:
            yield pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            pause = min(30.0, pause * 2)


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies each object, Secrets too, to tell what has changed. Only its change handlers want to know."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is remembered."""


@dataclass
class Operator:
    """The running operator: what kopf calls, and the tasks that work."""

    settings: Settings
    kubeconfig: str | None = None
    context: Context | None = None
    registry: kopf.OperatorRegistry = field(default_factory=kopf.OperatorRegistry)
    metrics: telemetry.Metrics = field(default_factory=telemetry.Metrics)
    identity: str = field(default_factory=lambda: f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}")
    """Names this process to other operators, to Harbor and to the API server."""
    _gateway: Gateway | None = None
    _leader: Leader | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _heartbeat: float = field(default_factory=time.monotonic)
    _watches: Watches = field(default_factory=lambda: Watches(time.monotonic))
    _logged_in: float | None = None
    _deleted: set[str] = field(default_factory=set)
    """UIDs of what the watch has told to be deleted since the last listing began."""

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Runs until `stop` is set or the process is told to end, and then ends in order."""
        stop = stop or asyncio.Event()
        _set_on_signals(stop)
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
        self._gateway = await Gateway.connect(self.kubeconfig, user_agent=self._user_agent)
        try:
            if self.settings.leader_election:
                await self._lead_until(stop)
            else:
                self.metrics.leader.set(1)
                await self._work_until(stop)
        finally:
            await self._gateway.close()
            if probes is not None:
                await probes.cleanup()

    async def _lead_until(self, stop: asyncio.Event) -> None:
        """Waits until no other operator works, then does."""
        leader = self._leader = self._make_leader()
        acquiring = asyncio.create_task(leader.acquire(), name="acquire the lease")
        stopping = asyncio.create_task(stop.wait(), name="wait for the end")
        await asyncio.wait({acquiring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel({acquiring, stopping})
        if stop.is_set():
            await leader.release(RELEASE_LIMIT)
        else:
            acquiring.result()
            await self._work_until(stop)

    def _make_leader(self) -> Leader:
        gateway, settings = self._gateway, self.settings
        assert gateway is not None
        leader = Leader(
            self.identity,
            settings.namespace,
            settings.lease,
            read=lambda: gateway.lease(settings.namespace, settings.lease),
            write=gateway.write_lease,
            lease_duration=settings.lease_duration,
            renew_deadline=settings.renew_deadline,
            retry_period=settings.retry_period,
        )
        gateway.fence(leader.check)
        self.metrics.leader.set_function(lambda: float(leader.leads))
        return leader

    async def _work_until(self, stop: asyncio.Event) -> None:
        """kopf's tasks run until we are told to end or lead no more. They end by themselves only by an error."""
        tasks = await kopf.spawn_tasks(
            registry=self.registry,
            standalone=True,
            # Only for peering, which is not used. By default kopf asks for the name of the user, who may have none.
            identity="harborhook",  # type: ignore[arg-type]
            clusterwide=not self.settings.watch_namespaces,
            namespaces=self._namespaces,
        )
        _set_on_signals(stop)  # in place of kopf's own handlers
        stopping = asyncio.create_task(stop.wait(), name="wait for the end")
        holding = [asyncio.create_task(self._leader.hold(), name="hold the lease")] if self._leader else []
        try:
            done, _ = await asyncio.wait({*tasks, stopping, *holding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(tasks, holding)
            await _cancel({stopping, *holding})
        if done & set(holding):
            raise LeadershipLostError("This operator leads no more; another one may have begun.")
        for task in done - {stopping}:
            task.result()
            raise RuntimeError(f"kopf's {task.get_name()} has ended")

    async def _end(self, tasks: Collection[asyncio.Task[Any]], holding: list[asyncio.Task[None]]) -> None:
        """Lets the visits in hand be finished, so that what they do in Harbor is also recorded; then ends the rest.
        Whoever leads no more ends at once."""
        finished = await self._finish_visits(holding)
        if not self._leads:
            _force_the_end(LOST_LIMIT, code=1)
        await _cancel(self._tasks)
        await _cancel(tasks)
        await _cancel(self._tasks)  # which a start that was under way may have made
        if self._leads:
            await self._log_out()
        if finished and self._leader is not None:
            await self._leader.release(RELEASE_LIMIT)
        logger.info("Ended")

    @property
    def _leads(self) -> bool:
        return self._leader is None or self._leader.leads

    async def _finish_visits(self, holding: list[asyncio.Task[None]]) -> bool:
        """Whether nothing had to be cut off."""
        if self.context is None:
            return True
        draining = asyncio.create_task(self.context.queue.drain(), name="finish the visits in hand")
        await asyncio.wait({draining, *holding}, timeout=FINISH_LIMIT, return_when=asyncio.FIRST_COMPLETED)
        finished = draining.done()
        if not finished:
            logger.warning("%d visits are cut off: they were not done in time", self.context.queue.held)
        await _cancel({draining})
        return finished

    async def _log_out(self) -> None:
        clients = [link.client for link in self.context.links.values()] if self.context else []
        if clients:
            closing = [asyncio.create_task(client.close(), name="close a Harbor client") for client in clients]
            await asyncio.wait(closing, timeout=CLOSE_LIMIT)

    @property
    def _namespaces(self) -> list[str]:
        """Where to watch; none for everywhere. Our own namespace has the global ConfigMap and credentials."""
        watched = self.settings.watch_namespaces
        return sorted({*watched, self.settings.namespace}) if watched else []

    def _is_in_view(self, key: Key) -> bool:
        """Whether it is one of the resources to work on. kopf watches everything in all namespaces that it is given."""
        watched = self.settings.watch_namespaces
        return not watched or not key.namespace or key.namespace in watched

    @property
    def _user_agent(self) -> str:
        return f"harborhook/{__version__} ({self.identity})"

    # What kopf calls

    def _register(self) -> None:
        registry = self.registry
        kopf.on.startup(registry=registry)(self._configure)
        kopf.on.startup(registry=registry)(self._start)
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
        settings.watching.server_timeout = WATCH_LIFE + random.randrange(60)  # noqa: S311 - no secret
        settings.watching.inactivity_timeout = WATCH_SILENCE
        settings.watching.connect_timeout = 10
        settings.watching.reconnect_backoff = 1
        settings.watching.chunk_size = 500
        settings.queueing.idle_timeout = 1
        settings.scanning.disabled = True
        settings.posting.enabled = False
        if self.settings.resource_selector:
            for name in SHARDED_KINDS:
                settings.watching.label_selectors[GROUP, KINDS[name].plural] = self.settings.resource_selector
        # kopf strips its own finalizer where it finds it: it must not find ours.
        settings.persistence.finalizer = f"{GROUP}/not-used-by-kopf"
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.process.ultimate_exiting_timeout = None

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """A session with the gateway's credentials, which are read anew before they can expire."""
        assert self._gateway is not None
        now = time.monotonic()
        early = self._logged_in is not None and now - self._logged_in < LOGIN_LIFE.total_seconds() / 2
        if self._logged_in is not None:
            await asyncio.sleep(max(0.0, self._logged_in + LOGIN_PAUSE - now))
        self._logged_in = time.monotonic()
        configuration = await self._gateway.refresh(anew=early)
        info = kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token_of(configuration),
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=configuration.proxy,
        )
        return kopf.AiohttpSession(
            server=info.server, aiohttp_session=self._session(info), expiration=datetime.now(UTC) + LOGIN_LIFE
        )

    def _session(self, info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
        """As kopf would make it, which closes it; but in our name, and the watches are heard."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=relaxed(info.as_ssl_context())),
            headers={**info.as_http_headers(), "User-Agent": self._user_agent},
            proxy=info.proxy_url,
            trace_configs=[self._watches.trace()],
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
        self._expect_watches(self._gateway)
        logger.info("Started; %d resources", len(context.store.all()))

    def _expect_watches(self, gateway: Gateway) -> None:
        """Those that kopf is to begin now."""
        namespaced = [kind.name for kind in KINDS.values() if kind.namespaced] + ["ConfigMap"]
        for kind in [*namespaced, "Secret"] if self.settings.watch_secrets else namespaced:
            for namespace in self._namespaces or [""]:
                self._watches.expect(gateway.path_of(kind, namespace))
        for cluster_wide in (kind.name for kind in KINDS.values() if not kind.namespaced):
            self._watches.expect(gateway.path_of(cluster_wide, ""))

    async def _saw(self, event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        assert self.context is not None
        key = _key(body)
        if not self._is_in_view(key):
            return
        if event["type"] is None:  # kopf has listed anew: of what was deleted before, it says nothing
            self.context.doubtful.set()
        if event["type"] == "DELETED":
            self._deleted.add(body["metadata"]["uid"])
            self.context.forget(key)
            if key.kind in SHARDED_KINDS and self.settings.resource_selector:
                self.context.doubtful.set()  # perhaps only its labels are others now
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
            clock=gateway.clock,
            metrics=self.metrics,
            fence=self._leader.check if self._leader else None,
            user_agent=self._user_agent,
        )

    def _is_watched(self, source: Key) -> bool:
        """Whether kopf tells of this Secret or ConfigMap."""
        settings, namespaces = self.settings, self._namespaces
        in_view = not namespaces or source.namespace in namespaces
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
                selector = self.settings.resource_selector if kind.name in SHARDED_KINDS else ""
                async for body in self._gateway.list(kind.name, namespace, selector):
                    if body["metadata"]["uid"] in self._deleted:  # while the page was on its way
                        continue
                    seen.add(_key(body))
                    self.context.saw(_key(body), body, first=first)
        for gone in before - seen:
            self.context.forget(gone)
        await survey(self.context)

    async def _relist(self) -> None:
        """Lists everything now and then, and soon after the watch may have missed a deletion."""
        assert self.context is not None
        doubtful = self.context.doubtful
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.context.jittered(self.settings.relist_interval)):
                    await doubtful.wait()
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
        """Before the start there is nothing to be stuck; afterwards the loop turns, no worker has ended, and each watch
        goes on."""
        if not self._tasks:
            return True
        silent = self._watches.silent(WATCH_LIMIT)
        if silent:
            logger.error("Without a sign of life for %.0f s: the watch of %s", WATCH_LIMIT, ", ".join(silent))
        turns = time.monotonic() - self._heartbeat < HEARTBEAT_LIMIT
        return turns and not silent and not any(task.done() for task in self._tasks)

    def _is_ready(self) -> bool:
        """Whoever waits for another leader is ready to take over, so that a rollout goes on."""
        return bool(self._tasks) or (self._leader is not None and self._leader.waiting)


def _set_on_signals(stop: asyncio.Event) -> None:
    """Lets SIGTERM and SIGINT set `stop`, and end the process by force some time later if it has not ended by then."""

    def told() -> None:
        stop.set()
        _force_the_end(END_LIMIT, code=0)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told)


def _force_the_end(limit: float, *, code: int) -> None:
    """The last resort, by a thread that no task can keep from it: so many seconds from now the process ends."""
    timer = threading.Timer(limit, os._exit, (code,))
    timer.daemon = True
    timer.start()


async def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels them, a second time those that go on, and waits for them for a while."""
    running = {task for task in tasks if not task.done()}
    for limit in (CANCEL_LIMIT / 2, CANCEL_LIMIT / 2):
        for task in running:
            task.cancel()
        if running:
            _, running = await asyncio.wait(running, timeout=limit)
    if running:
        logger.warning("Not ended in time: %s", ", ".join(sorted(task.get_name() for task in running)))


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
