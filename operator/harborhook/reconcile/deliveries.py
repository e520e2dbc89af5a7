"""Delivery news: what Harbor tells of the notifications of a project's policies, and how it gets into their status.

One request for last-trigger times per Harbor project and interval serves all its policies. Executions, tasks and logs
are read only for a policy whose last trigger moved or whose notifications are open. The poll puts what it read into the
connection's mailbox; the policy's own visit turns it into status, so that one worker at a time writes to an object.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from harborhook.api.base import DeliveriesKey, Key, SecretKeyRef
from harborhook.api.conditions import Delivering, DeliveringReason, NotReady, with_delivering
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.capabilities import Version, parse_version
from harborhook.harbor.errors import ForbiddenError, NotFoundError, NotHarborError, RefusedError
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.harbor.models import LastTrigger
from harborhook.kube.gateway import KubeError
from harborhook.plan.deliveries import (
    ATTEMPTS,
    LEGACY_ATTEMPTS,
    Delivery,
    History,
    Patience,
    Progress,
    advance,
    judge,
    judge_job,
    to_explain,
)
from harborhook.plan.failures import LOG_GONE, LOG_UNREADABLE, Receivers, reason_of, receivers
from harborhook.reconcile import switches
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.mailbox import DeliveryReading
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

logger = logging.getLogger(__name__)

FIRST_POLL = 2.0
"""Seconds after which the times of a project are first read for a policy that was just looked at."""
EXECUTIONS: Version = (2, 8, 0)
"""The first Harbor that tells of executions."""
MOST_PAGES = 5
"""Pages of a policy's notifications that one poll reads; what is left over is read by the next one."""
MOST_TASKS = 50
"""Tasks of a policy that one poll reads."""

Row = TypeVar("Row", Execution, Job)


def begin(context: Context, key: DeliveriesKey) -> None:
    """Sees to it that the times of a project are read from now on: soon for the first policy that was just made, else
    at any moment of the interval, so that after a start not all projects are read at once."""
    if context.queue.waits(key):
        return
    link = context.links.get(key.connection)
    bodies = (context.store.get(policy) or {} for policy in context.store.dependents(key))
    is_known = any((body.get("status") or {}).get("policyID") is not None for body in bodies)
    if link is not None and is_known:
        link.mailbox.in_rhythm.add(key.project)
    context.queue.add(key, Cause.POLL, after=_any_moment(context) if is_known else FIRST_POLL)


def _any_moment(context: Context) -> float:
    return context.settings.poll_interval * random.random()  # noqa: S311 - no secret


def _pause(context: Context, link: Link | None, project: str, interval: float) -> float:
    """Until the times of a project are read again. The first time at any moment of the interval: what was made at once
    would else be read at once for a long time. Later never sooner than asked for."""
    if link is not None and project not in link.mailbox.in_rhythm:
        link.mailbox.in_rhythm.add(project)
        return min(interval, _any_moment(context))
    return interval * random.uniform(1.0, 1.1)  # noqa: S311 - no secret


# Reading


async def poll(context: Context, key: DeliveriesKey) -> float | None:
    """Reads the news of one project and wakes the policies that have some.

    Returns when to read again, in seconds; None when no policy needs it any more. Raises HarborError.
    """
    keys = context.store.own_dependents(key)
    settings = context.settings
    link = context.links.get(key.connection)
    if not keys:
        if link is not None:
            link.mailbox.in_rhythm.discard(key.project)
        return None
    if link is None or link.verdict is not None:
        return _pause(context, link, key.project, settings.poll_interval)
    rows = await _last_triggers(link, key.project)
    policies = [policy for policy in map(context.load, keys) if isinstance(policy, WebhookPolicy)]
    found = {policy.key: await _look(context, link, policy, rows) for policy in policies if _is_told(policy)}
    # All at once: a time without the notifications it tells of would be taken for known.
    link.mailbox.readings.update(found)
    for policy in policies:
        if policy.key in found:
            _announce(context, link, policy.key)
    is_open = any(reading.history is not None and reading.history.open for reading in found.values())
    interval = min(settings.open_poll_interval, settings.poll_interval) if is_open else settings.poll_interval
    return _pause(context, link, key.project, interval)


def _is_told(policy: WebhookPolicy) -> bool:
    return policy.status.policy_id is not None and not policy.metadata.deleting


async def _last_triggers(link: Link, project: str) -> list[LastTrigger] | None:
    """None if the principal may not read them."""
    try:
        return await link.client.last_triggers(project)
    except ForbiddenError:
        return None


async def _look(
    context: Context, link: Link, policy: WebhookPolicy, rows: Sequence[LastTrigger] | None
) -> DeliveryReading:
    """The news of one policy: its times, and its notifications if they have to be read (again)."""
    policy_id = policy.status.policy_id or 0
    before = link.mailbox.readings.get(policy.key)
    if before is None or before.policy_id != policy_id:
        before = DeliveryReading(policy_id)
    if rows is None:
        return replace(before, history=History(forbidden=True))
    own = tuple(row for row in rows if row.policy_name == policy.status.policy_name)
    if not _must_read(policy, own, before):
        return replace(before, rows=own)
    try:
        return DeliveryReading(policy_id, own, await _history(context, link, policy, before.history))
    except ForbiddenError:
        return DeliveryReading(policy_id, own, History(forbidden=True))
    except (RefusedError, NotHarborError) as error:
        logger.info("%s: its notifications were not read: %s", policy.key, error)
        return before  # its times are not taken over, so that the next poll reads it


def _must_read(policy: WebhookPolicy, rows: Iterable[LastTrigger], before: DeliveryReading) -> bool:
    history, known = before.history, policy.status.deliveries
    if history is not None and (history.open or history.forbidden):
        return True
    if history is None and known is not None and known.in_progress:
        return True
    triggered = [row for row in rows if row.time is not None and row.event_type in policy.spec.event_types]
    if history is None and known is None and triggered:
        return True
    return any(_moved(policy, row, before) for row in triggered)


def _moved(policy: WebhookPolicy, row: LastTrigger, before: DeliveryReading) -> bool:
    """Whether a time is newer than the last reading's, to the millisecond; than the status's, if that was the last."""
    assert row.time is not None
    for old in before.rows:
        if (old.policy_name, old.event_type) == (row.policy_name, row.event_type):
            return old.time is None or row.time > old.time
    known = {trigger.event_type: trigger.last_trigger_time for trigger in policy.status.triggers}.get(row.event_type)
    return known is None or row.time.replace(microsecond=0) > known


async def _history(context: Context, link: Link, policy: WebhookPolicy, before: History | None) -> History:
    """Everything above the cursor, judged; what was final in the last reading is not asked for again."""
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    cursor = policy.status.deliveries.last_execution_id if policy.status.deliveries else None
    known = {one.id: one for one in before.deliveries} if before else {}
    patience, now = _patience(context, link), link.client.now()
    client = link.client
    if _is_legacy(link):
        jobs = await _pages(client.jobs, project, policy_id, cursor)
        judged = [judge_job(job, now=now, patience=patience) for job in jobs.rows]
        return History(tuple(judged), jobs.gap_after, renumbered_from=jobs.renumbered_from)
    read = await _pages(client.executions, project, policy_id, cursor)
    tasks = await _tasks(link, project, policy_id, read.rows, known)
    judged = [_judged(execution, known, tasks, patience, now) for execution in read.rows]
    history = History(tuple(judged), read.gap_after, renumbered_from=read.renumbered_from)
    return await _explained(context, link, policy, history)


def _judged(
    execution: Execution,
    known: Mapping[int, Delivery],
    tasks: Mapping[int, Sequence[Task]],
    patience: Patience,
    now: datetime,
) -> Delivery:
    before = known.get(execution.id)
    if before is not None and before.final:
        return before
    judged = judge(execution, tasks.get(execution.id), now=now, patience=patience)
    if before is None or judged.message is not None or judged.status not in ("Failed", "Retrying"):
        return judged
    # The log is that of the last attempt: while the next one runs there is nothing newer to say.
    same_attempt = judged.task is None or judged.attempts == before.attempts
    return replace(judged, message=before.message if same_attempt else None)


class _Pages:
    """What was read of a list by id."""

    rows: list[Any]

    def __init__(self, rows: Iterable[Any], gap_after: int | None = None, renumbered_from: int | None = None) -> None:
        self.rows = sorted({row.id: row for row in rows}.values(), key=lambda row: int(row.id))
        self.gap_after = gap_after
        self.renumbered_from = renumbered_from


async def _pages(
    read: Callable[..., Awaitable[tuple[list[Row], int]]], project: str, policy_id: int, cursor: int | None
) -> _Pages:
    """All rows above the cursor. Of very many the newest, which tell how things are, and the oldest, which move the
    cursor. A policy that was never looked at: the newest page."""
    first, total = await read(project, policy_id, above=cursor)
    rows: list[Row] = list(first)
    if cursor is None:
        return _Pages(rows)
    if not rows:
        return await _renumbered(read, project, policy_id, cursor)
    if total <= len(rows):
        return _Pages(rows)
    pages = -(-total // len(rows))
    if pages <= MOST_PAGES:
        for page in range(2, pages + 1):
            rows += (await read(project, policy_id, above=cursor, page=page))[0]
        return _Pages(rows)
    oldest: list[Row] = []
    for page in range(1, MOST_PAGES):
        oldest += (await read(project, policy_id, above=cursor, newest_first=False, page=page))[0]
    return _Pages([*oldest, *rows], gap_after=max((row.id for row in oldest), default=cursor))


async def _renumbered(
    read: Callable[..., Awaitable[tuple[list[Row], int]]], project: str, policy_id: int, cursor: int
) -> _Pages:
    """Something happened, but nothing is above the cursor: after an upgrade to 2.8, or from a backup, Harbor counts
    anew."""
    rows, _ = await read(project, policy_id)
    if rows and max(row.id for row in rows) < cursor:
        return _Pages(rows, renumbered_from=cursor)
    return _Pages([])


async def _tasks(
    link: Link, project: str, policy_id: int, executions: Sequence[Execution], known: Mapping[int, Delivery]
) -> dict[int, Sequence[Task]]:
    """The tasks of what may still change, and of the newest event of each type, for its attempts."""
    newest = {execution.event_type: execution.event for execution in executions}
    unknown = [one for one in executions if one.id not in known or not known[one.id].final]
    shown = [one for one in unknown if newest[one.event_type] == one.event]
    others = [one for one in unknown if newest[one.event_type] != one.event and one.status != "Success"]
    tasks: dict[int, Sequence[Task]] = {}
    for execution in [*shown, *others][:MOST_TASKS]:
        try:
            tasks[execution.id] = await link.client.tasks(project, policy_id, execution.id)
        except NotFoundError:
            continue  # swept since it was listed
    return tasks


async def _explained(context: Context, link: Link, policy: WebhookPolicy, history: History) -> History:
    """With the reasons of the failures that are shown."""
    reasons = {one.id: await _reason(context, link, policy, one) for one in to_explain(history)}
    deliveries = [replace(one, message=reasons[one.id]) if reasons.get(one.id) else one for one in history.deliveries]
    return replace(history, deliveries=tuple(deliveries))


async def _reason(context: Context, link: Link, policy: WebhookPolicy, delivery: Delivery) -> str | None:
    if delivery.task is None:
        return LOG_GONE if delivery.final else None
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    try:
        log = await link.client.task_log(project, policy_id, delivery.id, delivery.task)
    except (RefusedError, NotHarborError):
        return LOG_UNREADABLE
    if log is None:
        return LOG_GONE
    return reason_of(log, await _receivers(context, link, policy, delivery.kind))


async def _receivers(context: Context, link: Link, policy: WebhookPolicy, kind: str) -> Receivers:
    """The targets that a notification can have gone to, and all secrets that its log can hold."""
    addresses, headers, complete = [], [], True
    possible = []
    for target in policy.spec.targets:
        address = target.address
        try:
            if target.auth_header_from is not None:
                headers.append(await _secret(context, policy, target.auth_header_from.secret_key_ref))
            if target.address_from is not None:
                address = await _secret(context, policy, target.address_from.secret_key_ref)
        except (NotReady, KubeError):
            complete = False
        if address:
            addresses.append(address)
            if target.type == ("slack" if kind == "SLACK" else "http"):
                possible.append(address)
    everything = receivers(link.connection, addresses, headers)
    asked = receivers(link.connection, possible, ())
    return Receivers(asked.hosts if complete else frozenset(), asked.quotable and complete, everything.secrets)


async def _secret(context: Context, policy: WebhookPolicy, ref: SecretKeyRef) -> str:
    value = await context.secrets.value(Key("Secret", policy.metadata.namespace, ref.name), ref.key)
    return value.decode(errors="replace").strip("\r\n")


def _is_legacy(link: Link) -> bool:
    version = parse_version(link.version or "")
    return version is not None and version < EXECUTIONS


def _patience(context: Context, link: Link) -> Patience:
    attempts = link.connection.spec.delivery_max_attempts or (LEGACY_ATTEMPTS if _is_legacy(link) else ATTEMPTS)
    return Patience(attempts, timedelta(seconds=context.settings.stuck_after))


# Telling


def _announce(context: Context, link: Link, key: Key) -> None:
    """Lets the policy's status be written: now if the condition changes, else when the last writing is old enough."""
    policy = context.load(key)
    if not isinstance(policy, WebhookPolicy):
        return
    progress = _progress(context, link, policy, link.mailbox.readings.get(key))
    if not _is_news(policy, progress):
        return
    written = link.mailbox.last_written.get(key)
    interval = context.settings.status_interval
    wait = 0.0 if written is None or _is_urgent(policy, progress) else written + interval - context.queue.clock()
    context.queue.add(key, Cause.DELIVERIES, after=max(0.0, wait))


async def take_news(visit: Visit[WebhookPolicy], link: Link) -> None:
    """Puts the last reading into the status that is being built."""
    context, policy = visit.context, visit.resource
    reading = link.mailbox.readings.get(policy.key)
    if reading is not None and reading.policy_id != visit.status.policy_id:
        reading = None
    progress = _progress(context, link, policy, reading)
    if _is_news(policy, progress):
        link.mailbox.last_written[policy.key] = context.queue.clock()
        await _tell(visit, progress)
    visit.record(
        triggers=progress.triggers,
        last_trigger_time=progress.last_trigger_time,
        deliveries=progress.deliveries,
        conditions=with_delivering(
            progress.delivering,
            visit.status.conditions,
            generation=policy.metadata.generation,
            now=context.now(),
        ),
    )
    project = visit.status.project_name or ""
    visit.once_written.append(lambda: context.metrics.count_deliveries(policy.key, project, progress.counted))


def _progress(context: Context, link: Link, policy: WebhookPolicy, reading: DeliveryReading | None) -> Progress:
    off_by = switches.effective(context, link, policy).off_by
    return advance(
        policy.status,
        policy.spec.event_types,
        reading.rows if reading else (),
        reading.history if reading else None,
        Delivering(off_by) if off_by is not None else None,
    )


def _is_news(policy: WebhookPolicy, progress: Progress) -> bool:
    status, condition = policy.status, policy.status.condition("Delivering")
    reason, message = progress.delivering.reason, progress.delivering.message
    return (
        (status.triggers, status.last_trigger_time, status.deliveries)
        != (progress.triggers, progress.last_trigger_time, progress.deliveries)
        or condition is None
        or (condition.reason, condition.message) != (reason.value, message or reason.sentence)
    )


def _is_urgent(policy: WebhookPolicy, progress: Progress) -> bool:
    condition = policy.status.condition("Delivering")
    return condition is None or condition.reason != progress.delivering.reason.value


_FAILING = (DeliveringReason.LAST_DELIVERY_FAILED, DeliveringReason.DELIVERIES_STUCK)


async def _tell(visit: Visit[WebhookPolicy], progress: Progress) -> None:
    """An Event when notifications begin to fail, and when they arrive again; none for each that fails."""
    before = visit.resource.status.condition("Delivering")
    known = visit.resource.status.deliveries
    failed = before is not None and before.reason in _FAILING
    fails = progress.delivering.reason in _FAILING
    arrives = progress.delivering.reason is DeliveringReason.LAST_DELIVERY_SUCCEEDED
    was_switched_on = known is not None and known.consecutive_failures > 0 and not failed
    if fails and not failed and not was_switched_on:
        await visit.warn("DeliveryFailed", _note(progress))
    elif arrives and (failed or was_switched_on):
        time = progress.deliveries.last_success_time if progress.deliveries else None
        await visit.tell("DeliveryRecovered", f"Notifications arrive again, since {time:%Y-%m-%d %H:%M:%S} UTC.")


def _note(progress: Progress) -> str:
    """With the time, so that the same failure an hour later is another Event."""
    time = progress.deliveries.last_failure_time if progress.deliveries else None
    when = f" ({time:%Y-%m-%d %H:%M:%S} UTC)" if time else ""
    return f"{progress.delivering.message or progress.delivering.reason.sentence}{when}"
