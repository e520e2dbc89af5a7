"""`harborhook status NAME`: one policy, everything its notifications depend on, and its receivers. No I/O.

commands/viewing.py passes the JSON of a policy, its project and its connection, and the policy's Events. It gets a
screen of text, or the same as JSON. `findings` lists every impediment from the connection down to the receiver, causes
before consequences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from harborhook.api.names import Body, Key
from harborhook.commands.health import State, condition, health
from harborhook.commands.naming import argument_of
from harborhook.commands.overview import row
from harborhook.commands.tables import Block, Cell, Line, Table, age

EVENTS_SHOWN = 8
_ORIGIN = re.compile(r"(https?://)(?:[^/?#@]*@)?([^/?#]+)(.*)", re.DOTALL)


@dataclass(frozen=True)
class ChainLink:
    """An object that the policy depends on. `body` is None if it does not exist or, with a `refusal`, may not be
    read."""

    key: Key
    body: Body | None = None
    refusal: str = ""

    @property
    def is_missing(self) -> bool:
        return self.body is None and not self.refusal


@dataclass(frozen=True)
class Impediment:
    """Something that stops notifications, and the object concerned."""

    where: str
    sentence: str
    is_fault: bool = True
    """False for a deliberate setting, such as a switch."""

    def wire(self) -> dict[str, Any]:
        return {"where": self.where, "message": self.sentence}


@dataclass(frozen=True)
class Chain:
    policy: Body
    project: ChainLink | None
    """The HarborProject; None for a policy whose project no HarborProject manages."""
    connection: ChainLink | None
    """None: unknown, because the project could not be read."""
    events: Sequence[Body] = field(default=())

    @property
    def status(self) -> Body:
        return self.policy.get("status") or {}

    @property
    def deliveries(self) -> Body:
        return self.status.get("deliveries") or {}


# Findings


def findings(chain: Chain) -> list[Impediment]:
    """Returns the impediments from the connection down. A cause is not repeated for the objects that depend on it."""
    found: list[Impediment] = []
    for look in (_of_connection, _of_project, _of_policy):
        found += look(chain, is_explained=any(one.is_fault for one in found))
    return [*found, *_of_receivers(chain)]


def _of_connection(chain: Chain, *, is_explained: bool) -> Iterator[Impediment]:
    link = chain.connection
    if link is None:
        return
    if link.body is None:
        yield from [Impediment("connection", f"There is no {link.key}.")] if link.is_missing else []
        return
    found = health(link.body)
    if (link.body.get("spec") or {}).get("suspend"):
        yield Impediment("connection", f"{link.key} is suspended: no requests are sent to this Harbor.", is_fault=False)
    elif found.state is State.SWITCHED_OFF:
        yield Impediment("connection", found.sentence, is_fault=False)
    elif not found.is_ready and not is_explained:
        yield Impediment("connection", f"{link.key} is not Ready: {found.sentence}")


def _of_project(chain: Chain, *, is_explained: bool) -> Iterator[Impediment]:
    link = chain.project
    if link is None:
        return
    if link.body is None:
        yield from [Impediment("project", f"There is no {link.key}.")] if link.is_missing else []
        return
    spec, found = link.body.get("spec") or {}, health(link.body)
    if (spec.get("webhooks") or {}).get("enabled") is False:
        yield Impediment("project", f"{link.key} switches its policies off by spec.webhooks.enabled.", is_fault=False)
    if spec.get("suspend"):
        yield Impediment("project", f"{link.key} is suspended.", is_fault=False)
    elif not found.is_ready and not is_explained:
        yield Impediment("project", f"{link.key} is not Ready: {found.sentence}")


def _of_policy(chain: Chain, *, is_explained: bool) -> Iterator[Impediment]:
    spec, found = chain.policy.get("spec") or {}, health(chain.policy)
    if spec.get("suspend"):
        yield Impediment("policy", "The policy is suspended: nothing is written to Harbor for it.", is_fault=False)
    elif found.state is State.PENDING or (not found.is_ready and not is_explained):
        yield Impediment("policy", found.sentence)
    if spec.get("enabled") is False:
        yield Impediment("policy", "The policy is disabled by spec.enabled.", is_fault=False)


def _of_receivers(chain: Chain) -> Iterator[Impediment]:
    delivering = condition(chain.policy, "Delivering")
    if health(chain.policy).state is State.FAILING:
        yield Impediment("receiver", _failing(chain, delivering))
    for result in (chain.status.get("endpointTest") or {}).get("results") or []:
        if not result.get("reachable"):
            yield Impediment("receiver", f"Target {result['target']} failed its last test: {result.get('message', '')}")


def _failing(chain: Chain, delivering: Body) -> str:
    message = str(delivering.get("message", ""))
    count = chain.deliveries.get("consecutiveFailures") or 0
    since = f", {count} events in a row" if count > 1 else ""
    return f"{message.rstrip('.')}. Failing since {delivering.get('lastTransitionTime', 'an unknown time')}{since}."


def is_well(chain: Chain) -> bool:
    return health(chain.policy).is_ready


# For scripts


def wire(chain: Chain) -> dict[str, Any]:
    """Fields are added in later versions, never renamed or removed."""
    stated: dict[str, Any] = {
        "policy": row(chain.policy).wire(),
        "findings": [found.wire() for found in findings(chain)],
        "project": _link_wire(chain.project),
        "connection": _link_wire(chain.connection),
        "enabled": chain.status.get("enabled"),
        "targets": [
            {"target": index, "type": target.get("type"), "address": shown_address(target)}
            for index, target in enumerate(_targets(chain))
        ],
        "triggers": chain.status.get("triggers") or [],
        "deliveries": chain.deliveries,
        "redelivery": chain.status.get("redelivery"),
        "endpointTest": chain.status.get("endpointTest"),
        "events": [_event_wire(event) for event in newest(chain.events)],
    }
    return {name: value for name, value in stated.items() if value is not None}


def _link_wire(link: ChainLink | None) -> dict[str, Any] | None:
    if link is None:
        return None
    if link.body is not None:
        return row(link.body).wire()
    return {"kind": link.key.kind, "namespace": link.key.namespace, "name": link.key.name, "message": link.refusal}


def _event_wire(event: Body) -> dict[str, Any]:
    return {
        "time": event_time(event),
        "type": event.get("type", ""),
        "reason": event.get("reason", ""),
        "message": event.get("message", ""),
    }


# For people


def blocks(chain: Chain, *, now: datetime | None = None) -> list[Block]:
    return [
        *_verdict(chain, now),
        *_links(chain),
        *_target_table(chain, now),
        *_trigger_table(chain, now),
        *_recent_table(chain, now),
        *_waiting_table(chain, now),
        *_event_table(chain, now),
    ]


def _verdict(chain: Chain, now: datetime | None) -> Iterator[Block]:
    shown = row(chain.policy)
    state, since = shown.health.state, age(shown.health.since, now)
    yield Line(f"{shown.key}: {state.label}" + (f" for {since}" if since else ""), state.style)
    found = findings(chain)
    for one in found:
        yield Line(f"{one.where}: {one.sentence}", indent=2)
    if not found:
        yield Line("Nothing stops its notifications.", indent=2)
    hint = _hint(chain)
    if hint:
        yield Line(hint, "dim", indent=2)


def _hint(chain: Chain) -> str:
    count = chain.deliveries.get("undelivered") or 0
    if not count:
        return ""
    name = chain.policy["metadata"]["name"]
    what = "1 event was" if count == 1 else f"{count} events were"
    return f"{what} not delivered and can be sent again: kubectl harborhook redeliver {name} --failed"


def _links(chain: Chain) -> Iterator[Block]:
    yield Line("")
    table = Table(("", "STATE", "RESOURCE", "IN HARBOR"))
    for place, link in (("connection", chain.connection), ("project", chain.project)):
        if link is not None:
            table.add(place, *_link_cells(link))
    policy = chain.status
    if chain.project is None:
        table.add("project", "", "not managed", (chain.policy.get("spec") or {}).get("projectName", ""))
    name = policy.get("policyName") or ""
    state = health(chain.policy).state
    switched = {True: ", enabled", False: ", disabled"}.get(policy.get("enabled", ""), "")
    in_harbor = f"{name} (id {policy['policyID']}){switched}" if policy.get("policyID") else name
    table.add("policy", Cell(state.label, state.style), argument_of(row(chain.policy).key), in_harbor)
    yield table


def _with_gap(table: Table) -> list[Block]:
    """Returns the table with an empty line, or nothing if it has no rows."""
    return [Line(""), table] if table.rows else []


def _link_cells(link: ChainLink) -> tuple[Cell | str, ...]:
    if link.body is None:
        return "missing" if link.is_missing else "unknown", argument_of(link.key), link.refusal
    state, status = health(link.body).state, link.body.get("status") or {}
    if "url" in (link.body.get("spec") or {}):
        in_harbor = " ".join(filter(None, (link.body["spec"]["url"], status.get("harborVersion"))))
    else:
        in_harbor = f"{status.get('projectName', '')} (id {status['projectID']})" if status.get("projectID") else ""
    return Cell(state.label, state.style), argument_of(link.key), in_harbor


def _target_table(chain: Chain, now: datetime | None) -> Iterator[Block]:
    test = chain.status.get("endpointTest") or {}
    results = {result["target"]: result for result in test.get("results") or []}
    tested = f" (tested {age(test.get('time', ''), now)} ago)" if results else ""
    table = Table(("TARGET", "TYPE", "ADDRESS", "LAST TEST"), title=f"Targets{tested}")
    for index, target in enumerate(_targets(chain)):
        result = results.get(index) or {}
        status = f"{result['httpStatus']}: " if result.get("httpStatus") else ""
        table.add(str(index), target.get("type", ""), shown_address(target), f"{status}{result.get('message', '')}")
    yield from _with_gap(table)


def _trigger_table(chain: Chain, now: datetime | None) -> Iterator[Block]:
    table = Table(("EVENT TYPE", "LAST TRIGGER", "DELIVERY", "ATTEMPTS", "MESSAGE"), title="Triggers")
    for trigger in chain.status.get("triggers") or []:
        last = trigger.get("lastDelivery") or {}
        table.add(
            trigger["eventType"],
            age(trigger.get("lastTriggerTime", ""), now) or "never",
            delivery_status(last.get("status", "")),
            _number(last.get("attempts")),
            last.get("message", ""),
        )
    yield from _with_gap(table)


def _recent_table(chain: Chain, now: datetime | None) -> Iterator[Block]:
    table = recent_table(chain.deliveries, now=now)
    table.title = "Recent deliveries"
    yield from _with_gap(table)


def recent_table(
    deliveries: Body, *, failed_only: bool = False, wide: bool = False, now: datetime | None = None
) -> Table:
    """Returns the newest events of a policy, newest first."""
    table = Table(
        ("ID", "TIME" if wide else "AGE", "EVENT TYPE", "SUBJECT", "STATUS", "TRIES", "SENT AGAIN", "MESSAGE"),
        empty="No failed deliveries are recorded." if failed_only else "No deliveries are recorded yet.",
    )
    for delivery in recent(deliveries, failed_only=failed_only):
        again = delivery.get("redelivery") or {}
        time = delivery.get("time", "")
        table.add(
            str(delivery["executionID"]),
            time if wide else age(time, now),
            delivery.get("eventType", ""),
            delivery.get("subject", ""),
            delivery_status(delivery.get("status", "")),
            _number(delivery.get("attempts")),
            delivery_status(again.get("status", "")),
            _why(delivery, again),
        )
    return table


def recent(deliveries: Body, *, failed_only: bool = False) -> list[Body]:
    """`failed_only` selects events that neither Harbor nor a redelivery has delivered."""
    listed = deliveries.get("recent") or []
    return [one for one in listed if not failed_only or _has_failed(one)]


def _has_failed(delivery: Body) -> bool:
    again = (delivery.get("redelivery") or {}).get("status")
    return delivery.get("status") in ("Failed", "Stopped") and again != "Succeeded"


def _why(delivery: Body, again: Body) -> str:
    """Returns why the event and its redelivery failed; empty once it has arrived."""
    if again.get("status") == "Succeeded":
        return ""
    said = [str(one["message"]).rstrip(".") for one in (delivery, again) if one.get("message")]
    return ". Sent again: ".join(said)


def _waiting_table(chain: Chain, now: datetime | None) -> Iterator[Block]:
    table = Table(("TARGET", "WAITING", "ATTEMPTS", "LAST", "NEXT", "MESSAGE"), title="Waiting to be sent again")
    for waiting in chain.deliveries.get("redeliveries") or []:
        if waiting.get("waiting"):
            table.add(
                str(waiting["target"]),
                str(waiting["waiting"]),
                _number(waiting.get("attempts")),
                age(waiting.get("lastAttemptTime", ""), now),
                waiting.get("nextAttemptTime", ""),
                waiting.get("message", ""),
            )
    yield from _with_gap(table)


def _event_table(chain: Chain, now: datetime | None) -> Iterator[Block]:
    table = Table(("AGE", "TYPE", "REASON", "MESSAGE"), title="Events")
    for event in newest(chain.events)[:EVENTS_SHOWN]:
        kind = event.get("type", "")
        table.add(
            age(event_time(event), now),
            Cell(kind, "yellow" if kind == "Warning" else ""),
            event.get("reason", ""),
            event.get("message", ""),
        )
    yield from _with_gap(table)


_STYLES: Mapping[str, str] = {"Failed": "red", "Expired": "red", "Retrying": "yellow", "Succeeded": "green"}


def delivery_status(status: str) -> Cell:
    return Cell(status, _STYLES.get(status, ""))


def shown_address(target: Body) -> str:
    """Returns scheme and host: the path can be a credential, as in Slack's URLs."""
    source = ((target.get("addressFrom") or {}).get("secretKeyRef")) or {}
    if source:
        return f"from Secret {source.get('name')}, key {source.get('key')}"
    found = _ORIGIN.fullmatch(target.get("address", ""))
    return f"{found[1]}{found[2]}{'/…' if found[3].strip('/') else ''}" if found else ""


def newest(events: Sequence[Body]) -> list[Body]:
    return sorted(events, key=event_time, reverse=True)


def event_time(event: Body) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event.get("firstTimestamp")
        or ""
    )


def _targets(chain: Chain) -> Sequence[Body]:
    return (chain.policy.get("spec") or {}).get("targets") or []


def _number(value: int | None) -> str:
    return "" if value is None else str(value)
