"""The switch over all notifications: what its ConfigMap asks for.

A cluster's administrator has one ConfigMap: `data.enabled` for every Harbor, `data.enabled.<connection>` for the one
that a ClusterHarborConnection reaches. Its absence enforces nothing; a value that cannot be understood changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GENERAL = "enabled"
NAMED = "enabled."


@dataclass(frozen=True)
class Wish:
    """What the ConfigMap asks for one Harbor."""

    enabled: bool | None
    """None: nothing is enforced."""
    complaints: tuple[str, ...] = field(default=())
    """What is wrong with the ConfigMap, as sentences for its owner."""
    malformed: bool = False
    """The value that would count cannot be understood: the last good one stays."""


def wish(data: Mapping[str, bytes] | None, connections: Iterable[str]) -> Wish:
    """The value for the Harbor that the named ClusterHarborConnections reach; `data` None: there is no map.

    A value for a connection goes before the general one. Where several connections to one Harbor are given different
    values, false wins.
    """
    if data is None:
        return Wish(None)
    named = [f"{NAMED}{name}" for name in sorted(connections) if f"{NAMED}{name}" in data]
    keys = named or [key for key in (GENERAL,) if key in data]
    if not keys:
        return Wish(None)
    values = {key: _parse(data[key]) for key in keys}
    bad = [key for key, value in values.items() if value is None]
    if bad:
        return Wish(None, tuple(_malformed(key) for key in bad), malformed=True)
    if len(set(values.values())) > 1:
        return Wish(False, (f"{', '.join(keys)} speak of the same Harbor and differ: false is used.",))
    return Wish(next(iter(values.values())))


def _parse(value: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(value.strip().lower())


def _malformed(key: str) -> str:
    return f'{key} is neither "true" nor "false": write one of them; until then the last good value stays.'
