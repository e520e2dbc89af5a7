"""Computes the delivery status of a policy from the executions, tasks or jobs that Harbor shows for it.

The status is the only memory. `lastExecutionID` is the cursor: every execution up to it belongs to an event that is
settled and counted; every execution above it is read and judged again. The cursor moves only to a point where no event
has executions on both sides and no event below is open. Therefore the order in which notifications settle, the number
of readings and restarts of the operator do not matter: nothing is counted twice or lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from harborhook.api.base import Condition
from harborhook.api.conditions import Delivering, DeliveringReason
from harborhook.api.deliveries import RECENT_LIMIT, Deliveries, DeliveryStatus, LastDelivery, RecentDelivery
from harborhook.api.webhook_policy import Trigger, WebhookPolicyStatus
from harborhook.harbor.executions import Execution, Job, TargetType, Task
from harborhook.harbor.models import LastTrigger
from harborhook.harbor.payloads import PayloadFormat
from harborhook.plan.failures import NEVER_SENT, NO_LOGS, WITHOUT_CAUSE
from harborhook.plan.webhook_policy import merge_triggers

ATTEMPTS = 3
LEGACY_ATTEMPTS = 10
"""Harbor's defaults since 2.8, and before."""
SLACK = timedelta(minutes=5)
"""Extra time for a busy job service beyond the pauses between attempts."""


@dataclass(frozen=True)
class Patience:
    """How long Harbor may take for attempts before a notification counts as stuck."""

    attempts: int
    stuck_after: timedelta

    def until_next(self, fails: int) -> timedelta:
        """Time until the next attempt has begun, if there is one, after so many failures."""
        return timedelta(seconds=_longest_pause(fails)) + SLACK

    @property
    def in_all(self) -> timedelta:
        """Time until all attempts have been made."""
        return timedelta(seconds=sum(map(_longest_pause, range(1, self.attempts)))) + SLACK


def _longest_pause(fails: int) -> int:
    """Harbor waits fails⁴ + 15 + rand(30)·(fails + 1) seconds."""
    return int(fails**4) + 15 + 29 * (fails + 1)


@dataclass(frozen=True)
class Delivery:
    """One event's notification to one target."""

    id: int
    event_type: str
    event: str
    started: datetime
    status: DeliveryStatus
    final: bool
    """Harbor will not change it any more."""
    time: datetime
    attempts: int | None = None
    message: str | None = None
    stuck: bool = False
    task: int | None = None
    """The task whose log explains the failure."""
    kind: str = ""
    target_type: TargetType = "http"
    format: PayloadFormat = "Default"
    subject: str | None = None
    redelivered: bool = False
    """The operator has sent the notification again, and it has arrived."""


@dataclass(frozen=True)
class History:
    """The notifications that a poll has read: all above the cursor, or only the newest and the oldest of them."""

    deliveries: tuple[Delivery, ...] = ()
    gap_after: int | None = None
    """Some notifications between this id and the newest were not read; None: none is missing."""
    forbidden: bool = False
    """Harbor denies the principal the right to read them."""
    renumbered_from: int | None = None
    """The former cursor, if Harbor has restarted its numbering. The notifications read are then all that exist."""

    @property
    def open(self) -> bool:
        """Whether a poll should follow soon."""
        return self.gap_after is not None or any(not one.final and not one.stuck for one in self.deliveries)


# One notification


def judge(execution: Execution, tasks: Sequence[Task] | None, *, now: datetime, patience: Patience) -> Delivery:
    """Judges an execution. `tasks` is None if they were not read; an execution has at most one."""
    age = now - execution.started
    if tasks:
        return _by_task(execution, tasks[0], age=age, now=now, patience=patience)
    if execution.status in _FINAL:
        return _delivery(execution, _FINAL[execution.status], final=True, time=execution.ended)
    if execution.status == "Error":
        given_up = age > patience.in_all
        return _delivery(execution, "Failed" if given_up else "Retrying", final=given_up, time=execution.ended)
    if tasks is not None and age > patience.stuck_after:
        return _delivery(execution, "Failed", final=True, stuck=True, message=NEVER_SENT)
    return _delivery(execution, "Pending", final=False, stuck=age > patience.in_all)


_FINAL: dict[str, DeliveryStatus] = {"Success": "Succeeded", "Stopped": "Stopped"}


def _by_task(execution: Execution, task: Task, *, age: timedelta, now: datetime, patience: Patience) -> Delivery:
    attempts = task.run_count
    if task.status in _FINAL:
        return _delivery(execution, _FINAL[task.status], final=True, time=task.ended, attempts=attempts)
    if task.status == "Error":
        waiting = now - (task.ended or execution.started)
        given_up = task.run_count >= patience.attempts or waiting > patience.until_next(task.run_count)
        status: DeliveryStatus = "Failed" if given_up else "Retrying"
        return _delivery(execution, status, final=given_up, time=task.ended, attempts=attempts, task=task.id)
    retries = task.run_count > (1 if task.status == "Running" else 0)
    stuck = age > patience.in_all
    return _delivery(execution, "Retrying" if retries else "Pending", final=False, stuck=stuck, attempts=attempts)


def _delivery(
    execution: Execution,
    status: DeliveryStatus,
    *,
    final: bool,
    time: datetime | None = None,
    stuck: bool = False,
    message: str | None = None,
    task: int | None = None,
    attempts: int | None = None,
) -> Delivery:
    return Delivery(
        id=execution.id,
        event_type=execution.event_type,
        event=execution.event,
        started=execution.started,
        status=status,
        final=final,
        time=time or execution.started,
        attempts=attempts,
        message=message,
        stuck=stuck,
        task=task,
        kind=execution.kind,
        target_type=execution.target_type,
        format=execution.format,
        subject=execution.subject,
    )


def judge_job(job: Job, *, now: datetime, patience: Patience) -> Delivery:
    """Judges a job of a Harbor before 2.8. Such jobs do not count attempts: an error is final once the time for retries
    is over."""
    age = now - job.created
    status: DeliveryStatus = "Pending"
    if job.status == "finished":
        status = "Succeeded"
    elif job.status == "stopped":
        status = "Stopped"
    elif job.status == "error":
        status = "Failed" if patience.attempts == 1 or age > patience.in_all else "Retrying"
    return Delivery(
        id=job.id,
        event_type=job.event_type,
        event=job.event,
        started=job.created,
        status=status,
        final=status in ("Succeeded", "Stopped", "Failed"),
        time=job.created if status == "Pending" else job.updated or job.created,
        message=NO_LOGS if status in ("Failed", "Retrying") else None,
        stuck=status == "Pending" and age > patience.in_all,
        target_type=job.target_type,
        format="Slack" if job.target_type == "slack" else "Default",
        subject=job.subject,
    )


# One event


@dataclass(frozen=True)
class Event:
    """All notifications of one event."""

    deliveries: tuple[Delivery, ...]

    @property
    def event_type(self) -> str:
        return self.deliveries[0].event_type

    @property
    def first(self) -> int:
        return min(one.id for one in self.deliveries)

    @property
    def last(self) -> int:
        return max(one.id for one in self.deliveries)

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.deliveries]

    @property
    def settled(self) -> bool:
        return all(one.final for one in self.deliveries)

    @property
    def worst(self) -> Delivery:
        """The notification that decides the event's status; the newest of several."""
        return max(self.deliveries, key=lambda one: (_SEVERITY[one.status], one.id))

    @property
    def status(self) -> DeliveryStatus:
        if self.settled:
            return self.worst.status
        return next(s for s in ("Retrying", "Pending") if any(one.status == s for one in self.deliveries))

    @property
    def time(self) -> datetime:
        """When the last of its notifications reached its state."""
        return max(one.time for one in self.deliveries if one.status == self.status)

    @property
    def failed(self) -> bool:
        """A notification of the event was delivered neither by Harbor nor by a redelivery."""
        return self._failed_in_harbor and not self._was_redelivered

    @property
    def succeeded(self) -> bool:
        return self.settled and self.status == "Succeeded"

    @property
    def recovered(self) -> bool:
        """Every notification that Harbor could not deliver was redelivered."""
        return self._failed_in_harbor and self._was_redelivered

    @property
    def concluded(self) -> bool:
        """The event has a result: it was not stopped."""
        return self.failed or self.succeeded or self.recovered

    @property
    def _failed_in_harbor(self) -> bool:
        return self.settled and self.status == "Failed"

    @property
    def _was_redelivered(self) -> bool:
        return all(one.redelivered for one in self.deliveries if one.status == "Failed")

    @property
    def stuck(self) -> bool:
        return any(one.stuck for one in self.deliveries)

    @property
    def representative(self) -> Delivery:
        """The notification that supplies the event's attempts and message."""
        candidates = [one for one in self.deliveries if one.status == self.status]
        return max(candidates, key=lambda one: (one.attempts or 0, one.id))


_SEVERITY: dict[DeliveryStatus, int] = {"Succeeded": 0, "Stopped": 1, "Pending": 2, "Retrying": 3, "Failed": 4}


def events_of(deliveries: Iterable[Delivery]) -> list[Event]:
    """Groups notifications by event, in the order of the events."""
    grouped: dict[tuple[str, str], list[Delivery]] = {}
    for delivery in sorted(deliveries, key=lambda one: one.id):
        grouped.setdefault((delivery.event_type, delivery.event), []).append(delivery)
    return sorted((Event(tuple(group)) for group in grouped.values()), key=lambda event: event.last)


def to_explain(history: History) -> list[Delivery]:
    """Returns the unexplained failures that the status shows, whose logs are worth reading: one per event type, and the
    newest."""
    events = events_of(history.deliveries)
    shown = list({event.event_type: event for event in events}.values())
    shown += [event for event in events if event.failed][-1:]
    unexplained = (event.representative for event in shown if event.status in ("Failed", "Retrying"))
    return list({one.id: one for one in unexplained if one.message is None}.values())


# The status


@dataclass(frozen=True)
class Progress:
    """The new status of the deliveries, and the events counted in this step."""

    triggers: list[Trigger]
    last_trigger_time: datetime | None
    deliveries: Deliveries | None
    delivering: Delivering
    counted: dict[str, int] = field(default_factory=dict)
    """Events that the cursor has passed, by result."""


def advance(
    before: WebhookPolicyStatus,
    event_types: Sequence[str],
    rows: Sequence[LastTrigger],
    history: History | None,
    off: Delivering | None = None,
    redelivery: Callable[[Deliveries], Deliveries] = lambda deliveries: deliveries,
) -> Progress:
    """Returns the status after a poll. `history` is None as long as this process has read nothing. `off` names the
    switch above the policy that stops its notifications. `redelivery` adds the state of the redelivery."""
    known = _still_valid(before.deliveries, history)
    fresh = _beyond_cursor(known, history)
    events, gap_after = events_of(fresh), history.gap_after if history else None
    whole, passed = _whole(events, gap_after), _passed(events, gap_after)
    triggers = _with_deliveries(merge_triggers(before.triggers, event_types, rows), before.triggers, events)
    last_trigger_time = _latest(before.last_trigger_time, [one.last_trigger_time for one in triggers])
    was_read = history is not None and not history.forbidden
    deliveries = _deliveries(known, fresh, whole, passed) if was_read and (known or fresh) else before.deliveries
    deliveries = redelivery(deliveries) if deliveries is not None else None
    return Progress(
        triggers=triggers,
        last_trigger_time=last_trigger_time,
        deliveries=deliveries,
        delivering=off or _delivering(before.conditions, history, whole, deliveries, last_trigger_time),
        counted=_counted(passed) if known and known.last_execution_id is not None else {},
    )


def _still_valid(known: Deliveries | None, history: History | None) -> Deliveries | None:
    """Returns the known deliveries, without execution ids if Harbor has restarted its numbering."""
    if known is None or history is None or history.renumbered_from is None:
        return known
    return _of_another_numbering(known) if known.last_execution_id == history.renumbered_from else known


def _beyond_cursor(known: Deliveries | None, history: History | None) -> list[Delivery]:
    """Returns the notifications read that the status has not counted yet."""
    cursor = known.last_execution_id if known else None
    arrived = set(known.redelivered_ids) if known else set()
    read = history.deliveries if history else ()
    return [replace(one, redelivered=one.id in arrived) for one in read if cursor is None or one.id > cursor]


def _of_another_numbering(known: Deliveries) -> Deliveries:
    """Drops everything identified by execution ids, which now mean other executions."""
    return known.model_copy(
        update={
            "last_execution_id": None,
            "recent": [],
            "redelivered_ids": [],
            "redeliveries": [],
            "undelivered": 0,
        }
    )


def _with_deliveries(triggers: list[Trigger], before: Sequence[Trigger], events: Sequence[Event]) -> list[Trigger]:
    newest = {event.event_type: event for event in events}
    known = {trigger.event_type: trigger.last_delivery for trigger in before}

    def of(event_type: str) -> LastDelivery | None:
        return _row(newest[event_type], known.get(event_type)) if event_type in newest else known.get(event_type)

    return [trigger.model_copy(update={"last_delivery": of(trigger.event_type)}) for trigger in triggers]


def _row(event: Event, before: LastDelivery | None) -> LastDelivery:
    shown = event.representative
    message = shown.message if event.status in ("Failed", "Retrying") or shown.stuck else None
    row = LastDelivery(status=event.status, time=event.time, attempts=shown.attempts, message=message)
    if before is None or (message is not None and message not in WITHOUT_CAUSE):
        return row
    # Harbor may have swept the log since: keep the message read from it.
    same = (before.status, before.time, before.attempts) == (row.status, row.time, row.attempts)
    return before if same else row


def _passed(events: Sequence[Event], gap_after: int | None) -> list[Event]:
    """Returns the oldest events that the cursor can pass: all settled, with no execution beyond it."""
    passed = 0
    before_gap = [event for event in _whole(events, gap_after) if gap_after is None or event.last <= gap_after]
    for index, event in enumerate(before_gap):
        if not event.settled:
            break
        if all(other.first > event.last for other in events if other.last > event.last):
            passed = index + 1
    return before_gap[:passed]


def _whole(events: Sequence[Event], gap_after: int | None) -> list[Event]:
    """Excludes events bordering a gap: they may continue inside it."""
    if gap_after is None:
        return list(events)
    below = [event for event in events if event.last <= gap_after]
    above = [event for event in events if event.first > gap_after]
    return below[:-1] + above[1:]


def _deliveries(
    known: Deliveries | None, fresh: Sequence[Delivery], events: Sequence[Event], passed: Sequence[Event]
) -> Deliveries:
    before = known or Deliveries()
    cursor = before.last_execution_id
    if cursor is None:
        cursor = min((one.id for one in fresh), default=1) - 1
    successes = [event.time for event in events if event.succeeded]
    failures = [event for event in events if event.failed]
    last_failure = failures[-1] if failures else None
    failure_time = _latest(before.last_failure_time, [event.time for event in failures])
    return before.model_copy(
        update={
            "in_progress": sum(1 for one in fresh if not one.final),
            "consecutive_failures": _consecutive(before.consecutive_failures, events, passed),
            "last_success_time": _latest(before.last_success_time, successes),
            "last_failure_time": failure_time,
            "last_failure_message": _failure_message(before, last_failure),
            "last_execution_id": max([cursor, *(event.last for event in passed)]),
            "recent": _recent(before.recent, events_of(fresh)),
        }
    )


def _recent(before: Sequence[RecentDelivery], events: Sequence[Event]) -> list[RecentDelivery]:
    """Returns the newest events, newest first. An event that was read again replaces its row."""
    known = {row.execution_id: row for row in before}
    rows = [_recent_row(event, next((known[id_] for id_ in event.ids if id_ in known), None)) for event in events]
    read = {id_ for event in events for id_ in event.ids}
    rows += [row for row in before if row.execution_id not in read]
    return sorted(rows, key=lambda row: (row.time, row.execution_id), reverse=True)[:RECENT_LIMIT]


def _recent_row(event: Event, before: RecentDelivery | None) -> RecentDelivery:
    shown = event.representative
    same = before is not None and (before.status, before.attempts) == (event.status, shown.attempts)
    explained = shown.message if event.status in ("Failed", "Retrying") or shown.stuck else None
    known = before.message if before is not None and same else None
    return RecentDelivery(
        execution_id=shown.id,
        event_type=event.event_type,
        subject=shown.subject,
        time=min(one.started for one in event.deliveries),
        status=event.status,
        attempts=shown.attempts,
        message=known if known and (explained is None or explained in WITHOUT_CAUSE) else explained,
        redelivery=before.redelivery if before is not None else None,
    )


def _consecutive(base: int, events: Sequence[Event], passed: Sequence[Event]) -> int:
    """Counts failures in a row. `base` is the count up to the cursor, to which the passed events add.

    A success beyond the new cursor ends the row before it, so only the failures after it count. Without such a success,
    failures beyond the cursor are counted later, when the open event before them settles.
    """
    count = base
    for event in passed:
        count = 0 if event.succeeded or event.recovered else count + event.failed
    beyond = [event for event in events[len(passed) :] if event.settled]
    successes = [index for index, event in enumerate(beyond) if event.succeeded or event.recovered]
    return sum(event.failed for event in beyond[successes[-1] + 1 :]) if successes else count


def _latest(before: datetime | None, times: Sequence[datetime | None]) -> datetime | None:
    return max((time for time in (before, *times) if time is not None), default=None)


def _failure_message(before: Deliveries, last: Event | None) -> str | None:
    if last is None or (before.last_failure_time is not None and last.time < before.last_failure_time):
        return before.last_failure_message
    message = last.representative.message
    same = before.last_failure_time == last.time
    known = before.last_failure_message if same else None
    return known if known and (message is None or message in WITHOUT_CAUSE) else message


def _counted(passed: Iterable[Event]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for event in passed:
        counted[event.status] = counted.get(event.status, 0) + 1
    return counted


# The condition

_REASONS = {
    reason.value: reason
    for reason in (
        DeliveringReason.LAST_DELIVERY_SUCCEEDED,
        DeliveringReason.REDELIVERED,
        DeliveringReason.LAST_DELIVERY_FAILED,
        DeliveringReason.DELIVERIES_STUCK,
    )
}
"""Reasons that describe deliveries; they stay until a newer result replaces them."""
STUCK_MESSAGE = (
    "A notification has been open for longer than Harbor's retries can last. "
    "Ask the administrator of Harbor whether its job service runs."
)


def _delivering(
    conditions: Sequence[Condition],
    history: History | None,
    events: Sequence[Event],
    deliveries: Deliveries | None,
    last_trigger_time: datetime | None,
) -> Delivering:
    if history is not None and history.forbidden:
        return Delivering(
            DeliveringReason.HISTORY_UNAVAILABLE,
            "Harbor does not let the connection's principal read the results of the notifications: "
            "it needs the permission notification-policy:read.",
        )
    newest = next((event for event in reversed(events) if event.concluded), None)
    if _is_stuck(events, newest):
        return Delivering(DeliveringReason.DELIVERIES_STUCK, STUCK_MESSAGE)
    if newest is not None:
        return _of_event(newest, deliveries)
    before = next((condition for condition in conditions if condition.type == "Delivering"), None)
    if history is None and before is not None and before.reason in _REASONS and not is_recovered(deliveries):
        return Delivering(_REASONS[before.reason], before.message)
    return _of_status(history, deliveries, last_trigger_time)


def _is_stuck(events: Iterable[Event], newest: Event | None) -> bool:
    """Whether an event newer than the newest concluded one has been open for too long."""
    newer = (event for event in events if newest is None or event.last > newest.last)
    return any(event.stuck and not event.settled for event in newer)


def _of_event(event: Event, deliveries: Deliveries | None) -> Delivering:
    if event.succeeded:
        return Delivering(DeliveringReason.LAST_DELIVERY_SUCCEEDED)
    if event.recovered:
        return _recovered_or_failed(deliveries)
    if event.representative.stuck:
        return Delivering(DeliveringReason.DELIVERIES_STUCK, NEVER_SENT)
    return _failed(deliveries.last_failure_message if deliveries else event.representative.message)


def is_recovered(deliveries: Deliveries | None) -> bool:
    """Whether every failed event was redelivered."""
    if deliveries is None or not deliveries.redelivered_ids or deliveries.last_failure_time is None:
        return False
    is_newest = deliveries.last_success_time is None or deliveries.last_failure_time >= deliveries.last_success_time
    return is_newest and not deliveries.undelivered and not deliveries.consecutive_failures


def _recovered_or_failed(deliveries: Deliveries | None) -> Delivering:
    """The newest event was redelivered; older ones may still wait."""
    if deliveries is None or not deliveries.undelivered:
        return Delivering(DeliveringReason.REDELIVERED)
    return Delivering(
        DeliveringReason.LAST_DELIVERY_FAILED, "The newest event was sent again and has arrived; older ones have not."
    )


def _failed(message: str | None) -> Delivering:
    return Delivering(
        DeliveringReason.LAST_DELIVERY_FAILED, f"The newest event was not delivered: {message}" if message else ""
    )


def _of_status(
    history: History | None, deliveries: Deliveries | None, last_trigger_time: datetime | None
) -> Delivering:
    """Derives the condition from the status alone, where nothing newly settled was read."""
    if deliveries is not None and deliveries.consecutive_failures:
        if deliveries.last_failure_message == NEVER_SENT:
            return Delivering(DeliveringReason.DELIVERIES_STUCK, NEVER_SENT)
        return _failed(deliveries.last_failure_message)
    if is_recovered(deliveries):
        return Delivering(DeliveringReason.REDELIVERED)
    if deliveries is not None and deliveries.last_success_time is not None:
        return Delivering(DeliveringReason.LAST_DELIVERY_SUCCEEDED)
    if last_trigger_time is None:
        return Delivering(DeliveringReason.NEVER_TRIGGERED)
    if history is None or (deliveries is not None and deliveries.in_progress):
        return Delivering(DeliveringReason.NEVER_TRIGGERED, "The first notification is in progress.")
    return Delivering(DeliveringReason.HISTORY_UNAVAILABLE, "Harbor has swept the results of the notifications.")
