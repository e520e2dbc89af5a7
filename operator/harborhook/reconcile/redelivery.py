"""Redelivery: what Harbor could not deliver is read from Harbor, and sent again by the operator, one at a time.

In flow what the poll has read of notifications (`take_in`), and the annotation harborhook.io/redeliver. A *step* sends
at most one notification of a policy; it runs on a sender, apart from the workers, because a silent receiver takes its
time. How it ended goes into the policy's mailbox; the policy's own visit writes it into the status (`record`), and only
then is the next step scheduled. So if the process is killed, no more than the notification in flight is sent twice.

Bodies are read right before they are sent, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from harborhook.api.base import Key, SenderKey
from harborhook.api.deliveries import Deliveries
from harborhook.api.webhook_policy import RedeliveryAnswer, WebhookPolicy
from harborhook.harbor.executions import Execution, Job
from harborhook.plan.deliveries import History, judge_job
from harborhook.plan.redelivery import (
    Attempt,
    Backlog,
    Outcome,
    Pauses,
    Waiting,
    brought_up_to_date,
    is_automatic,
    max_age,
    next_attempt,
    recorded,
    waiting,
)
from harborhook.reconcile import claims
from harborhook.reconcile.backlogs import read_backlog
from harborhook.reconcile.context import Context
from harborhook.reconcile.delivery_history import patience_with
from harborhook.reconcile.links import Link
from harborhook.reconcile.redelivery_request import open_request, serve
from harborhook.reconcile.redelivery_send import Step, obstacle, send_again, stored_notification
from harborhook.reconcile.redelivery_state import Redeliveries
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

PACE = 0.2
"""Seconds between two notifications of a policy at least: five a second."""
READ_AGAIN = 3600.0
"""Seconds after which a backlog is read again: Harbor forgets the oldest notifications daily."""
ON_REQUEST = 'Annotation harborhook.io/redeliver: "failed" sends them again.'


# What others ask for


async def take_in(context: Context, link: Link, policy: WebhookPolicy, history: History | None) -> None:
    """Adds to the backlog what a poll has read. Raises HarborError where the rest of it cannot be read."""
    known = policy.status.deliveries
    has_failed = history is not None and any(one.status == "Failed" for one in history.deliveries)
    found = link.mailbox.redeliveries.get(policy.key)
    waits = known is not None and (known.undelivered or known.redeliveries)
    if found is None and not has_failed and not (waits and is_automatic(policy.spec)):
        return
    found = redeliveries_of(link, policy)
    if history is not None and history.renumbered_from is not None:
        found.backlog.is_complete = False
    now = context.queue.clock()
    if not found.backlog.is_complete or (found.backlog.candidates and now - found.read_at > READ_AGAIN):
        await read_backlog(Step(context, link, policy, found))
    if history is not None:
        found.backlog.take_in(history.deliveries)
    schedule(context, link, policy.key)


def redeliveries_of(link: Link, policy: WebhookPolicy) -> Redeliveries:
    """That of another policy in Harbor, such as one that was recreated there, means nothing for this one."""
    policy_id = policy.status.policy_id or 0
    found = link.mailbox.redeliveries.get(policy.key)
    if found is None or found.backlog.policy_id != policy_id:
        found = link.mailbox.redeliveries[policy.key] = Redeliveries(Backlog(policy_id))
    return found


def brought_in(context: Context, link: Link, policy: WebhookPolicy, deliveries: Deliveries) -> Deliveries:
    """The deliveries of a status with the backlog as it is now."""
    found = link.mailbox.redeliveries.get(policy.key)
    if found is None or not found.backlog.read_once or found.backlog.policy_id != policy.status.policy_id:
        return deliveries
    now = context.now()
    waits = waiting(found.backlog, policy.spec, deliveries, now)
    return brought_up_to_date(deliveries, found.backlog, waits, now, _pauses(context))


def hint(context: Context, link: Link, policy: WebhookPolicy) -> str:
    """Why nothing is sent at the moment, or how to have it sent; empty where neither is of use."""
    why_not = obstacle(context, link, policy)
    if is_automatic(policy.spec):
        return why_not or ""
    return "" if why_not else ON_REQUEST


async def record(visit: Visit[WebhookPolicy]) -> None:
    """Puts what was sent, and the answer to a request, into the status that is being built; what is in it when that
    has been written is not put in again, and the next step follows."""
    context, policy = visit.context, visit.resource
    link = claims.link_of(context, policy.key)
    found = link.mailbox.redeliveries.get(policy.key) if link is not None else None
    if link is None or found is None:
        return
    outcomes, answer = list(found.outcomes), found.answer
    deliveries = visit.status.deliveries or Deliveries()
    for outcome in outcomes:
        deliveries = recorded(deliveries, outcome, _pauses(context))
    if outcomes:
        visit.record(deliveries=deliveries)
    if answer is not None:
        visit.record(redelivery=answer)
    await _announce(visit, found, deliveries)
    visit.once_written.append(lambda: _written(context, link, policy.key, outcomes, answer))


def _written(
    context: Context, link: Link, key: Key, outcomes: Sequence[Outcome], answer: RedeliveryAnswer | None
) -> None:
    found = link.mailbox.redeliveries.get(key)
    if found is None:
        return
    found.outcomes = found.outcomes[len(outcomes) :]
    if found.answer is answer:
        found.answer = None
    for outcome in outcomes:
        context.metrics.count_redelivery(outcome.result)
    schedule(context, link, key, pace=PACE if outcomes else 0.0)


def schedule(context: Context, link: Link, key: Key, *, pace: float = 0.0) -> None:
    """Lets the next step be made when it is due, if there is one. `pace`: not sooner than in so many seconds."""
    policy = context.load(key)
    if not isinstance(policy, WebhookPolicy) or policy.metadata.deleting:
        return
    if open_request(policy) is not None:
        context.sending.add(SenderKey("Redelivery", key), Cause.CHANGE, after=pace)
        return
    found = link.mailbox.redeliveries.get(key)
    if found is None or not is_automatic(policy.spec) or obstacle(context, link, policy) is not None:
        return
    due = _due(found, policy, context.now())
    if due is not None:
        after = max(pace, (due - context.clock.now()).total_seconds())
        context.sending.add(SenderKey("Redelivery", key), Cause.POLL, after=after)


def _due(found: Redeliveries, policy: WebhookPolicy, now: datetime) -> datetime | None:
    """When something has to be done: an attempt, or the expiry of the oldest that waits."""
    if not found.backlog.is_complete:
        return now
    deliveries = policy.status.deliveries or Deliveries()
    waits = waiting(found.backlog, policy.spec, deliveries, now)
    following = next_attempt(waits, found.backlog, deliveries, now)
    if isinstance(following, Attempt):
        return now
    oldest = [candidates[0].started + max_age(policy.spec.redelivery) for candidates in waits.by_target.values()]
    return min([*oldest, *([following] if following is not None else [])], default=None)


# A step


async def make_step(context: Context, key: Key) -> None:
    """Sends at most one notification of a policy. Raises HarborError."""
    policy, link = context.load(key), claims.link_of(context, key)
    if not isinstance(policy, WebhookPolicy) or policy.metadata.deleting or policy.status.policy_id is None:
        return
    if link is None or link.verdict is not None:
        return  # the policy is reconciled when the connection works again, and then this is scheduled again
    step = Step(context, link, policy, redeliveries_of(link, policy))
    if step.state.outcomes or step.state.answer is not None:
        return  # until that is in the status
    text = open_request(policy)
    if text is not None:
        await serve(step, text)
    elif is_automatic(policy.spec) and obstacle(context, link, policy) is None:
        await _try_next(step)


async def _try_next(step: Step) -> None:
    """Sends the notification whose turn it is, if that has come."""
    context, key, backlog, now = step.context, step.policy.key, step.state.backlog, step.context.now()
    if not backlog.is_complete:
        await read_backlog(step)
    waits = waiting(backlog, step.policy.spec, step.deliveries, now)
    if _newly_expired(step.state, waits):
        context.queue.add(key, Cause.DELIVERIES)
    following = next_attempt(waits, backlog, step.deliveries, now)
    outcome = await _attempt(step, following.candidate.id) if isinstance(following, Attempt) else None
    if outcome is None:
        schedule(context, step.link, key, pace=PACE)
        return
    step.state.outcomes.append(outcome)
    context.queue.add(key, Cause.DELIVERIES)


async def _attempt(step: Step, execution: int) -> Outcome | None:
    """Sends a candidate, unless Harbor is at it again or has delivered it after all: then None."""
    backlog, stored = step.state.backlog, await stored_notification(step, execution)
    if stored is None:
        backlog.drop(execution)
        backlog.is_complete = False  # others may have gone with it
        step.state.gone += 1
        return Outcome(execution, "Gone", step.context.now())
    if not _has_failed(step, stored.notification):
        backlog.drop(execution)
        return None
    return await send_again(step, stored)


def _has_failed(step: Step, notification: Execution | Job) -> bool:
    """By the state that Harbor has now; it stays `Running` where the job service never had it (Harbor 2.16)."""
    if isinstance(notification, Execution):
        return notification.status in ("Error", "Running", "Pending")
    patience = patience_with(step.context, step.link)
    return judge_job(notification, now=step.link.client.now(), patience=patience).status == "Failed"


def _pauses(context: Context) -> Pauses:
    settings = context.settings
    return Pauses(timedelta(seconds=settings.redelivery_pause), timedelta(seconds=settings.redelivery_longest_pause))


# Events


def _newly_expired(found: Redeliveries, waits: Waiting) -> list[int]:
    return [one.id for one in waits.expired if one.id not in found.backlog.expired]


async def _announce(visit: Visit[WebhookPolicy], found: Redeliveries, deliveries: Deliveries) -> None:
    """One Event for a batch, when it is over; one for what has become too old."""
    policy, now = visit.resource, visit.context.now()
    waits = waiting(found.backlog, policy.spec, deliveries, now)
    is_paused = any(row.next_attempt_time is not None for row in deliveries.redeliveries)
    if found.sent and found.request is None and (is_paused or not waits.count):
        gone = f" Harbor no longer has {found.gone} more." if found.gone else ""
        await visit.tell(
            "Redelivered",
            f"{_notifications(found.sent)} that Harbor could not deliver since {found.since:%Y-%m-%d %H:%M:%S} UTC "
            f"arrived when the operator sent {'it' if found.sent == 1 else 'them'} again.{gone}",
        )
        found.sent, found.since, found.gone = 0, None, 0
    expired = _newly_expired(found, waits)
    if expired:
        found.backlog.expired.update(expired)
        for _ in expired:
            visit.context.metrics.count_redelivery("Expired")
        await visit.warn(
            "RedeliveryExpired",
            f"{_notifications(len(expired))} could not be delivered within redelivery.maxAge and will not be sent "
            "again automatically; annotation harborhook.io/redeliver still sends what Harbor has.",
        )


def _notifications(count: int) -> str:
    return "1 notification" if count == 1 else f"{count} notifications"


def is_recorded(context: Context) -> bool:
    """Whether the statuses have all that was sent."""
    found = (one for link in context.links.values() for one in link.mailbox.redeliveries.values())
    return not any(one.outcomes for one in found)
