"""The global switch as users see it: its ConfigMap, and the effect on each connection. Called by commands/switching.py.

The ConfigMap is interpreted in plan/global_switch.py, for the operator and for these commands.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harborhook.api.names import Body
from harborhook.commands.asking import PAUSE, WaitOptions
from harborhook.commands.cluster import Cluster, NotPermittedError
from harborhook.commands.failures import FailedError
from harborhook.commands.health import State, health
from harborhook.commands.naming import argument_of
from harborhook.commands.overview import row
from harborhook.commands.owned_fields import check_owner
from harborhook.commands.tables import Block, Cell, Line, Table
from harborhook.plan.global_switch import GENERAL, NAMED, switch_request


@dataclass(frozen=True)
class ConfigMapRef:
    """Namespace and name of the ConfigMap."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"ConfigMap {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Switch:
    """The ConfigMap and all connections. `map_body` None: there is no ConfigMap. `notes`: missing rights."""

    ref: ConfigMapRef
    map_body: Body | None
    connections: Sequence[Body]
    policies: Sequence[Body]
    notes: Sequence[str] = field(default=())

    @property
    def data(self) -> dict[str, str]:
        return dict((self.map_body or {}).get("data") or {})


def read(cluster: Cluster, ref: ConfigMapRef, *, must_read_map: bool) -> Switch:
    """Raises FailedError if the caller may read nothing."""
    notes: list[str] = []
    map_body: Body | None = None
    try:
        map_body = cluster.config_map(ref.namespace, ref.name)
    except NotPermittedError as refusal:
        if must_read_map:
            raise
        notes.append(str(refusal))
    found = {}
    for kind in ("ClusterHarborConnection", "HarborConnection", "WebhookPolicy"):
        try:
            found[kind] = [{"kind": kind, **body} for body in cluster.objects(kind)]
        except NotPermittedError as refusal:
            found[kind] = []
            notes.append(str(refusal))
    connections = [*found["ClusterHarborConnection"], *found["HarborConnection"]]
    return Switch(ref, map_body, connections, found["WebhookPolicy"], notes)


# Showing


def wire(switch: Switch) -> dict[str, Any]:
    return {
        "configMap": {"namespace": switch.ref.namespace, "name": switch.ref.name},
        "exists": switch.map_body is not None,
        "data": {name: value for name, value in switch.data.items() if _is_ours(name)},
        "connections": [_connection_wire(switch, body) for body in switch.connections],
        "notes": list(switch.notes),
    }


def _connection_wire(switch: Switch, body: Body) -> dict[str, Any]:
    notifications = (body.get("status") or {}).get("notifications") or {}
    stated = {
        "kind": body["kind"],
        "namespace": body["metadata"].get("namespace"),
        "name": body["metadata"]["name"],
        "asked": _asked(switch, body),
        **{name: notifications.get(name) for name in ("enabled", "source", "enforcement", "message")},
        "policies": len(_policies_of(switch, body)),
    }
    return {name: value for name, value in stated.items() if value not in (None, "")}


def blocks(switch: Switch) -> list[Block]:
    table = Table(("CONNECTION", "ASKED", "NOTIFICATIONS", "SET BY", "ENFORCED BY", "POLICIES", "MESSAGE"))
    for body in switch.connections:
        shown = _connection_wire(switch, body)
        table.add(
            argument_of(row(body).key),
            _on_off(shown.get("asked")),
            _on_off(shown.get("enabled")),
            shown.get("source", "-"),
            shown.get("enforcement", "-").replace("None", "-"),
            str(shown["policies"]),
            shown.get("message", ""),
        )
    table.empty = "There are no connections."
    return [Line(_map_line(switch)), *map(Line, _asked_of_all(switch)), Line(""), table]


def _map_line(switch: Switch) -> str:
    if switch.map_body is None:
        return (
            f"{switch.ref} does not exist, or may not be read."
            if switch.notes
            else (f"{switch.ref} does not exist: nothing is enforced.")
        )
    stated = ", ".join(f"{name}: {value.strip()!r}" for name, value in sorted(switch.data.items()) if _is_ours(name))
    return f"{switch.ref}: {stated or 'states nothing, so nothing is enforced'}"


def _asked_of_all(switch: Switch) -> Iterable[str]:
    names = [body["metadata"]["name"] for body in switch.connections if body["kind"] == "ClusterHarborConnection"]
    for name in sorted(names):
        yield from switch_request(_encoded(switch.data), [name]).complaints


def _asked(switch: Switch, body: Body) -> bool | None:
    """Returns the value that applies to the Harbor of a connection; None: no value."""
    if switch.map_body is None:
        return None
    return switch_request(_encoded(switch.data), _names_of_harbor(switch, _urls(body))).enabled


def _names_of_harbor(switch: Switch, urls: frozenset[str]) -> list[str]:
    """Returns all ClusterHarborConnections to the same Harbor: the switch treats them as one."""
    return [
        body["metadata"]["name"]
        for body in switch.connections
        if body["kind"] == "ClusterHarborConnection" and _urls(body) & urls
    ]


def _policies_of(switch: Switch, connection: Body) -> list[Body]:
    wanted = row(connection).key
    return [body for body in switch.policies if row(body).connection == wanted]


def _on_off(value: bool | None) -> Cell:
    return Cell("-") if value is None else Cell("on", "green") if value else Cell("off", "yellow")


# Setting


@dataclass(frozen=True)
class Change:
    """The new value, and the connections that it affects."""

    key: str
    enabled: bool
    connections: Sequence[Body]
    policies: Sequence[Body]

    @property
    def value(self) -> str:
        return "true" if self.enabled else "false"

    def question(self, switch: Switch) -> str:
        """Returns the confirmation prompt, which states how many policies are affected."""
        where = f"by {self.key} in {switch.ref}"
        consequence = "" if self.enabled else " While they are off, Harbor drops every event for ever."
        return f"This switches {self._what(switch)} {'on' if self.enabled else 'off'}, {where}.{consequence} Continue?"

    def _what(self, switch: Switch) -> str:
        if any("webhookpolicies" in said for said in switch.notes):
            return "the notifications of all policies (you may not list them, so their number is not known)"
        spaces = len({body["metadata"]["namespace"] for body in self.policies})
        policies = "1 webhook policy" if len(self.policies) == 1 else f"{len(self.policies)} webhook policies"
        return f"the notifications of {policies} in {'1 namespace' if spaces == 1 else f'{spaces} namespaces'}"


def change(switch: Switch, enabled: bool, connection: str | None) -> Change:
    """Plans a change for one connection's Harbor, or for all that have no separate value. Raises FailedError."""
    if connection is None:
        own = {name.removeprefix(NAMED) for name in switch.data if name.startswith(NAMED)}
        concerned = [body for body in switch.connections if not own.intersection(_names_of_harbor(switch, _urls(body)))]
        return Change(GENERAL, enabled, concerned, _policies_of_all(switch, concerned))
    named = [
        body
        for body in switch.connections
        if (body["kind"], body["metadata"]["name"]) == ("ClusterHarborConnection", connection)
    ]
    if not named and not switch.notes:
        raise FailedError(f"There is no ClusterHarborConnection {connection}.")
    urls = frozenset[str]().union(*map(_urls, named))
    concerned = [body for body in switch.connections if _urls(body) & urls]
    return Change(f"{NAMED}{connection}", enabled, concerned, _policies_of_all(switch, concerned))


def _policies_of_all(switch: Switch, connections: Iterable[Body]) -> list[Body]:
    return [policy for connection in connections for policy in _policies_of(switch, connection)]


def write(cluster: Cluster, switch: Switch, wanted: Change, *, force: bool) -> None:
    """Raises FailedError if a GitOps tool owns the value, unless `force` is set."""
    if switch.map_body is not None:
        if switch.map_body.get("immutable"):
            raise FailedError(f"{switch.ref} is immutable: replace it, or delete it and run this again.")
        check_owner(switch.map_body, ("data", wanted.key), str(switch.ref), force=force)
    ref = switch.ref
    cluster.write_config_map(ref.namespace, ref.name, {wanted.key: wanted.value}, exists=switch.map_body is not None)


def until_followed(cluster: Cluster, wanted: Change, wait: WaitOptions) -> list[str]:
    """Waits until each connection shows the new value; returns a sentence for each that does not in time."""
    left = [body for body in wanted.connections if _can_follow(body)]
    skipped = [body for body in wanted.connections if not _can_follow(body)]
    while left and time.monotonic() < wait.deadline:
        wait.progress(f"waiting for {len(left)} of {len(wanted.connections)} connections")
        left = [body for body in _read_again(cluster, left) if not _follows(body, wanted)]
        if left:
            time.sleep(PAUSE)
    return [_lagging(body) for body in [*left, *skipped]]


def _read_again(cluster: Cluster, bodies: Iterable[Body]) -> list[Body]:
    return [cluster.get(row(body).key) for body in bodies]


def _can_follow(body: Body) -> bool:
    return health(body).state in (State.READY, State.SWITCHED_OFF)


def _follows(body: Body, wanted: Change) -> bool:
    found = (body.get("status") or {}).get("notifications") or {}
    return found.get("source") == "ConfigMap" and found.get("enabled") is wanted.enabled


def _lagging(body: Body) -> str:
    found = (body.get("status") or {}).get("notifications") or {}
    said = found.get("message") or health(body).sentence
    return f"{row(body).key} does not follow yet. {health(body).state.label}: {said}"


def _urls(body: Body) -> frozenset[str]:
    spec = body.get("spec") or {}
    return frozenset(url.lower().rstrip("/") for url in (spec.get("url", ""), *(spec.get("aliases") or [])))


def _is_ours(name: str) -> bool:
    return name == GENERAL or name.startswith(NAMED)


def _encoded(data: Mapping[str, str]) -> dict[str, bytes]:
    return {name: value.encode() for name, value in data.items()}
