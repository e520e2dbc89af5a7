"""Redelivery: sends notifications again that Harbor could not deliver, one at a time per policy.

Its inputs are the readings of the poll (`take_in`) and the annotation harborhook.io/redeliver. A *step* sends at most
one notification of a policy. It runs in a sender, not in a worker, because a silent receiver takes its time. The result
goes into the policy's mailbox; the policy's own visit writes it into the status (`record`), and only then the next step
is scheduled. So if the process is killed, no more than the notification in flight is sent twice.

Bodies are read right before they are sent, and never kept.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from harborhook.api.base import Key, SenderKey
from harborhook.api.deliveries import Deliveries
from harborhook.api.webhook_policy import RedeliveryAnswer, WebhookPolicy
from harborhook.harbor.errors import NotHarborError, RefusedError
from harborhook.plan.deliveries import History
from harborhook.plan.redelivery import (
    Attempt,
    AttemptOutcome,
    Backlog,
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
from harborhook.reconcile.backlogs import READ_AGAIN, count_gone, read_backlog
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.redelivery_request import open_request, serve
from harborhook.reconcile.redelivery_send import (
    OutdatedError,
    Step,
    judged,
    obstacle,
    send_again,
    stored_notification,
)
from harborhook.reconcile.redelivery_state import Redeliveries
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

logger = logging.getLogger(__name__)

PACE = 0.2
"""Minimum seconds between two steps of a policy: five notifications a second."""
LATER = 300.0
"""Seconds until a backlog is read again after Harbor was found to be still trying one of its notifications."""
ON_REQUEST = 'Annotation harborhook.io/redeliver: "failed" sends them again.'


# Called by polls and visits


async def take_in(context: Context, link: Link, policy: WebhookPolicy, history: History | None) -> None:
    """Adds the readings of a poll to the backlog. Raises HarborError if the rest of it cannot be read."""
    known = policy.status.deliveries
    has_failed = history is not None and any(one.status == "Failed" for one in history.deliveries)
    found = link.mailbox.redeliveries.get(policy.key)
    waits = known is not None and (known.undelivered or known.redeliveries)
    if found is None and not has_failed and not waits:
        return
    if history is not None and history.renumbered_from is not None and _cursor(policy) == history.renumbered_from:
        state = link.mailbox.redeliveries[policy.key] = _new(policy)
        state.renumbered_from = history.renumbered_from
        return  # until the status has dropped the ids of the former numbering
    found = redeliveries_of(link, policy)
    if _has_passed_over(found, history, _cursor(policy)):
        found.backlog.is_complete = False
    if not found.backlog.is_complete or context.queue.clock() >= found.read_again_at:
        try:
            await read_backlog(Step(context, link, policy, found))
        except (RefusedError, NotHarborError) as error:  # affects this policy alone
            logger.info("%s: the undelivered notifications could not be read: %s", policy.key, error)
    if history is not None:
        found.backlog.take_in(history.deliveries)
    if found.backlog.candidates:
        found.read_again_at = min(found.read_again_at, context.queue.clock() + READ_AGAIN)
    schedule(context, link, policy.key)


def _has_passed_over(found: Redeliveries, history: History | None, cursor: int | None) -> bool:
    """Whether the cursor has passed an execution that was undecided when the backlog was read and that no poll follows.
    Polls read only the newest notifications of a policy without a cursor, and of one with very many."""
    found.undecided -= {one.id for one in history.deliveries} if history is not None else set()
    return any(one <= (cursor or 0) for one in found.undecided)


def _cursor(policy: WebhookPolicy) -> int | None:
    return policy.status.deliveries.last_execution_id if policy.status.deliveries else None


def _new(policy: WebhookPolicy) -> Redeliveries:
    return Redeliveries(Backlog(policy.status.policy_id or 0))


def redeliveries_of(link: Link, policy: WebhookPolicy) -> Redeliveries:
    """Returns the state for this policy in Harbor; the state of a former one, such as before a recreation, is
    dropped."""
    found = link.mailbox.redeliveries.get(policy.key)
    if found is None or found.backlog.policy_id != (policy.status.policy_id or 0):
        found = link.mailbox.redeliveries[policy.key] = _new(policy)
    return found


def brought_in(context: Context, link: Link, policy: WebhookPolicy, deliveries: Deliveries) -> Deliveries:
    """Returns the deliveries of a status, updated from the present backlog."""
    found = link.mailbox.redeliveries.get(policy.key)
    if found is None or not found.backlog.read_once or found.backlog.policy_id != policy.status.policy_id:
        return deliveries
    known = policy.status.deliveries
    has_news = known is not None and deliveries.last_success_time != known.last_success_time
    waits = waiting(found.backlog, policy.spec, deliveries, link.client.now())
    return brought_up_to_date(
        deliveries, found.backlog, waits, context.now(), _pauses(context), has_news_of_success=has_news
    )


def hint(context: Context, link: Link, policy: WebhookPolicy) -> str:
    """Returns why nothing is sent at present, or how to request it; empty if neither applies."""
    why_not = obstacle(context, link, policy)
    if is_automatic(policy.spec):
        return why_not or ""
    return "" if why_not else ON_REQUEST


async def record(visit: Visit[WebhookPolicy]) -> None:
    """Puts results of attempts and the answer to a request into the status of this visit. Once the status is written,
    they are dropped and the next step is scheduled."""
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
    await _announce(visit, link, found, deliveries)
    visit.once_written.append(lambda: _written(context, link, policy.key, outcomes, answer))


def _written(
    context: Context, link: Link, key: Key, outcomes: Sequence[AttemptOutcome], answer: RedeliveryAnswer | None
) -> None:
    found = link.mailbox.redeliveries.get(key)
    if found is None:
        return
    found.outcomes = found.outcomes[len(outcomes) :]
    if found.answer is answer:
        found.answer = None
    for outcome in outcomes:
        context.metrics.count_redelivery(outcome.result)
    schedule(context, link, key)


def schedule(context: Context, link: Link, key: Key) -> None:
    """Schedules the next step for when it is due, if there is one."""
    policy, found = context.load(key), link.mailbox.redeliveries.get(key)
    if not isinstance(policy, WebhookPolicy) or policy.metadata.deleting:
        return
    pace = max(0.0, found.not_before - context.queue.clock()) if found is not None else 0.0
    if open_request(policy) is not None:
        context.sending.add(SenderKey("Redelivery", key), Cause.CHANGE, after=pace)
    elif found is not None and is_automatic(policy.spec) and obstacle(context, link, policy) is None:
        after = _until_due(context, link, found, policy)
        if after is not None:
            context.sending.add(SenderKey("Redelivery", key), Cause.POLL, after=max(pace, after))


def _until_due(context: Context, link: Link, found: Redeliveries, policy: WebhookPolicy) -> float | None:
    """Returns the seconds until the next attempt or the expiry of the oldest waiting notification."""
    if not found.backlog.is_complete:
        return 0.0
    deliveries, harbors_now = policy.status.deliveries or Deliveries(), link.client.now()
    waits = waiting(found.backlog, policy.spec, deliveries, harbors_now)
    following = next_attempt(waits, found.backlog, deliveries, context.now())
    if isinstance(following, Attempt):
        return 0.0
    oldest = [candidates[0].started + max_age(policy.spec.redelivery) for candidates in waits.by_target.values()]
    ends = [(end - harbors_now).total_seconds() for end in oldest]
    if following is not None:
        ends.append((following - context.clock.now()).total_seconds())
    return min(ends, default=None)


# A step


async def make_step(context: Context, key: Key) -> None:
    """Sends at most one notification of a policy. Raises HarborError."""
    policy, link = context.load(key), claims.link_of(context, key)
    if not isinstance(policy, WebhookPolicy) or policy.metadata.deleting or policy.status.policy_id is None:
        return
    if link is None or link.verdict is not None:
        return  # the visit after the connection's recovery schedules it again
    step = Step(context, link, policy, redeliveries_of(link, policy))
    if step.state.outcomes or step.state.answer is not None or _is_of_another_numbering(step):
        return  # until the status has the results and has dropped former ids
    step.state.not_before = context.queue.clock() + PACE
    try:
        await _make(step)
    except OutdatedError:
        schedule(context, link, key)


async def _make(step: Step) -> None:
    text = open_request(step.policy)
    if text is not None:
        await serve(step, text)
    elif is_automatic(step.policy.spec) and obstacle(step.context, step.link, step.policy) is None:
        await _try_next(step)


def _is_of_another_numbering(step: Step) -> bool:
    known = step.state.renumbered_from
    return known is not None and _cursor(step.policy) == known


async def _try_next(step: Step) -> None:
    """Sends the next notification if its time has come."""
    context, key, backlog = step.context, step.policy.key, step.state.backlog
    if not backlog.is_complete:
        await read_backlog(step)
        context.queue.add(key, Cause.DELIVERIES)  # updates the counts, and announces lost notifications
    waits = waiting(backlog, step.policy.spec, step.deliveries, step.link.client.now())
    if _newly_expired(step.state, waits):
        context.queue.add(key, Cause.DELIVERIES)
    following = next_attempt(waits, backlog, step.deliveries, context.now())
    outcome = await _attempt(step, following.candidate.id) if isinstance(following, Attempt) else None
    if outcome is None:
        schedule(context, step.link, key)
        return
    step.state.outcomes.append(outcome)
    context.queue.add(key, Cause.DELIVERIES)


async def _attempt(step: Step, execution: int) -> AttemptOutcome | None:
    """Sends a candidate; returns None if Harbor is trying it again or has delivered it after all."""
    backlog, stored = step.state.backlog, await stored_notification(step, execution)
    if stored is None:
        backlog.give_up(execution)
        count_gone(step, 1)
        backlog.is_complete = False  # Harbor may have swept others too
        return None
    now = await judged(step, stored.notification)
    if now.status != "Failed" or not now.final:
        backlog.drop(execution)
        if not now.final:
            step.state.read_again_at = min(step.state.read_again_at, step.context.queue.clock() + LATER)
        return None
    return await send_again(step, stored)


def _pauses(context: Context) -> Pauses:
    settings = context.settings
    return Pauses(timedelta(seconds=settings.redelivery_pause), timedelta(seconds=settings.redelivery_longest_pause))


# Events


def _newly_expired(found: Redeliveries, waits: Waiting) -> list[int]:
    return [one.id for one in waits.expired if one.id not in found.backlog.expired]


async def _announce(visit: Visit[WebhookPolicy], link: Link, found: Redeliveries, deliveries: Deliveries) -> None:
    """Records one Event when a batch is finished, and one for notifications that are lost, because they are too old or
    Harbor has swept them."""
    waits = waiting(found.backlog, visit.resource.spec, deliveries, link.client.now())
    is_paused = any(row.next_attempt_time is not None for row in deliveries.redeliveries)
    if found.sent and found.request is None and (is_paused or not waits.count):
        await visit.inform(
            "Redelivered",
            f"{_notifications(found.sent)} that Harbor could not deliver since {found.since:%Y-%m-%d %H:%M:%S} UTC "
            f"arrived when the operator sent {'it' if found.sent == 1 else 'them'} again.",
        )
        found.sent, found.since = 0, None
    if found.gone and found.backlog.is_complete:
        await visit.warn(
            "RedeliveryExpired",
            f"{_notifications(found.gone)} that could not be delivered can no longer be sent: Harbor has forgotten "
            f"{'it' if found.gone == 1 else 'them'}, since it keeps the newest 50 of each policy.",
        )
        found.gone = 0
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
    """Whether the statuses have all results of attempts."""
    found = (one for link in context.links.values() for one in link.mailbox.redeliveries.values())
    return not any(one.outcomes for one in found)
