"""Which share of the workers a key of the queue uses: that of its connection, and there its namespace takes its turn.
The senders are shared by namespaces alone: a receiver that never answers is of one namespace, whatever its Harbor.

A HarborConnection can be made by any team and may lead to a server that never answers. All of a team's connections have
one share in common, and all teams' connections another one, so ClusterHarborConnections always find workers.
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
        return Lane()  # its check is what finds out that it is slow, and admins decide how many there are
    if key.kind == "HarborConnection":
        return Lane(_shares_of_team(key.namespace))
    return Lane(_shares(_connection_of(store, key)), key.namespace)


def _connection_of(store: Store, key: Key) -> Key | None:
    """The connection that the spec names, for a policy perhaps by its project. None while there is no such project."""
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
