"""The last seen state of all our objects, and their dependencies.

reconcile/changes.py fills it from lists and watches; visits add the answers to their own writes. `references` returns
the keys that an object depends on: Secrets, connections, projects, and its claim to an object in Harbor, so that rivals
are woken when the claim changes.
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
    """Objects of other operators: stored for their claims and specs, never visited."""
    latest: int = 0
    """The highest resourceVersion that any stored body has had."""

    def get(self, key: Key) -> Body | None:
        return self._bodies.get(key)

    def version(self, key: Key) -> int:
        """Returns the resourceVersion of the stored body; 0 if there is none, or none that is a number."""
        body = self._bodies.get(key)
        return version_of(body) if body is not None else 0

    def __contains__(self, key: Key) -> bool:
        return key in self._bodies

    def all(self, kind: str | None = None) -> list[Key]:
        """Returns the keys of all objects that are not foreign; of one kind if `kind` is given."""
        return [key for key in self._bodies if (kind is None or key.kind == kind) and key not in self._foreign]

    def dependents(self, key: AnyKey) -> list[Key]:
        """Returns the objects that refer to `key`, in a stable order."""
        return sorted(self._dependents.get(key, ()))

    def own_dependents(self, key: AnyKey) -> list[Key]:
        """Returns the dependents that are not foreign."""
        return [dependent for dependent in self.dependents(key) if dependent not in self._foreign]

    @property
    def foreign(self) -> frozenset[Key]:
        return frozenset(self._foreign)

    def is_foreign(self, key: Key) -> bool:
        return key in self._foreign

    def upsert_foreign(self, key: Key, body: Body) -> bool:
        """Stores the body of another operator's object. Returns whether it is new or newer than the stored one."""
        before = self._bodies.get(key)
        self._foreign.add(key)
        self.upsert(key, body)
        return self._bodies[key] is not before

    def references_of(self, key: Key) -> frozenset[AnyKey]:
        return self._references.get(key, frozenset())

    def upsert(self, key: Key, body: Body) -> bool:
        """Stores a body unless an equal or newer one is stored. Returns whether the object has to be visited because of
        it."""
        old = self._bodies.get(key)
        if old is not None and not _is_newer(body, old):
            return False
        self._bodies[key] = slim(body)
        self.latest = max(self.latest, version_of(body))
        self._refer(key, frozenset(self.references(body)))
        return old is None or _signature(old) != _signature(body)

    def knows(self, key: Key, resource_version: str) -> bool:
        """Whether this version of an object, or a newer one, is stored, so that `upsert` would change nothing. Foreign
        objects and versions that are not numbers count as unknown."""
        body = self._bodies.get(key)
        if body is None or key in self._foreign:
            return False
        try:
            return int(resource_version) <= int(body["metadata"]["resourceVersion"])
        except (KeyError, ValueError):
            return False

    def absorb(self, key: Key, body: Body) -> None:
        """Stores the answer to our own write. An answer that also contains another client's change is skipped: the
        watch reports that change again, and then the object is visited."""
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


def version_of(body: Body) -> int:
    """Returns the resourceVersion of an object or a list as a number; 0 if it is not one."""
    version = str(body["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdecimal() else 0


def slim(body: Body) -> Body:
    """Returns the body without the parts that are never read here and only cost memory."""
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
    """Whether the body is newer than the stored one. A watch can deliver an older version than the answer to our own
    write, which was stored first. A list in progress can deliver a deleted object of the same name.

    Resource versions are compared as numbers, also between two objects of a kind. Kubernetes 1.35 made that official,
    and etcd always allowed it.
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
    """Returns the user's changes that require a visit; status and labels are not included."""
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        *(annotations.get(name) for name in REQUEST_ANNOTATIONS),
    )
