"""Assigns keys to shares of the workers: the share of their connection, and within it a turn per namespace. Senders are
shared by namespaces alone: a receiver that never answers belongs to one namespace, regardless of its Harbor.

Any team can create a HarborConnection to a server that never answers. Therefore all connections of one team have a
common share, and all teams' connections have another one, so that ClusterHarborConnections always find workers.

A key whose visit sends requests to Harbor names its connection as gate: it waits in the queue while the connection has
no room for another visit (harbor/window.py). Connections have no gate, since their visits find out whether Harbor
works. A lost or suspended connection holds back nothing, because its resources send no requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harborhook.api.base import ANNOTATION_RELEASE, FINALIZER, AnyKey, DeliveriesKey, Key, SenderKey
from harborhook.api.names import Body
from harborhook.harbor.limiter import Pause
from harborhook.plan.references import connection_key
from harborhook.reconcile.links import Link
from harborhook.runtime.lanes import Gate, Lane
from harborhook.runtime.store import Store

TEAMS = "HarborConnections"


def lane_of(store: Store, key: AnyKey) -> Lane:
    if isinstance(key, SenderKey):
        return Lane(turn=key.policy.namespace, gate=_gate_of_sender(store, key))
    if isinstance(key, DeliveriesKey):
        return Lane(_shares(key.connection), gate=key.connection)
    if key.kind == "ClusterHarborConnection":
        return Lane()  # its check detects a slow Harbor, and administrators decide how many there are
    if key.kind == "HarborConnection":
        return Lane(_shares_of_team(key.namespace))
    connection = _connection_of(store, key)
    return Lane(_shares(connection), key.namespace, connection if _sends_requests(store.get(key)) else None)


def _gate_of_sender(store: Store, key: SenderKey) -> Key | None:
    """Redelivery reads the notification from Harbor; a test needs the receivers alone."""
    return _connection_of(store, key.policy) if key.purpose == "Redelivery" else None


def _sends_requests(body: Body | None) -> bool:
    """Whether a visit may send requests to Harbor: not for a resource that is suspended, or that is released without a
    change in Harbor."""
    if body is None:
        return False
    metadata = body["metadata"]
    if not metadata.get("deletionTimestamp"):
        return not body["spec"].get("suspend")
    is_released = (metadata.get("annotations") or {}).get(ANNOTATION_RELEASE) == "true"
    return not is_released and FINALIZER in (metadata.get("finalizers") or ())


def gate_of_visits(links: Mapping[Key, Link], connection: Key) -> Gate | None:
    """Returns what limits visits over a connection; None if they will send no requests."""
    link = links.get(connection)
    return link.client.window if link is not None and link.verdict is None else None


def gate_of_senders(links: Mapping[Key, Link], connection: Key) -> Gate | None:
    """Returns the same for senders. They only wait for the end of a pause: there are few of them, each with one or two
    short requests, and a busy connection's visits would never leave room for them."""
    link = links.get(connection)
    return _PauseGate(link.client.window.pause) if link is not None and link.verdict is None else None


@dataclass(frozen=True)
class _PauseGate:
    pause: Pause

    @property
    def is_open(self) -> bool:
        return not self.pause.rest

    def enter(self) -> None:
        """Senders are not counted."""

    def leave(self) -> None:
        """Senders are not counted."""


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
