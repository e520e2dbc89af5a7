"""Polls the notifications of a project's policies, and puts the results into the policies' statuses.

One request for last-trigger times per Harbor project and interval serves all its policies. Executions, tasks and logs
are read only for a policy whose last trigger moved or that has open notifications. The poll puts its readings into the
connection's mailbox. The policy's own visit turns them into status, so that only one worker at a time writes to an
object.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harborhook.api.base import DeliveriesKey, Key
from harborhook.api.conditions import Delivering, DeliveringReason, with_delivering
from harborhook.api.deliveries import Deliveries
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.errors import ForbiddenError, NotHarborError, RefusedError
from harborhook.harbor.models import LastTrigger
from harborhook.plan.deliveries import (
    History,
    Progress,
    advance,
)
from harborhook.plan.redelivery import with_waiting
from harborhook.reconcile import redelivery, switches
from harborhook.reconcile.context import Context
from harborhook.reconcile.delivery_history import read_history
from harborhook.reconcile.links import Link
from harborhook.reconcile.mailbox import DeliveryReading
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

logger = logging.getLogger(__name__)

FIRST_POLL = 2.0
"""Seconds until the first poll of a project whose policy was just reconciled."""


def begin(context: Context, key: DeliveriesKey) -> None:
    """Starts polling a project: soon if its first policy was just created; otherwise at a random moment of the
    interval, so that a start does not cause a burst of polls."""
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
    """Returns the pause before the next poll. The first one is random within the interval: projects created together
    would otherwise be polled together for a long time. Later ones never are shorter than requested."""
    if link is not None and project not in link.mailbox.in_rhythm:
        link.mailbox.in_rhythm.add(project)
        return min(interval, _any_moment(context))
    return interval * random.uniform(1.0, 1.1)  # noqa: S311 - no secret


# Reading


async def poll(context: Context, key: DeliveriesKey) -> float | None:
    """Polls one project and wakes the policies that have news.

    Returns the seconds until the next poll; None once no policy needs it. Raises HarborError.
    """
    keys = context.store.own_dependents(key)
    settings = context.settings
    link = context.links.get(key.connection)
    if not keys:
        if link is not None:
            link.mailbox.forget_project(key.project)
        return None
    if link is None or link.verdict is not None:
        return _pause(context, link, key.project, settings.poll_interval)
    readings = await _read(context, link, key.project, keys)
    is_open = any(reading.history is not None and reading.history.open for reading in readings)
    interval = min(settings.open_poll_interval, settings.poll_interval) if is_open else settings.poll_interval
    return _pause(context, link, key.project, interval)


def _has_deliveries(policy: WebhookPolicy) -> bool:
    return policy.status.policy_id is not None and not policy.metadata.deleting


async def _read(context: Context, link: Link, project: str, keys: Sequence[Key]) -> Iterable[DeliveryReading]:
    """Puts readings of these policies into the mailbox, wakes those with news, and returns the readings. Raises
    HarborError.

    Judging an answer takes more CPU than the request. It is skipped, and no reading returned, if the last poll found
    nothing to do and nothing that it considered has changed.
    """
    rows = await _last_triggers(link, project)
    basis = _basis(context, link, keys, rows)
    if link.mailbox.uneventful.get(project) == basis:
        return ()
    link.mailbox.uneventful.pop(project, None)
    policies = [one for one in map(context.load, keys) if isinstance(one, WebhookPolicy) and _has_deliveries(one)]
    found = await _read_policies(context, link, policies, rows)
    news = [_announce(context, link, policy.key) for policy in policies]
    if not any(news) and not any(_is_followed(link, policy, rows) for policy in policies):
        link.mailbox.uneventful[project] = basis
    return found.values()


def _basis(context: Context, link: Link, keys: Iterable[Key], rows: Sequence[LastTrigger] | None) -> tuple[object, ...]:
    """Returns everything that a poll considers, besides the readings of former polls and the state of redelivery.
    Comparing is fast, since the store keeps a body until the object changes."""
    store = context.store
    references = {ref for key in keys for ref in store.references_of(key) if isinstance(ref, Key)}
    projects = sorted(ref for ref in references if ref.kind == "HarborProject")
    bodies = [store.get(key) for key in (*keys, *projects)]
    return rows, bodies, link.notifications_enabled, link.policies_off


def _is_followed(link: Link, policy: WebhookPolicy, rows: Sequence[LastTrigger] | None) -> bool:
    """Whether the next poll has to consider the policy even if nothing changes until then."""
    redelivers = policy.key in link.mailbox.redeliveries
    return redelivers or _must_read(policy, _own_rows(policy, rows or ()), link.mailbox.readings[policy.key])


async def _read_policies(
    context: Context, link: Link, policies: Sequence[WebhookPolicy], rows: Sequence[LastTrigger] | None
) -> dict[Key, DeliveryReading]:
    found = {policy.key: await _read_policy(context, link, policy, rows) for policy in policies}
    for policy in policies:
        await redelivery.take_in(context, link, policy, found[policy.key].history)
    # All together: a time stored without its notifications would count as read.
    link.mailbox.readings.update(found)
    return found


async def _last_triggers(link: Link, project: str) -> list[LastTrigger] | None:
    """Returns None if the principal may not read them."""
    try:
        return await link.client.last_triggers(project)
    except ForbiddenError:
        return None


async def _read_policy(
    context: Context, link: Link, policy: WebhookPolicy, rows: Sequence[LastTrigger] | None
) -> DeliveryReading:
    """Reads one policy: its times, and its notifications if they have changed or are open."""
    policy_id = policy.status.policy_id or 0
    before = link.mailbox.readings.get(policy.key)
    if before is None or before.policy_id != policy_id:
        before = DeliveryReading(policy_id)
    if rows is None:
        return replace(before, history=History(forbidden=True))
    own = _own_rows(policy, rows)
    if not _must_read(policy, own, before):
        return replace(before, rows=own)
    try:
        return DeliveryReading(policy_id, own, await read_history(context, link, policy, before.history))
    except ForbiddenError:
        return DeliveryReading(policy_id, own, History(forbidden=True))
    except (RefusedError, NotHarborError) as error:
        logger.info("%s: its notifications were not read: %s", policy.key, error)
        return before  # keeps the former times, so that the next poll reads it again


def _own_rows(policy: WebhookPolicy, rows: Iterable[LastTrigger]) -> tuple[LastTrigger, ...]:
    return tuple(row for row in rows if row.policy_name == policy.status.policy_name)


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
    """Whether a time is newer, to the millisecond, than in the last reading, or than in the status if there is none."""
    assert row.time is not None
    for old in before.rows:
        if (old.policy_name, old.event_type) == (row.policy_name, row.event_type):
            return old.time is None or row.time > old.time
    known = {trigger.event_type: trigger.last_trigger_time for trigger in policy.status.triggers}.get(row.event_type)
    return known is None or row.time.replace(microsecond=0) > known


# Into the status


def _announce(context: Context, link: Link, key: Key) -> bool:
    """Queues the policy if it has news for its status: now if the condition changes, otherwise once the last write is
    old enough. Returns whether it has."""
    policy = context.load(key)
    if not isinstance(policy, WebhookPolicy):
        return False
    progress = _progress(context, link, policy, link.mailbox.readings.get(key))
    if not _is_news(policy, progress):
        return False
    written = link.mailbox.last_written.get(key)
    interval = context.settings.status_interval
    wait = 0.0 if written is None or _is_urgent(policy, progress) else written + interval - context.queue.clock()
    context.queue.add(key, Cause.DELIVERIES, after=max(0.0, wait))
    return True


async def take_news(visit: Visit[WebhookPolicy], link: Link) -> None:
    """Puts the last reading into the status of this visit."""
    context, policy = visit.context, visit.resource
    reading = link.mailbox.readings.get(policy.key)
    if reading is not None and reading.policy_id != visit.status.policy_id:
        reading = None
    progress = _progress(context, link, _with_deliveries(policy, visit.status.deliveries), reading)
    if _is_news(policy, progress):
        link.mailbox.last_written[policy.key] = context.queue.clock()
        await _record_event(visit, progress)
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


def _with_deliveries(policy: WebhookPolicy, deliveries: Deliveries | None) -> WebhookPolicy:
    """Returns the policy with the deliveries of this visit's status, which redelivery may have changed."""
    return policy.model_copy(update={"status": policy.status.model_copy(update={"deliveries": deliveries})})


def _progress(context: Context, link: Link, policy: WebhookPolicy, reading: DeliveryReading | None) -> Progress:
    """Returns what Harbor reports, with the progress of redelivery."""
    off_by = switches.effective(context, link, policy).off_by
    progress = advance(
        policy.status,
        policy.spec.event_types,
        reading.rows if reading else (),
        reading.history if reading else None,
        Delivering(off_by) if off_by is not None else None,
        redelivery=lambda deliveries: redelivery.brought_in(context, link, policy, deliveries),
    )
    hint = redelivery.hint(context, link, policy)
    return replace(progress, delivering=with_waiting(progress.delivering, progress.deliveries, hint))


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


async def _record_event(visit: Visit[WebhookPolicy], progress: Progress) -> None:
    """Records an Event when notifications begin to fail, and when they arrive again; not for each failure."""
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
        await visit.inform("DeliveryRecovered", f"Notifications arrive again, since {time:%Y-%m-%d %H:%M:%S} UTC.")


def _note(progress: Progress) -> str:
    """Includes the time, so that the same failure an hour later is a separate Event."""
    time = progress.deliveries.last_failure_time if progress.deliveries else None
    when = f" ({time:%Y-%m-%d %H:%M:%S} UTC)" if time else ""
    return f"{progress.delivering.message or progress.delivering.reason.sentence}{when}"
