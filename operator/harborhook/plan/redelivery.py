"""Decides which notifications are redelivered, in which order, and how the status reports it.

A *candidate* is a notification that Harbor has stopped trying to deliver. The *backlog* holds the candidates of a
policy while the operator runs, and is read from Harbor again after a restart. The status keeps the state that has to
survive: the executions that have arrived (none is sent twice), and for each target the number of attempts and the time
of the next one. Times are arguments; reconcile/redelivery.py does the sending.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from harborhook.api.conditions import Delivering, DeliveringReason
from harborhook.api.deliveries import (
    REDELIVERED_LIMIT,
    Deliveries,
    RecentDelivery,
    RecentRedelivery,
    RedeliveryStatus,
    TargetRedelivery,
)
from harborhook.api.webhook_policy import Redelivery, Target, WebhookPolicySpec
from harborhook.harbor.executions import TargetType
from harborhook.harbor.payloads import PayloadFormat
from harborhook.plan.deliveries import Delivery

MOST_IDS = 100
"""Executions that one request can name: more than Harbor keeps for a policy."""

NO_TARGET = "The spec has no target of the type and payload format that this notification was for."
AMBIGUOUS = (
    "Two targets have the same type and payload format, and Harbor does not record which of them a notification was "
    "for: declare a WebhookPolicy for each of them."
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A notification that Harbor has stopped trying to deliver."""

    id: int
    started: datetime
    event: str
    """Identifies the event, which may have notifications to other targets too."""
    target_type: TargetType
    format: PayloadFormat

    @classmethod
    def of(cls, delivery: Delivery) -> Candidate:
        return cls(delivery.id, delivery.started, delivery.event, delivery.target_type, delivery.format)


@dataclass
class Backlog:
    """The candidates of one policy, by execution id. It never holds bodies."""

    policy_id: int
    candidates: dict[int, Candidate] = field(default_factory=dict)
    is_complete: bool = False
    """Whether it was read from Harbor, and so includes failures from before the start."""
    read_once: bool = False
    """Whether this process has ever read it."""
    refused: set[int] = field(default_factory=set)
    """Candidates that a responding receiver has refused. Others are sent first, so that a refused one cannot block
    them."""
    expired: set[int] = field(default_factory=set)
    """Candidates whose expiry was announced."""
    bodiless: set[int] = field(default_factory=set)
    """Candidates whose body Harbor no longer had when they were due."""

    def take_in(self, deliveries: Iterable[Delivery]) -> None:
        """Adds failed deliveries, and drops those that Harbor has delivered since."""
        for one in deliveries:
            if one.status == "Failed" and one.final and one.id not in self.bodiless:
                self.candidates[one.id] = Candidate.of(one)
            else:
                self.candidates.pop(one.id, None)

    def give_up(self, execution: int) -> None:
        """Records that Harbor has no body for it."""
        self.drop(execution)
        self.bodiless.add(execution)

    def drop(self, execution: int) -> None:
        self.candidates.pop(execution, None)
        self.refused.discard(execution)

    def replace_all(self, deliveries: Iterable[Delivery], *, others: Collection[int]) -> None:
        """Replaces the candidates with a new reading of Harbor's failed deliveries; `others` stay even if it lacks
        them."""
        self.candidates = {one: self.candidates[one] for one in others}
        self.take_in(deliveries)
        self.refused &= self.candidates.keys()
        self.expired &= self.candidates.keys()
        self.is_complete = self.read_once = True


@dataclass(frozen=True)
class Pauses:
    """The pauses between attempts at one target: the first one doubles after each failure, up to the longest."""

    first: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(minutes=30)

    def after(self, attempts: int) -> timedelta:
        """Returns the pause after so many failed attempts in a row; a pause precedes the first attempt too."""
        factor = 1 << min(attempts, 16)  # 2¹⁶ minutes exceed any limit
        return min(self.first * factor, self.longest)


@dataclass(frozen=True)
class AttemptOutcome:
    """The result of one attempt, or the reason why none was made."""

    execution: int
    result: Literal["Succeeded", "Failed", "Gone"]
    """Gone: Harbor no longer has the notification."""
    time: datetime
    target: int | None = None
    """Index in spec.targets of the target that received the request; None if no request was sent."""
    message: str = ""
    event: str = ""


# Which notifications wait


@dataclass(frozen=True)
class Waiting:
    """The candidates of a policy, by target."""

    by_target: dict[int, list[Candidate]]
    """Candidates that Automatic sends, oldest first."""
    expired: list[Candidate]
    unsendable: list[Candidate]
    """Candidates whose target cannot be determined."""

    @property
    def count(self) -> int:
        return sum(map(len, self.by_target.values()))


def targets_for(target_type: TargetType, payload_format: PayloadFormat, targets: Sequence[Target]) -> list[int]:
    """Returns the targets that a notification may have been for: an execution does not name its target (Harbor
    2.16)."""
    return [
        index
        for index, target in enumerate(targets)
        if target.type == target_type and (target.type == "slack" or _format_of(target) == payload_format)
    ]


def _format_of(target: Target) -> str:
    return target.payload_format or "Default"


def outstanding(backlog: Backlog, deliveries: Deliveries | None) -> list[Candidate]:
    """Returns the candidates that have not arrived, oldest first. Those older than the recorded ids are left out: they
    may have arrived."""
    arrived = set(deliveries.redelivered_ids) if deliveries else set()
    forgotten = min(arrived) if len(arrived) >= REDELIVERED_LIMIT else 0
    left = (one for one in backlog.candidates.values() if one.id > forgotten and one.id not in arrived)
    return sorted(left, key=lambda one: one.id)


def waiting(backlog: Backlog, spec: WebhookPolicySpec, deliveries: Deliveries | None, now: datetime) -> Waiting:
    """Returns the candidates that Automatic sends; none under Manual."""
    found = Waiting({}, [], [])
    if not is_automatic(spec):
        return found
    oldest = now - max_age(spec.redelivery)
    for candidate in outstanding(backlog, deliveries):
        targets = targets_for(candidate.target_type, candidate.format, spec.targets)
        if candidate.started < oldest:
            found.expired.append(candidate)
        elif len(targets) == 1:
            found.by_target.setdefault(targets[0], []).append(candidate)
        else:
            found.unsendable.append(candidate)
    return found


def is_automatic(spec: WebhookPolicySpec) -> bool:
    return spec.redelivery is not None and spec.redelivery.mode == "Automatic"


def max_age(redelivery: Redelivery | None) -> timedelta:
    """Returns `maxAge`, which the API server has validated."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?", redelivery.max_age if redelivery else "")
    if found is None or not found[0]:
        return timedelta(hours=24)
    return timedelta(hours=int(found[1] or 0), minutes=int(found[2] or 0))


# Which one is next


@dataclass(frozen=True)
class Attempt:
    """The candidate to send next."""

    candidate: Candidate
    target: int


def next_attempt(found: Waiting, backlog: Backlog, deliveries: Deliveries, now: datetime) -> Attempt | datetime | None:
    """Returns the attempt that is due, or the time of the next one. Returns None if no waiting target has a row in the
    status; `brought_up_to_date` adds the row with its first pause."""
    rows = {row.target: row for row in deliveries.redeliveries}
    moments = {target: rows[target].next_attempt_time or now for target in found.by_target if target in rows}
    if not moments:
        return None
    target = min(moments, key=lambda one: (moments[one], one))
    if moments[target] > now:
        return moments[target]
    return Attempt(_first(found.by_target[target], backlog), target)


def _first(candidates: Sequence[Candidate], backlog: Backlog) -> Candidate:
    return min(candidates, key=lambda one: (one.id in backlog.refused, one.id))


# What the status says


def recorded(deliveries: Deliveries, outcome: AttemptOutcome, pauses: Pauses) -> Deliveries:
    """Returns the status after an attempt."""
    arrived = list(deliveries.redelivered_ids)
    if outcome.result == "Succeeded" and outcome.execution not in arrived:
        arrived = sorted([*arrived, outcome.execution])[-REDELIVERED_LIMIT:]
    return deliveries.model_copy(
        update={
            "redelivered_ids": arrived,
            "redeliveries": [_after_attempt(row, outcome, pauses) for row in _rows_with(deliveries, outcome.target)],
            "recent": [_recent_after(row, outcome) for row in deliveries.recent],
        }
    )


def _rows_with(deliveries: Deliveries, target: int | None) -> list[TargetRedelivery]:
    rows = list(deliveries.redeliveries)
    if target is not None and all(row.target != target for row in rows):
        rows.append(TargetRedelivery(target=target, waiting=0))
    return sorted(rows, key=lambda row: row.target)


def _after_attempt(row: TargetRedelivery, outcome: AttemptOutcome, pauses: Pauses) -> TargetRedelivery:
    if row.target != outcome.target:
        return row
    if outcome.result == "Succeeded":
        return TargetRedelivery(target=row.target, waiting=row.waiting, last_attempt_time=outcome.time)
    attempts = row.attempts + 1
    return TargetRedelivery(
        target=row.target,
        waiting=row.waiting,
        attempts=attempts,
        last_attempt_time=outcome.time,
        next_attempt_time=outcome.time + pauses.after(attempts),
        message=outcome.message or None,
    )


def _recent_after(row: RecentDelivery, outcome: AttemptOutcome) -> RecentDelivery:
    if row.execution_id != outcome.execution or outcome.result == "Gone":
        return row
    attempts = (row.redelivery.attempts or 0) if row.redelivery else 0
    is_failed = outcome.result == "Failed"
    made = RecentRedelivery(
        status="Failed" if is_failed else "Succeeded",
        time=outcome.time,
        attempts=attempts + (outcome.target is not None),
        message=(outcome.message or None) if is_failed else None,
    )
    return row.model_copy(update={"redelivery": made})


def brought_up_to_date(
    deliveries: Deliveries,
    backlog: Backlog,
    found: Waiting,
    now: datetime,
    pauses: Pauses,
    *,
    has_news_of_success: bool = False,
) -> Deliveries:
    """Returns the status with counts, target rows and recent events brought in line with the backlog.
    `has_news_of_success`: Harbor itself has delivered an event, which the status does not show yet."""
    left = outstanding(backlog, deliveries)
    undelivered = len({one.event for one in left})
    is_recovered = backlog.is_complete and not left and bool(deliveries.redelivered_ids)
    return deliveries.model_copy(
        update={
            "undelivered": undelivered,
            "redeliveries": _rows_of_targets(deliveries, found, now, pauses, has_news_of_success),
            "redelivered_ids": _still_of_use(deliveries, backlog),
            "recent": [_recent_row(row, backlog, found, left) for row in deliveries.recent],
            "consecutive_failures": 0 if is_recovered else deliveries.consecutive_failures,
        }
    )


def _still_of_use(deliveries: Deliveries, backlog: Backlog) -> list[int]:
    """Drops ids that Harbor no longer has; the newest stays as evidence that an event was redelivered."""
    known, cursor = deliveries.redelivered_ids, deliveries.last_execution_id or 0
    if not backlog.is_complete or len(known) >= REDELIVERED_LIMIT:
        return known
    return [one for one in known if one in backlog.candidates or one > cursor or one == known[-1]]


def _rows_of_targets(
    deliveries: Deliveries, found: Waiting, now: datetime, pauses: Pauses, has_news_of_success: bool
) -> list[TargetRedelivery]:
    """Returns one row per target with waiting events. A delivery by Harbor itself makes the next attempt due at once.
    Each such success does this once, independent of its time: Harbor's clock may differ from that of the attempts."""
    before = {row.target: row for row in deliveries.redeliveries}
    rows = []
    for target, candidates in sorted(found.by_target.items()):
        row = before.get(target)
        if row is None or (row.waiting == 0 and row.attempts == 0):
            row = TargetRedelivery(target=target, waiting=0, next_attempt_time=now + pauses.after(0))
        elif has_news_of_success:
            row = row.model_copy(update={"next_attempt_time": None})
        rows.append(row.model_copy(update={"waiting": len(candidates)}))
    return rows


def _recent_row(row: RecentDelivery, backlog: Backlog, found: Waiting, left: Sequence[Candidate]) -> RecentDelivery:
    """Adds the redelivery's state to an event's row: an event has arrived once all its notifications have."""
    own = backlog.candidates.get(row.execution_id)
    if own is None:
        return row
    rest = [one for one in left if one.event == own.event]
    status: RedeliveryStatus | None
    if not rest:
        status = "Succeeded"
    elif any(one in found.expired for one in rest):
        status = "Expired"
    elif any(one in candidates for candidates in found.by_target.values() for one in rest):
        was_tried = row.redelivery is not None and row.redelivery.status == "Failed"
        status = "Failed" if was_tried else "Pending"
    else:
        return row
    before = row.redelivery or RecentRedelivery(status=status)
    return row.model_copy(update={"redelivery": before.model_copy(update={"status": status})})


_WAITING = re.compile(r"\. (?:1 event is|[0-9]+ events are) not delivered[.;].*", re.DOTALL)
"""The addition of `with_waiting`."""


def with_waiting(delivering: Delivering, deliveries: Deliveries | None, hint: str = "") -> Delivering:
    """Adds the number of waiting events and the next attempt to a failure's message; `hint` explains why sending is
    paused. A message from the status, as after a restart, may already have such an addition: it is replaced."""
    is_failure = delivering.reason in (DeliveringReason.LAST_DELIVERY_FAILED, DeliveringReason.DELIVERIES_STUCK)
    if not is_failure or deliveries is None:
        return delivering
    message = _WAITING.sub(".", delivering.message)
    if not deliveries.undelivered:
        return replace(delivering, message=message)
    text = (message or delivering.reason.sentence).rstrip(".")
    waits = f"{_events(deliveries.undelivered)} not delivered{_when(deliveries, hint)}"
    return replace(delivering, message=f"{text}. {waits}")


def _when(deliveries: Deliveries, hint: str) -> str:
    """Returns the end of the sentence."""
    if hint:
        return f". {hint}"
    if not deliveries.redeliveries:
        return "."
    times = [row.next_attempt_time for row in deliveries.redeliveries if row.next_attempt_time is not None]
    if len(times) < len(deliveries.redeliveries):
        return "; redelivery is in progress."
    return f"; the next attempt is at {min(times):%Y-%m-%d %H:%M:%S} UTC."


def _events(count: int) -> str:
    return "1 event is" if count == 1 else f"{count} events are"


# What the annotation asks for

HOW_TO_ASK = (
    'Begin the annotation with "failed", or with the ids of executions separated by commas such as "41,42", and '
    "add anything new after a space."
)


@dataclass(frozen=True)
class RedeliveryRequest:
    """All failed notifications, or the executions with these ids."""

    ids: tuple[int, ...] | None = None
    """None: all failed ones, of any age."""


def parse_request(text: str) -> RedeliveryRequest | None:
    """Parses annotation harborhook.io/redeliver; None if the value is invalid."""
    what = text.strip().partition(" ")[0]
    if what == "failed":
        return RedeliveryRequest()
    parts = what.split(",")
    if len(parts) > MOST_IDS or not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts):
        return None
    return RedeliveryRequest(tuple(dict.fromkeys(map(int, parts))))
