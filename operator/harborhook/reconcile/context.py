"""What every reconciler works with, and how a change of one object reaches those that depend on it."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harborhook.api.base import ANNOTATION_SHARD, FINALIZER, Key, Resource
from harborhook.api.connections import AnyConnection, ClusterHarborConnection, Limits
from harborhook.api.kinds import CONNECTION_KINDS, KINDS
from harborhook.clock import ServerClock
from harborhook.harbor.client import HarborClient
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.transport import Fence, Transport
from harborhook.kube.gateway import Gateway
from harborhook.plan.access import host_of
from harborhook.plan.references import is_claim
from harborhook.reconcile.credentials import Admission
from harborhook.reconcile.links import Link, retire
from harborhook.reconcile.secrets import Secrets
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Cause, Queue
from harborhook.runtime.store import Body, Store
from harborhook.settings import Settings
from harborhook.telemetry import Metrics


class Wait(Exception):  # noqa: N818 - not an error: something else must happen first, and will wake the resource
    """Nothing can be said of the resource yet; `after` seconds later it can be asked again, if nothing wakes it."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__()
        self.after = after


@dataclass
class Surveys:
    """Looks at the resources of other operators."""

    began: float | None = None
    """When the last one did."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: dict[str, float] = field(default_factory=dict)
    """Since when new resources of ours wait for one, by UID."""
    refused: bool = False
    """This operator may not list what is beyond its namespaces."""
    left: dict[str, float] = field(default_factory=dict)
    """Since when resources of ours are known to be marked by another operator, by UID."""

    def forget(self, uid: str) -> None:
        self.waiting.pop(uid, None)
        self.left.pop(uid, None)


@dataclass
class Context:
    settings: Settings
    store: Store
    queue: Queue
    gateway: Gateway
    recorder: Recorder
    secrets: Secrets
    cluster: str
    """Name of this cluster in `creator` of the policies we make."""
    clock: ServerClock = field(default_factory=ServerClock)
    """The API server's."""
    links: dict[Key, Link] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    fence: Fence | None = None
    """Raises when this process must not write any more."""
    user_agent: str = "harborhook"
    limiters: dict[str, Limiter] = field(default_factory=dict)
    """By Harbor host, and by HarborConnection."""
    visited_connections: set[Key] = field(default_factory=set)
    """Connections that were looked at since the process started."""
    offers: dict[Key, tuple[object, ...]] = field(default_factory=dict)
    """What the resources of each connection were last told of it."""
    doubtful: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the store may differ from what exists: then everything is listed anew."""

    surveys: Surveys = field(default_factory=Surveys)
    """What was heard of other operators' resources."""

    def now(self) -> datetime:
        """By the API server's clock, in whole seconds, which is what Kubernetes' own times have."""
        return self.clock.now().replace(microsecond=0)

    def jittered(self, seconds: float) -> float:
        """Within 10 % of `seconds`, so that what started together does not stay in step."""
        return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    def load(self, key: Key) -> Resource | None:
        """The resource as last seen."""
        body = self.store.get(key)
        return KINDS[key.kind].model.model_validate(body) if body is not None else None

    # What happens to objects

    def saw(self, key: Key, body: Body, *, first: bool = False) -> None:
        """Takes in a version of one of our objects; visits it and wakes others if it matters."""
        if self.store.is_foreign(key):  # it has come into our selector
            self.store.remove(key)
        claims = self._claims(key)
        marked = self.is_left_to_another(key)
        is_relevant = self.store.upsert(key, body)
        if marked and not self.is_left_to_another(key):
            self.queue.add(key, Cause.CHANGE)
        if not is_relevant:
            return
        unseen = (body.get("status") or {}).get("observedGeneration") != body["metadata"].get("generation")
        self.queue.add(key, Cause.RESYNC if first and not unseen else Cause.CHANGE)
        if first:  # then everything is going to be visited anyway
            return
        if key.kind not in CONNECTION_KINDS:  # a connection is checked first, and then wakes its dependents itself
            self.wake(self.store.dependents(key))
        self._wake_rivals(key, claims | self._claims(key))

    def saw_foreign(self, key: Key, body: Body) -> None:
        """Takes in a version of an object that another operator works on; wakes ours for which it matters."""
        before, claims = self.store.get(key), self._claims(key)
        if not self.store.upsert_foreign(key, body):
            return
        self._wake_rivals(key, claims | self._claims(key))
        if key.kind == "HarborProject" and _place(before) != _place(body):
            self.wake(self.store.dependents(key))

    def forget(self, key: Key) -> None:
        """An object of ours is gone from the API."""
        references = self.store.references_of(key)
        body = self.store.remove(key)
        if body is None:
            return
        self.surveys.forget(body["metadata"].get("uid", ""))
        self.queue.drop(key)
        link = self.links.pop(key, None)
        if link is not None:
            retire(link.client)
        self.offers.pop(key, None)
        for link in self.links.values():
            link.news.pop(key, None)
            link.told.pop(key, None)
            link.listed.pop(key, None)
        self.metrics.forget(key)
        self.visited_connections.discard(key)
        self.wake(self.store.dependents(key))
        self._wake_rivals(key, {reference for reference in references if is_claim(reference)})
        # A connection or a project that is being deleted may have waited for this one.
        self.wake(ref for ref in references if ref.kind in KINDS and self._is_deleting(ref))
        if key.kind == "WebhookPolicy":
            self.tell_project(references)

    def tell_project(self, references: Iterable[Key]) -> None:
        """Lets the HarborProject among a policy's references count its policies anew."""
        for reference in references:
            if reference.kind == "HarborProject":
                self.queue.add(reference, Cause.NEWS)

    def saw_secret(self, key: Key, resource_version: str | None) -> None:
        """Takes in a version of a Secret or ConfigMap; None: it is gone."""
        if not self.secrets.saw(key, resource_version):
            return
        self.wake(self.store.dependents(key))
        if key == self.global_switch:
            self.wake(connection for kind in CONNECTION_KINDS for connection in self.store.all(kind))

    @property
    def global_switch(self) -> Key:
        """The ConfigMap that switches all notifications on or off."""
        return Key("ConfigMap", self.settings.namespace, self.settings.global_config_map)

    def wake(self, keys: Iterable[Key]) -> None:
        for key in keys:
            if not self.store.is_foreign(key):
                self.queue.add(key, Cause.DEPENDENCY)

    def wake_deeply(self, key: Key, *, per_second: float = math.inf) -> None:
        """Wakes the dependents of a connection, and the policies of its projects, which reach it through them."""
        dependents = self.store.dependents(key)
        indirect = (policy for project in dependents for policy in self.store.dependents(project))
        for number, dependent in enumerate(dict.fromkeys([*dependents, *indirect])):
            self.queue.add(dependent, Cause.DEPENDENCY, after=number / per_second)

    def wake_rivals(self, key: Key) -> None:
        """Lets everybody who claims the same object in Harbor look again."""
        self._wake_rivals(key, self._claims(key))

    def _wake_rivals(self, key: Key, claims: Iterable[Key]) -> None:
        self.wake({rival for claim in claims for rival in self.store.dependents(claim)} - {key})

    def _claims(self, key: Key) -> set[Key]:
        return {reference for reference in self.store.references_of(key) if is_claim(reference)}

    def _is_deleting(self, key: Key) -> bool:
        body = self.store.get(key)
        return body is not None and bool(body["metadata"].get("deletionTimestamp"))

    # Several operators in one cluster

    def is_left_to_another(self, key: Key) -> bool:
        """Whether another operator has marked the resource as its own."""
        body = self.store.get(key) or {"metadata": {}}
        mark = (body["metadata"].get("annotations") or {}).get(ANNOTATION_SHARD, "")
        return mark not in ("", self.settings.mark)

    def reports_on(self, key: Key) -> bool:
        """Whether this operator writes the status: not of a connection that several use, of whom another one does."""
        if self.settings.manage_connections or key.kind not in CONNECTION_KINDS:
            return True
        return key.kind == "HarborConnection" and not self.settings.resource_selector

    def finalizer(self, key: Key) -> str:
        """Each operator that uses a connection keeps it for its own resources, by a finalizer of its own."""
        return FINALIZER if self.reports_on(key) else f"{FINALIZER}-{self.settings.shard}"

    # Writing to Kubernetes

    async def patch(self, key: Key, uid: str, patch: dict[str, Any]) -> Resource:
        """Patches the object with that UID and returns it as it is now."""
        self._check_is_still(key, uid)
        return self._took(key, await self.gateway.patch(key, patch))

    async def patch_status(self, key: Key, uid: str, patch: dict[str, Any]) -> Resource:
        self._check_is_still(key, uid)
        return self._took(key, await self.gateway.patch_status(key, patch))

    def _check_is_still(self, key: Key, uid: str) -> None:
        """An object that was made anew under the name, while we asked Harbor for the old one, must not inherit anything
        and has a visit of its own coming. A patch of a status does not let the API server compare UIDs."""
        body = self.store.get(key)
        if body is None or body["metadata"].get("uid") != uid:
            raise Wait

    def _took(self, key: Key, body: Body) -> Resource:
        self.store.absorb(key, body)
        return KINDS[key.kind].model.model_validate(body)

    # Clients of Harbor

    def client_for(self, connection: AnyConnection, admission: Admission) -> HarborClient:
        limiters = self.limiters_for(connection)
        return HarborClient(
            Transport(
                connection.spec.url,
                admission.credentials,
                tls=admission.tls,
                headers=dict(admission.headers),
                limiters=limiters,
                observer=self.metrics.count_request,
                fence=self.fence,
                user_agent=self.user_agent,
            )
        )

    def limiters_for(self, connection: AnyConnection) -> tuple[Limiter, ...]:
        """The limiter of the Harbor host, and a HarborConnection's own before it.

        A host's limits are those of its ClusterHarborConnection: a team's connection cannot raise them.
        """
        host = host_of(connection.spec.url) or ""
        limits = connection.spec.limits
        if isinstance(connection, ClusterHarborConnection):
            return (self._limiter(host, limits),)
        return self._limiter(str(connection.key), limits), self.limiters.setdefault(host, Limiter(*_numbers(Limits())))

    def _limiter(self, name: str, limits: Limits) -> Limiter:
        limiter = self.limiters.setdefault(name, Limiter(*_numbers(limits)))
        limiter.configure(*_numbers(limits))
        return limiter


def _place(body: Body | None) -> tuple[object, ...]:
    """What policies need to know of their project."""
    status = (body or {}).get("status") or {}
    return status.get("projectID"), status.get("projectName"), str(status.get("connection"))


def _numbers(limits: Limits) -> tuple[int, int]:
    return limits.max_concurrent_requests, limits.requests_per_second
