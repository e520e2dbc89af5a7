"""What every reconciler works with."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harborhook.api.base import FINALIZER, Key, Metadata, Resource
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

MODELS = 512
"""Resources of which the model is kept: validating one takes longer than all else that a quiet visit does with it."""


class Wait(Exception):  # noqa: N818 - not an error: something else must happen first, and will wake the resource
    """The resource has to wait; it is visited again after `after` seconds, or when something wakes it."""

    def __init__(self, after: float | None = None) -> None:
        super().__init__()
        self.after = after


@dataclass
class Models:
    """The models of the resources that were loaded last. They are frozen, so many visits can share one."""

    limit: int = MODELS
    _kept: dict[Key, tuple[Body, Resource]] = field(default_factory=dict)
    """With the body that each was made of, the one used last at the end."""

    def of(self, key: Key, body: Body) -> Resource:
        """The model of a body that nobody changes. Raises ValidationError."""
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
    """Name of this cluster in `creator` of the policies we make."""
    clock: ServerClock = field(default_factory=ServerClock)
    """The API server's."""
    metrics: Metrics = field(default_factory=Metrics)
    clients: Clients = field(default_factory=Clients)
    fence: Callable[[], None] | None = None
    """Called right before a receiver is sent anything; raises LeadershipLostError once another operator may work."""
    sending: Queue = field(default_factory=lambda: Queue(clock=time.monotonic))
    """What is to be sent to receivers."""
    links: dict[Key, Link] = field(default_factory=dict)
    offered: dict[Key, Offer | None] = field(default_factory=dict)
    """What the resources of each connection were last notified of; only of those checked since the process started."""
    models: Models = field(default_factory=Models)
    surveys: Surveys = field(default_factory=Surveys)
    doubtful: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the store may differ from what exists: then everything is listed again."""

    def now(self) -> datetime:
        """By the API server's clock, in whole seconds, which is what Kubernetes' own times have."""
        return self.clock.now().replace(microsecond=0)

    def jittered(self, seconds: float) -> float:
        """Within 10 % of `seconds`, so that what started together does not stay in step."""
        return seconds * random.uniform(0.9, 1.1)  # noqa: S311 - no secret

    def load(self, key: Key) -> Resource | None:
        """The resource as last seen."""
        body = self.store.get(key)
        return self.models.of(key, body) if body is not None else None

    @property
    def global_switch(self) -> Key:
        """The ConfigMap that switches all notifications on or off."""
        return Key("ConfigMap", self.settings.namespace, self.settings.global_config_map)

    # Several operators in one cluster

    def reports_on(self, key: Key) -> bool:
        """Whether this operator writes the status: not of a connection that several use, of whom another one does."""
        if self.settings.manage_connections or key.kind not in CONNECTION_KINDS:
            return True
        return key.kind == "HarborConnection" and not self.settings.resource_selector

    def finalizer(self, key: Key) -> str:
        """Each operator that uses a connection keeps it for its own resources, by a finalizer of its own."""
        return FINALIZER if self.reports_on(key) else f"{FINALIZER}-{self.settings.shard}"

    # Writing to Kubernetes

    async def patch(self, key: Key, uid: str, patch: dict[str, Any]) -> Metadata:
        """Patches the object with that UID and returns its metadata as they are now."""
        self._check_is_still(key, uid)
        body = await self.gateway.patch(key, patch)
        self.store.absorb(key, body)
        return Metadata.model_validate(body["metadata"])

    async def patch_status(self, key: Key, uid: str, patch: dict[str, Any]) -> None:
        """Patches the status of the object with that UID."""
        self._check_is_still(key, uid)
        self.store.absorb(key, await self.gateway.patch_status(key, patch))

    def _check_is_still(self, key: Key, uid: str) -> None:
        """An object that was recreated under the name, while we asked Harbor for the old one, must not inherit anything
        and has a visit of its own coming. A patch of a status does not let the API server compare UIDs."""
        body = self.store.get(key)
        if body is None or body["metadata"].get("uid") != uid:
            raise Wait
