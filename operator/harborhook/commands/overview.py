"""`harborhook status` without a name: all resources in one table, worst first, with the sentence to act on. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harborhook.api.names import CLUSTER_HARBOR_CONNECTION, KIND_NAMES, Body, Key
from harborhook.commands.health import Health, State, health
from harborhook.commands.naming import argument_of, name_of
from harborhook.commands.tables import Block, Cell, Line, Table, age
from harborhook.plan.references import DEFAULT_CONNECTION, connection_key, recorded_connection

_KIND_ORDER = {kind: index for index, kind in enumerate(KIND_NAMES)}
_NOUNS = {
    "ClusterHarborConnection": ("connection", "connections"),
    "HarborConnection": ("connection", "connections"),
    "HarborProject": ("project", "projects"),
    "WebhookPolicy": ("policy", "policies"),
}


@dataclass(frozen=True)
class Row:
    """One resource."""

    key: Key
    health: Health
    project: str = ""
    """Name of the project in Harbor."""
    connection: Key | None = None

    def wire(self) -> dict[str, Any]:
        """Returns the JSON for scripts: later versions may add fields, but never rename or remove one."""
        stated = {
            "kind": self.key.kind,
            "namespace": self.key.namespace,
            "name": self.key.name,
            "state": self.health.state.label,
            "ready": self.health.is_ready,
            "reason": self.health.reason,
            "message": self.health.sentence,
            "since": self.health.since,
            "project": self.project,
            "connection": {"kind": self.connection.kind, "name": self.connection.name} if self.connection else None,
        }
        return {name: value for name, value in stated.items() if value not in ("", None)}


@dataclass(frozen=True)
class Overview:
    """Rows, worst first. `notes`: objects that could not be read."""

    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())

    @property
    def is_well(self) -> bool:
        return all(row.health.is_ready for row in self.rows)

    def wire(self) -> dict[str, Any]:
        return {
            "resources": [row.wire() for row in self.rows],
            "counts": {"total": len(self.rows), **{state.label: count for state, count in _counted(self.rows)}},
            "notes": list(self.notes),
        }

    def names(self) -> str:
        return "".join(f"{name_of(row.key)}\n" for row in self.rows)

    def blocks(self, *, with_namespace: bool, wide: bool, now: datetime | None = None) -> list[Block]:
        """Returns the table and the counts below it."""
        columns = ["STATE", *(["NAMESPACE"] if with_namespace else []), "RESOURCE", "SINCE"]
        columns += ["REASON", "PROJECT", "CONNECTION"] if wide else []
        table = Table((*columns, "MESSAGE"), empty="There are no Harborhook resources here.")
        for row in self.rows:
            table.add(*_cells(row, with_namespace=with_namespace, wide=wide, now=now))
        return [table, Line(""), Line(self.summary)] if self.rows else [table]

    @property
    def summary(self) -> str:
        """`1 connection, 3 projects, 9 policies: 1 stalled, 12 ready.`"""
        nouns = Counter(_NOUNS[row.key.kind] for row in self.rows)
        kinds = ", ".join(f"{nouns[noun]} {noun[nouns[noun] != 1]}" for noun in dict.fromkeys(_NOUNS.values()))
        states = ", ".join(f"{count} {_words(state)}" for state, count in _counted(self.rows))
        return f"{kinds}: {states}."


def overview(bodies: Iterable[Body], notes: Sequence[str] = ()) -> Overview:
    """Builds the overview from objects as the API server returns them."""
    return Overview(sorted((row(body) for body in bodies), key=_order), notes)


def row(body: Body) -> Row:
    return Row(
        Key(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]),
        health(body),
        (body.get("status") or {}).get("projectName", ""),
        connection_of(body),
    )


def connection_of(body: Body) -> Key | None:
    """Returns the connection that the resource names; a policy with projectRef uses its project's, which it does not
    name."""
    recorded = recorded_connection(dict(body))
    spec = body.get("spec") or {}
    if recorded is not None or body["kind"] not in ("HarborProject", "WebhookPolicy") or "projectRef" in spec:
        return recorded
    return connection_key(spec.get("connectionRef"), body["metadata"].get("namespace", ""))


def only_used(connections: Iterable[Body], others: Iterable[Body]) -> list[Body]:
    """Returns the ClusterHarborConnections that the resources of a namespace use.

    Without any resource it returns the default one, for a team that is about to begin.
    """
    used = {connection for body in others if (connection := connection_of(body)) is not None} or {DEFAULT_CONNECTION}
    names = {key.name for key in used if key.kind == CLUSTER_HARBOR_CONNECTION.kind}
    return [body for body in connections if body["metadata"]["name"] in names]


def _order(row: Row) -> tuple[int, int, str, str]:
    return row.health.state.rank, _KIND_ORDER[row.key.kind], row.key.namespace, row.key.name


def _cells(row: Row, *, with_namespace: bool, wide: bool, now: datetime | None) -> list[Cell | str]:
    state = row.health.state
    cells: list[Cell | str] = [Cell(state.label, state.style)]
    cells += [row.key.namespace or "-"] if with_namespace else []
    cells += [argument_of(row.key), age(row.health.since, now)]
    if wide:
        cells += [row.health.reason, row.project, argument_of(row.connection) if row.connection else ""]
    return [*cells, Cell(row.health.sentence, "dim" if state is State.READY else "")]


def _counted(rows: Sequence[Row]) -> list[tuple[State, int]]:
    counts: Mapping[State, int] = Counter(row.health.state for row in rows)
    return [(state, counts[state]) for state in State if state in counts]


def _words(state: State) -> str:
    return {"NotReady": "not ready"}.get(state.label, state.label.lower())
