"""Reads the ConfigMap of the global switch over all notifications.

`data.enabled` applies to every Harbor, `data.enabled.<connection>` to the Harbor of one ClusterHarborConnection. The
operator enforces the switch; `harborhook global` shows and sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GENERAL = "enabled"
NAMED = "enabled."


@dataclass(frozen=True)
class SwitchRequest:
    """The value that the ConfigMap requests for one Harbor."""

    enabled: bool | None
    """None: nothing is enforced."""
    complaints: tuple[str, ...] = field(default=())
    """Errors in the ConfigMap, as sentences for its owner."""
    malformed: bool = False
    """The applicable value cannot be parsed: the last valid one stays in force."""


def switch_request(data: Mapping[str, bytes] | None, connections: Iterable[str]) -> SwitchRequest:
    """Returns the value for the Harbor that these ClusterHarborConnections reach. `data` is None if the ConfigMap does
    not exist.

    A value for a connection takes precedence over the general one. If connections to the same Harbor have different
    values, false takes precedence.
    """
    values = {key: _parse(value) for key, value in _relevant(data or {}, connections).items()}
    bad = [key for key, value in values.items() if value is None]
    if bad:
        return SwitchRequest(None, tuple(_malformed(key) for key in bad), malformed=True)
    if len(set(values.values())) > 1:
        return SwitchRequest(False, (f"{', '.join(values)} speak of the same Harbor and differ: false is used.",))
    return SwitchRequest(next(iter(values.values()), None))


def _relevant(data: Mapping[str, bytes], connections: Iterable[str]) -> Mapping[str, bytes]:
    named = [f"{NAMED}{name}" for name in sorted(connections) if f"{NAMED}{name}" in data]
    return {key: data[key] for key in named or [GENERAL] if key in data}


def _parse(value: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(value.strip().lower())


def _malformed(key: str) -> str:
    return f'{key} is neither "true" nor "false": write one of them; until then the last good value stays.'
