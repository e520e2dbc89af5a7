"""The objects that every reconciler works with, in one `Context`; lifecycle.py creates it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harborhook.api.base import ANNOTATION_SHARD, FINALIZER, Key, Metadata, Resource
from harborhook.api.kinds import CONNECTION_KINDS, KINDS
from harborhook.api.names import Body
from harborhook.clock import ServerClock
from harborhook.kube.gateway import Gateway
from harborhook.reconcile.clients import Clients
from harborhook.reconcile.links import Link, Offer
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.surveys import Surveys
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings
from harborhook.telemetry import Metrics

logger = logging.getLogger(__name__)

MODELS = 512
"""Maximum number of cached models: validating one takes longer than the rest of a quiet visit spends on it."""


class Wait(Exception):  # noqa: N818 - not an error: something else must happen first, and will wake the resource
    """The resource has to wait. It is visited again after `after` seconds, or when another change wakes it."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__()
        self.after = after


@dataclass
class Models:
    """Caches the models of the resources loaded last. They are frozen, so many visits can share one."""

    limit: int = MODELS
    _kept: dict[Key, tuple[Body, Resource]] = field(default_factory=dict)
    """Each model with the body that it was made from, the last used one at the end."""

    def of(self, key: Key, body: Body) -> Resource:
        """Returns the model of a body that no caller changes. Raises ValidationError."""
        made_of, model = self._kept.pop(key, (None, None))
        if model is None or made_of is not body:
            model = KINDS[key.kind].model.model_validate(body)
        self._kept[key] = body, model
        if len(self._kept) > self.limit:
            del self._kept[next(iter(self._kept))]
        return model


@dataclass
class Context:
    settings: Settings
    store: Store
    queue: Queue
    gateway: Gateway
    recorder: Recorder
    secrets: Secrets
    cluster: str
    """Name of this cluster in `creator` of the policies that we create."""
    clock: ServerClock = field(default_factory=ServerClock)
    """The API server's clock."""
    metrics: Metrics = field(default_factory=Metrics)
    clients: Clients = field(default_factory=Clients)
    fence: Callable[[], None] | None = None
    """Called right before a request to a receiver; raises LeadershipLostError once another operator may work."""
    sending: Queue = field(default_factory=lambda: Queue(clock=time.monotonic))
    """The requests to receivers that have to be sent."""
    links: dict[Key, Link] = field(default_factory=dict)
    offered: dict[Key, Offer | None] = field(default_factory=dict)
    """The offer that the resources of each connection were last notified of. Contains only connections checked
    since the process started."""
    models: Models = field(default_factory=Models)
    surveys: Surveys = field(default_factory=Surveys)
    doubtful: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the store may differ from the existing objects; then everything is listed again."""
    is_restored: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when Kubernetes has gone back to an earlier state; then the process ends."""

    def notice_restore(self, what: object, before: int, now: int) -> None:
        """Notices that etcd was restored from a backup: `now` was read after `before`, but is lower. 0: unknown."""
        if 0 < now < before and not self.is_restored.is_set():
            self.is_restored.set()
            logger.warning(
                "The resourceVersion of %s has gone back from %d to %d: etcd was restored from a backup",
                what,
                before,
                now,
            )

    def now(self) -> datetime:
        """The time by the API server's clock, in whole seconds, as in Kubernetes' own timestamps."""
        return self.clock.now().replace(microsecond=0)

    def jittered(self, seconds: float) -> float:
        """Returns `seconds` with 10 % of jitter, so that resources that started together do not stay in step."""
        return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    def load(self, key: Key) -> Resource | None:
        """Returns the resource as last seen."""
        body = self.store.get(key)
        return self.models.of(key, body) if body is not None else None

    @property
    def global_switch(self) -> Key:
        """The ConfigMap that switches all notifications on or off."""
        return Key("ConfigMap", self.settings.namespace, self.settings.global_config_map)

    # Several operators in one cluster

    def reports_on(self, key: Key) -> bool:
        """Whether this operator writes the status. If several operators use one connection, only one of them writes its
        status."""
        if self.settings.manage_connections or key.kind not in CONNECTION_KINDS:
            return True
        return key.kind == "HarborConnection" and not self.settings.resource_selector

    def is_left_to_another(self, body: Body) -> bool:
        """Whether another operator has marked the object as its own."""
        mark = (body["metadata"].get("annotations") or {}).get(ANNOTATION_SHARD, "")
        return mark not in ("", self.settings.mark)

    def finalizer(self, key: Key) -> str:
        """Returns the finalizer. Each operator that uses a connection needs a separate one, to keep it for its own
        resources."""
        return FINALIZER if self.reports_on(key) else f"{FINALIZER}-{self.settings.shard}"

    # Writing to Kubernetes

    async def patch(self, key: Key, uid: str, patch: dict[str, Any]) -> Metadata:
        """Patches the object with that UID and returns its new metadata. Raises Wait if the UID has changed."""
        self._check_is_still(key, uid)
        body = await self.gateway.patch(key, patch)
        self._absorb(key, body)
        return Metadata.model_validate(body["metadata"])

    async def patch_status(self, key: Key, uid: str, patch: dict[str, Any]) -> None:
        """Patches the status of the object with that UID. Raises Wait if the UID has changed."""
        self._check_is_still(key, uid)
        self._absorb(key, await self.gateway.patch_status(key, patch))

    def _absorb(self, key: Key, body: dict[str, Any]) -> None:
        """Stores the answer to our own write. An answer with another operator's mark is skipped, as one with a user's
        change: the watch reports it again, and only then the mark takes effect."""
        if not self.is_left_to_another(body):
            self.store.absorb(key, body)

    def _check_is_still(self, key: Key, uid: str) -> None:
        """Raises Wait if the object was recreated under its name while we sent requests to Harbor for the old one. The
        new object must not inherit the result, and is visited anyway. A status patch cannot make the API server compare
        UIDs."""
        body = self.store.get(key)
        if body is None or body["metadata"].get("uid") != uid:
            raise Wait
