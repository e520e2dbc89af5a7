"""Assigns keys to shares of the workers: the share of their connection, and within it a turn per namespace. Senders are
shared by namespaces alone: a receiver that never answers belongs to one namespace, regardless of its Harbor.

Any team can create a HarborConnection to a server that never answers. Therefore all connections of one team have a
common share, and all teams' connections have another one, so that ClusterHarborConnections always find workers.
"""

from __future__ import annotations

from harborhook.api.base import AnyKey, DeliveriesKey, Key, SenderKey
from harborhook.plan.references import connection_key
from harborhook.runtime.lanes import Lane
from harborhook.runtime.store import Store

TEAMS = "HarborConnections"


def lane_of(store: Store, key: AnyKey) -> Lane:
    if isinstance(key, SenderKey):
        return Lane(turn=key.policy.namespace)
    if isinstance(key, DeliveriesKey):
        return Lane(_shares(key.connection))
    if key.kind == "ClusterHarborConnection":
        return Lane()  # its check detects a slow Harbor, and administrators decide how many there are
    if key.kind == "HarborConnection":
        return Lane(_shares_of_team(key.namespace))
    return Lane(_shares(_connection_of(store, key)), key.namespace)


def _connection_of(store: Store, key: Key) -> Key | None:
    """Returns the connection that the spec names, for a policy possibly through its project. None if the project does
    not exist."""
    spec = (store.get(key) or {}).get("spec") or {}
    if "projectRef" in spec:
        project = store.get(Key("HarborProject", key.namespace, spec["projectRef"]["name"]))
        if project is None:
            return None
        spec = project.get("spec") or {}
    return connection_key(spec.get("connectionRef"), key.namespace)


def _shares(connection: Key | None) -> tuple[str, ...]:
    if connection is None:
        return ("no connection",)
    above = _shares_of_team(connection.namespace) if connection.kind == "HarborConnection" else ()
    return (*above, str(connection))


def _shares_of_team(namespace: str) -> tuple[str, ...]:
    return TEAMS, f"{TEAMS} of {namespace}"
