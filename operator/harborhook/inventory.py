"""The objects that exist in Kubernetes: listed at the start and at intervals, kept current by watch events.

It takes in pages of lists from the gateway and events from the kopf handlers. It calls `changes`, which store and
forget objects. The first watches continue the first listing. A later watch that begins with a list of kopf misses
deletions, so it leads to another listing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from harborhook.api.base import Key
from harborhook.api.kinds import KINDS
from harborhook.api.names import Body
from harborhook.kube.gateway import KubeError
from harborhook.reconcile import changes
from harborhook.reconcile.context import Context
from harborhook.reconcile.shards import SHARDED_KINDS, survey
from harborhook.runtime.store import version_of
from harborhook.settings import Settings

logger = logging.getLogger(__name__)

VERSION_INTERVAL = 15.0
"""Seconds between two comparisons of the cluster's version with the one before."""
RELIST_DELAY = 5.0
"""Seconds between the first doubt and the next listing, so that one listing serves many doubts."""


@dataclass(frozen=True)
class View:
    """The objects that this operator sees, by its settings."""

    settings: Settings

    @property
    def namespaces(self) -> list[str]:
        """The namespaces to watch; empty: all. Our own namespace has the global ConfigMap and credentials."""
        watched = self.settings.watch_namespaces
        return sorted({*watched, self.settings.namespace}) if watched else []

    def includes(self, key: Key) -> bool:
        """Whether the operator works on the resource. kopf watches each kind in all `namespaces`, which include our
        own."""
        watched = self.settings.watch_namespaces
        return not watched or not key.namespace or key.namespace in watched

    def selector(self, kind: str) -> str:
        """Returns the label selector for the objects of a kind; empty for all."""
        return self.settings.resource_selector if kind in SHARDED_KINDS else ""

    @property
    def source_kinds(self) -> list[str]:
        """The watched kinds that values come from: Secrets and ConfigMaps."""
        return ["ConfigMap", "Secret"] if self.settings.watch_secrets else ["ConfigMap"]

    def watches_source(self, source: Key) -> bool:
        """Whether the watch reports changes of this Secret or ConfigMap."""
        in_view = not self.namespaces or source.namespace in self.namespaces
        return in_view and source.kind in self.source_kinds


@dataclass
class Inventory:
    context: Context
    view: View
    _deleted: set[str] = field(default_factory=set)
    """UIDs that the watch has reported as deleted since the last listing began."""
    _reported: set[Key] = field(default_factory=set)
    """Objects that the watch has reported as existing since then: the list may show an earlier moment."""
    _version: int = 0
    """The cluster's resourceVersion as last read."""
    _listed: dict[str, str | None] = field(default_factory=dict)
    """The paths of all lists, with the version of the first listing until a watch continues it."""

    async def list_all(self, *, first: bool = False) -> None:
        """Takes in all existing objects and forgets the others."""
        context = self.context
        before = {key: context.store.version(key) for key in context.store.all()}
        seen = set()
        self._deleted.clear()
        self._reported.clear()
        for kind in KINDS.values():
            for namespace in (self.view.settings.watch_namespaces if kind.namespaced else []) or [""]:
                async for body in self._list(kind.name, namespace, continued=first):
                    if body["metadata"]["uid"] in self._deleted:  # deleted while the page was being read
                        continue
                    key = key_of(body)
                    seen.add(key)
                    context.notice_restore(key, before.get(key, 0), version_of(body))
                    changes.saw(context, key, body, first=first)
        for gone in before.keys() - seen - self._reported:
            changes.forget(context, gone)
        await survey(context)

    def _list(self, kind: str, namespace: str, *, continued: bool) -> AsyncIterator[Body]:
        """Lists the objects of a kind. `continued`: a watch will continue the list."""
        gateway, selector = self.context.gateway, self.view.selector(kind)
        if not continued:
            return gateway.list(kind, namespace, selector)
        record = partial(self._listed.__setitem__, gateway.path_of(kind, namespace))
        return gateway.list(kind, namespace, selector, version=record)

    async def keep_current(self) -> None:
        """Lists everything at intervals, and soon after the watch may have missed a deletion."""
        doubtful = self.context.doubtful
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.context.jittered(self.view.settings.relist_interval)):
                    await doubtful.wait()
            await asyncio.sleep(RELIST_DELAY)
            doubtful.clear()
            try:
                await self.list_all()
            except KubeError as error:
                logger.info("%s; tried again in %.0f s", error, RELIST_DELAY)
                doubtful.set()

    async def watch_for_restore(self) -> None:
        """Notices within seconds that etcd was restored from a backup.

        The watches do not: from a version that the API server has not reached again, it sends neither events nor
        errors (measured with 1.34), and kopf repeats the request. Meanwhile the store would ignore the restored objects
        as outdated. A restore that keeps versions growing (`etcdutl snapshot restore --bump-revision`) ends the
        watches, and the listing that follows finds older versions of changed objects.
        """
        while True:
            try:
                await self._read_version()
            except KubeError as error:
                logger.debug("The cluster's version is not known: %s", error)
            await asyncio.sleep(VERSION_INTERVAL)

    async def _read_version(self) -> None:
        before = max(self._version, self.context.store.latest)
        self._version = version_of(await self.context.gateway.present_version())
        self.context.notice_restore("the cluster", before, self._version)

    def saw(self, body: Mapping[str, Any]) -> None:
        """Takes in a new or changed object of ours."""
        key = key_of(body)
        if not self.view.includes(key):
            return
        self._deleted.discard(body["metadata"]["uid"])  # it may have left our selector and come back
        self._reported.add(key)
        changes.saw(self.context, key, dict(body))

    def knows(self, key: Key, resource_version: str) -> bool:
        """Whether `saw` would find nothing new in this version of one of our objects."""
        return self.context.store.knows(key, resource_version)

    def saw_deleted(self, body: Mapping[str, Any]) -> None:
        """Takes in that an object of ours was deleted, or has left our selector."""
        key = key_of(body)
        if not self.view.includes(key):
            return
        uid = body["metadata"]["uid"]
        self._deleted.add(uid)
        stored = self.context.store.get(key)
        # kopf keeps the order of events of each UID, not of each name.
        if stored is not None and stored["metadata"]["uid"] != uid:
            return
        self._reported.discard(key)
        changes.forget(self.context, key)
        if self.view.selector(key.kind):
            self.doubt()  # it may still exist with other labels

    def saw_source(self, source: Key, resource_version: str | None) -> None:
        """Takes in that a Secret or ConfigMap is new, has changed, or was deleted (None)."""
        changes.saw_secret(self.context, source, resource_version)

    def watch_from(self, path: str) -> str | None:
        """Returns the version of the first listing, which the first watch at this path continues. Later returns None,
        and schedules a listing: a watch that begins with a list does not report earlier deletions."""
        if path not in self._listed:  # kopf watches each kind in our own namespace too
            return None
        version, self._listed[path] = self._listed[path], None
        if not version:
            self.doubt()
        return version or None

    def doubt(self) -> None:
        """Schedules a listing."""
        self.context.doubtful.set()


def key_of(body: Mapping[str, Any]) -> Key:
    metadata = body["metadata"]
    return Key(body["kind"], metadata.get("namespace") or "", metadata["name"])
