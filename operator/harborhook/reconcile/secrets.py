"""Values of Secrets and ConfigMaps, read on demand and cached until the watch reports another version.

If Secrets are not watched, nothing is cached: each visit reads them, so a rotation takes effect at the next resync.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason

Data = Mapping[str, bytes]
Read = Callable[[Key], Awaitable[tuple[str, Data] | None]]
"""Fetches resourceVersion and data of a Secret or ConfigMap; None if it does not exist."""


@dataclass
class Secrets:
    read: Read
    watched: Callable[[Key], bool]
    """Whether the watch reports changes of this object."""
    _kept: dict[Key, tuple[str, Data] | None] = field(default_factory=dict, repr=False)
    _readers: Counter[Key] = field(default_factory=Counter)
    _overtaken: set[Key] = field(default_factory=set)
    """Objects that the watch reported while they were being read: the value read may be outdated."""

    async def value(self, source: Key, key: str) -> bytes:
        """Raises NotReady with SecretNotFound or SecretKeyMissing."""
        return (await self.versioned(source, key))[1]

    async def versioned(self, source: Key, key: str) -> tuple[str, bytes]:
        """Returns the object's resourceVersion and the value of a key. Raises the same errors as `value`."""
        found = await self._found(source)
        if found is None:
            raise NotReady(
                Reason.SECRET_NOT_FOUND,
                f"{source.kind} {source.namespace}/{source.name} does not exist: create it, or name another one.",
            )
        version, data = found
        if key not in data:
            raise NotReady(
                Reason.SECRET_KEY_MISSING,
                f"{source.kind} {source.namespace}/{source.name} has no key {key!r}: add it, or name another key.",
            )
        return version, data[key]

    def saw(self, source: Key, resource_version: str | None) -> bool:
        """Takes in a version (None: deleted). Returns whether a value in use may have changed."""
        if source in self._readers:
            self._overtaken.add(source)
            self._kept.pop(source, None)
            return True
        if source not in self._kept:
            return False
        kept = self._kept[source]
        if (kept[0] if kept else None) == resource_version:
            return False
        del self._kept[source]
        return True

    async def data(self, source: Key) -> Data | None:
        """Returns all keys; None if the object does not exist."""
        found = await self._found(source)
        return found[1] if found else None

    async def _found(self, source: Key) -> tuple[str, Data] | None:
        return self._kept[source] if source in self._kept else await self._read(source)

    async def _read(self, source: Key) -> tuple[str, Data] | None:
        self._readers[source] += 1
        try:
            found = await self.read(source)
            if self.watched(source) and source not in self._overtaken:
                self._kept[source] = found
            return found
        finally:
            self._readers[source] -= 1
            if not self._readers[source]:
                del self._readers[source]
                self._overtaken.discard(source)
