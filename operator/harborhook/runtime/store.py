"""The last seen state of everything of ours, and who depends on what.

Filled by the watch and by the answers to our own writes. `references` tells, for an object's body, the keys it depends
on: Secrets, connections, projects, and the claims it makes on an object in Harbor (so that rivals hear of each other).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from harborhook.api.base import (
    ANNOTATION_RECONCILE_AT,
    ANNOTATION_REDELIVER,
    ANNOTATION_RELEASE,
    ANNOTATION_TEST_ENDPOINT,
    AnyKey,
    Key,
)
from harborhook.api.names import Body


@dataclass
class Store:
    references: Callable[[Body], Iterable[AnyKey]]
    _bodies: dict[Key, Body] = field(default_factory=dict)
    _references: dict[Key, frozenset[AnyKey]] = field(default_factory=dict)
    _dependents: defaultdict[AnyKey, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _foreign: set[Key] = field(default_factory=set)
    """What another operator works on: known for what it claims and declares, never visited."""

    def get(self, key: Key) -> Body | None:
        return self._bodies.get(key)

    def __contains__(self, key: Key) -> bool:
        return key in self._bodies

    def all(self, kind: str | None = None) -> list[Key]:
        """The keys of all objects that are not foreign, or of those of one kind."""
        return [key for key in self._bodies if (kind is None or key.kind == kind) and key not in self._foreign]

    def dependents(self, key: AnyKey) -> list[Key]:
        """Who refers to `key`, in a stable order."""
        return sorted(self._dependents.get(key, ()))

    def own_dependents(self, key: AnyKey) -> list[Key]:
        """The same without foreign ones."""
        return [dependent for dependent in self.dependents(key) if dependent not in self._foreign]

    @property
    def foreign(self) -> frozenset[Key]:
        return frozenset(self._foreign)

    def is_foreign(self, key: Key) -> bool:
        return key in self._foreign

    def upsert_foreign(self, key: Key, body: Body) -> bool:
        """Stores the body of an object that another operator works on; whether it is new or newer."""
        before = self._bodies.get(key)
        self._foreign.add(key)
        self.upsert(key, body)
        return self._bodies[key] is not before

    def references_of(self, key: Key) -> frozenset[AnyKey]:
        return self._references.get(key, frozenset())

    def upsert(self, key: Key, body: Body) -> bool:
        """Stores a body unless an equal or newer one is there; whether the object has to be visited for it."""
        old = self._bodies.get(key)
        if old is not None and not _is_newer(body, old):
            return False
        self._bodies[key] = slim(body)
        self._refer(key, frozenset(self.references(body)))
        return old is None or _signature(old) != _signature(body)

    def knows(self, key: Key, resource_version: str) -> bool:
        """Whether this version of an object that is not foreign is stored, or a newer one: `upsert` would change
        nothing. Versions that are no numbers are not compared."""
        body = self._bodies.get(key)
        if body is None or key in self._foreign:
            return False
        try:
            return int(resource_version) <= int(body["metadata"]["resourceVersion"])
        except (KeyError, ValueError):
            return False

    def absorb(self, key: Key, body: Body) -> None:
        """Stores the answer to a write of ours. One that shows somebody else's change too is left to the watch, which
        brings it again and then has it visited."""
        old = self._bodies.get(key)
        if old is not None and _signature(old) == _signature(body):
            self.upsert(key, body)

    def remove(self, key: Key) -> Body | None:
        self._foreign.discard(key)
        body = self._bodies.pop(key, None)
        self._refer(key, frozenset())
        return body

    def _refer(self, key: Key, wanted: frozenset[AnyKey]) -> None:
        before = self._references.pop(key, frozenset())
        for gone in before - wanted:
            self._dependents[gone].discard(key)
            if not self._dependents[gone]:
                del self._dependents[gone]
        for added in wanted - before:
            self._dependents[added].add(key)
        if wanted:
            self._references[key] = wanted


def slim(body: Body) -> Body:
    """The body without what only costs memory here."""
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations:
        # kubectl's copy of the whole object
        metadata["annotations"] = {
            name: value
            for name, value in annotations.items()
            if name != "kubectl.kubernetes.io/last-applied-configuration"
        }
    return {**body, "metadata": metadata}


def _is_newer(body: Body, old: Body) -> bool:
    """A watch can hand out an older version than the answer to our own write, which came first; and a list that was
    under way can hand out the object that had the name before.

    Resource versions are compared as numbers, also between two objects of a kind, which Kubernetes 1.35 made official
    and etcd always gave.
    """
    old_meta, new_meta = old["metadata"], body["metadata"]
    try:
        return int(new_meta["resourceVersion"]) > int(old_meta["resourceVersion"])
    except (KeyError, ValueError):
        return any(new_meta.get(name) != old_meta.get(name) for name in ("uid", "resourceVersion"))


REQUEST_ANNOTATIONS = (
    ANNOTATION_RECONCILE_AT,
    ANNOTATION_REDELIVER,
    ANNOTATION_RELEASE,
    ANNOTATION_TEST_ENDPOINT,
)


def _signature(body: Body) -> tuple[Any, ...]:
    """What a person can change that must be acted upon; a status or a label is not in it."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        *(annotations.get(name) for name in REQUEST_ANNOTATIONS),
    )
