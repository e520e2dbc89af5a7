"""The operator's process: acquires the lease, lists objects, runs the workers, and ends in order.

`harborhook run` calls `Operator.run`. It starts the kopf handlers (which watch), the inventory (which lists) and the
workers (which reconcile), and answers the probes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harborhook import __version__, telemetry
from harborhook.api.base import Key
from harborhook.handlers import Handlers
from harborhook.inventory import Inventory, View
from harborhook.kube.backoffs import until_answered
from harborhook.kube.gateway import Gateway
from harborhook.kube.watches import Watches
from harborhook.plan.references import references
from harborhook.reconcile.clients import Clients
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link, retired_clients
from harborhook.reconcile.redelivery import is_recorded
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.senders import send_waiting
from harborhook.reconcile.sharing import gate_of_senders, gate_of_visits, lane_of
from harborhook.reconcile.worker import work
from harborhook.runtime.events import Recorder
from harborhook.runtime.leader import Leader, LeadershipLostError
from harborhook.runtime.process import cancel, exit_after, stop_on_signals
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings

logger = logging.getLogger(__name__)

HEARTBEAT_LIMIT = 60.0
"""Seconds without a turn of the event loop after which the process counts as stuck."""
WATCH_LIMIT = 480.0
"""Seconds without a request after which a watch counts as stuck: more than the life of a stream, the silence at its end
and the longest pause before the next attempt together."""
FINISH_LIMIT = 8.0
"""Seconds that the visits in progress have to complete after SIGTERM."""
CLOSE_LIMIT = 4.0
"""Seconds that the Harbor clients have to log out at the end."""
RELEASE_LIMIT = 2.0
"""Seconds that the release of the lease may take."""
LOST_LIMIT = 3.0
"""Seconds that a process has to exit after losing leadership. Less than the part of the lease that the renew deadline
leaves."""
CLUSTER_NAMESPACE = "kube-system"
"""The namespace whose UID identifies the cluster."""


class RestoredError(Exception):
    """etcd was restored from a backup."""


@dataclass
class Operator:
    """The running operator and its tasks."""

    settings: Settings
    kubeconfig: str | None = None
    metrics: telemetry.Metrics = field(default_factory=telemetry.Metrics)
    identity: str = field(default_factory=lambda: f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}")
    """Identifies this process to other operators, to Harbor and to the API server."""
    context: Context | None = None
    """Created when this operator leads."""
    handlers: Handlers | None = None
    _leader: Leader | None = None
    _is_restored: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Kubernetes has gone back to an earlier state."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _heartbeat: float = field(default_factory=time.monotonic)
    _watches: Watches = field(default_factory=lambda: Watches(time.monotonic))

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Runs until `stop` is set or a signal arrives, then ends in order. Raises LeadershipLostError
        and RestoredError."""
        stop = stop or asyncio.Event()
        stop_on_signals(stop)
        probes = None
        if self.settings.listen_port:
            probes = await telemetry.serve_probes(
                self.settings.listen_host,
                self.settings.listen_port,
                alive=self._is_alive,
                ready=self._is_ready,
                metrics=self.metrics,
            )
        gateway = await Gateway.connect(self.kubeconfig, user_agent=self._user_agent)
        try:
            if self.settings.leader_election:
                await self._lead_until(stop, gateway)
            else:
                self.metrics.leader.set(1)
                await self._work_until(stop, gateway)
        finally:
            await gateway.close()
            if probes is not None:
                await probes.cleanup()

    @property
    def _user_agent(self) -> str:
        return f"harborhook/{__version__} ({self.identity})"

    # Leading

    async def _lead_until(self, stop: asyncio.Event, gateway: Gateway) -> None:
        """Waits until it holds the lease, then works."""
        leader = self._leader = self._make_leader(gateway)
        acquiring = asyncio.create_task(leader.acquire(), name="acquire the lease")
        stopping = asyncio.create_task(stop.wait(), name="wait for the end")
        await asyncio.wait({acquiring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await cancel({acquiring, stopping})
        if stop.is_set():
            await leader.release(RELEASE_LIMIT)
        else:
            acquiring.result()
            await self._work_until(stop, gateway)

    def _make_leader(self, gateway: Gateway) -> Leader:
        settings = self.settings
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

    @property
    def _leads(self) -> bool:
        return self._leader is None or self._leader.leads

    # Working

    async def _work_until(self, stop: asyncio.Event, gateway: Gateway) -> None:
        """Runs kopf's tasks until `stop` is set, leadership is lost or Kubernetes has gone back to an earlier state.
        They end on their own only on an error.

        After a restore of etcd a new process begins, instead of this one correcting what it knows: kopf cannot be made
        to watch from an earlier version, and queue, caches, mailboxes and backlogs refer to later objects too.
        """
        self.handlers = Handlers(
            View(self.settings),
            gateway,
            self._watches,
            start=lambda: self._start(gateway),
            user_agent=self._user_agent,
        )
        tasks = await self.handlers.spawn()
        stop_on_signals(stop)  # replaces kopf's own signal handlers
        stopping = asyncio.create_task(stop.wait(), name="wait for the end")
        restored = asyncio.create_task(self._is_restored.wait(), name="notice a restore")
        holding = [asyncio.create_task(self._leader.hold(), name="hold the lease")] if self._leader else []
        try:
            done, _ = await asyncio.wait({*tasks, stopping, restored, *holding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(tasks, holding)
            await cancel({stopping, restored, *holding})
        if done & set(holding):
            raise LeadershipLostError("This operator has lost leadership; another one may have taken over.")
        if restored in done:
            raise RestoredError(
                "Kubernetes has gone back to an earlier state. This operator exits, to begin with that state."
            )
        for task in done - {stopping}:
            task.result()
            raise RuntimeError(f"kopf's {task.get_name()} has ended")

    async def _start(self, gateway: Gateway) -> Inventory:
        """Lists everything before the workers start, so that every claim is known."""
        self.context = context = await self._make_context(gateway)
        self.metrics.watch(context.store, context.queue, lambda: _notifications(context))
        inventory = Inventory(context, View(self.settings))
        await until_answered(lambda: inventory.list_all(first=True), "list the resources")
        self._tasks = [asyncio.create_task(work(context), name=f"worker {n}") for n in range(self.settings.workers)]
        self._tasks += [
            asyncio.create_task(send_waiting(context), name=f"sender {n}") for n in range(self.settings.senders)
        ]
        self._tasks += [
            asyncio.create_task(self._beat(), name="heartbeat"),
            asyncio.create_task(inventory.keep_current(), name="relist"),
            asyncio.create_task(inventory.watch_for_restore(), name="watch for a restore"),
        ]
        logger.info("Started; %d resources", len(context.store.all()))
        return inventory

    async def _make_context(self, gateway: Gateway) -> Context:
        settings = self.settings
        cluster, fence = settings.cluster_name, self._leader.check if self._leader else None
        if not cluster:
            cluster = await until_answered(lambda: gateway.namespace_uid(CLUSTER_NAMESPACE), "read the cluster's name")
        store = Store(references)
        links: dict[Key, Link] = {}
        queue, sending = (
            Queue(time.monotonic, workers=number, lane_of=partial(lane_of, store), gate_of=partial(gate_of, links))
            for number, gate_of in ((settings.workers, gate_of_visits), (settings.senders, gate_of_senders))
        )
        return Context(
            settings=settings,
            store=store,
            queue=queue,
            sending=sending,
            links=links,
            gateway=gateway,
            recorder=Recorder(
                gateway.create_event,
                instance=socket.gethostname(),
                clock=time.monotonic,
                selection=settings.events,
            ),
            secrets=Secrets(read=gateway.data, watched=View(settings).watches_source),
            cluster=cluster,
            clock=gateway.clock,
            metrics=self.metrics,
            is_restored=self._is_restored,
            fence=fence,
            clients=Clients(
                on_room=partial(_wake, (queue, sending)),
                observer=self.metrics.count_request,
                fence=fence,
                user_agent=self._user_agent,
            ),
        )

    # Ending

    async def _end(self, tasks: Collection[asyncio.Task[Any]], holding: list[asyncio.Task[None]]) -> None:
        """Completes the visits in progress, so that their results in Harbor are recorded, then ends the rest. After
        losing leadership the process ends at once."""
        finished = await self._finish_visits(holding)
        if not self._leads:
            exit_after(LOST_LIMIT, code=1)
        await cancel(self._tasks)
        await cancel(tasks)
        await cancel(self._tasks)  # a start in progress may have created them
        if self._leads:
            await self._log_out()
        if finished and self._leader is not None:
            await self._leader.release(RELEASE_LIMIT)
        logger.info("Ended")

    async def _finish_visits(self, holding: list[asyncio.Task[None]]) -> bool:
        """Returns whether all visits completed; the others are cancelled."""
        if self.context is None:
            return True
        draining = asyncio.create_task(_drain(self.context), name="finish the visits in progress")
        await asyncio.wait({draining, *holding}, timeout=FINISH_LIMIT, return_when=asyncio.FIRST_COMPLETED)
        finished = draining.done()
        if not finished:
            logger.warning("%d visits are cancelled: they did not complete in time", self.context.queue.held)
        await cancel({draining})
        return finished

    async def _log_out(self) -> None:
        clients = [link.client for link in self.context.links.values()] if self.context else []
        clients += retired_clients()
        if clients:
            closing = [asyncio.create_task(client.close(), name="close a Harbor client") for client in clients]
            await asyncio.wait(closing, timeout=CLOSE_LIMIT)

    # Probes

    async def _beat(self) -> None:
        while True:
            self._heartbeat = time.monotonic()
            await asyncio.sleep(1)

    def _is_alive(self) -> bool:
        """Whether the event loop turns, no worker has ended and each watch sends requests. True before the start, when
        nothing can be stuck."""
        if not self._tasks:
            return True
        silent = self._watches.silent(WATCH_LIMIT)
        if silent:
            logger.error("Without a sign of life for %.0f s: the watch of %s", WATCH_LIMIT, ", ".join(silent))
        turns = time.monotonic() - self._heartbeat < HEARTBEAT_LIMIT
        return turns and not silent and not any(task.done() for task in self._tasks)

    def _is_ready(self) -> bool:
        """Whether everything was listed. A follower counts as ready, so that a rollout proceeds."""
        return bool(self._tasks) or (self._leader is not None and self._leader.waiting)


def _wake(queues: Iterable[Queue]) -> None:
    for queue in queues:
        queue.wake()


def _notifications(context: Context) -> dict[Key, bool]:
    """Returns the known states of Harbor's own switch by connection."""
    states = {key: link.notifications_enabled for key, link in context.links.items()}
    return {key: state for key, state in states.items() if state is not None}


async def _drain(context: Context) -> None:
    """Lets requests to receivers complete and their results be recorded, so that a restart does not send them again."""
    await context.sending.drain()
    while not is_recorded(context):  # noqa: ASYNC110 - a few times at most, by workers that are not to know of it
        await asyncio.sleep(0.05)
    await context.queue.drain()
