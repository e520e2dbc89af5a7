"""Redelivery: what Harbor could not deliver is read from Harbor, and sent again by the operator, one at a time.

In flow what the poll has read of notifications (`take_in`), and the annotation harborhook.io/redeliver. A *step* sends
at most one notification of a policy; it runs on a sender, apart from the workers, because a silent receiver takes its
time. How it ended goes into the policy's mailbox; the policy's own visit writes it into the status (`record`), and only
then is the next step scheduled. So if the process is killed, no more than the notification in flight is sent twice.

Bodies are read right before they are sent, and kept nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from harborhook.api.base import Key, SenderKey
from harborhook.api.conditions import NotReady, shorten
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.deliveries import MESSAGE_LIMIT, Deliveries
from harborhook.api.webhook_policy import ANNOTATION_LIMIT, RedeliveryAnswer, WebhookPolicy
from harborhook.harbor.errors import ForbiddenError
from harborhook.harbor.executions import Execution, Job, Stored
from harborhook.harbor.payloads import CONTENT_TYPES, PayloadFormat
from harborhook.plan.access import allows_host, host_of, names_host
from harborhook.plan.deliveries import Delivery, History, judge, judge_job
from harborhook.plan.redelivery import (
    AMBIGUOUS,
    HOW_TO_ASK,
    NO_TARGET,
    Attempt,
    Backlog,
    Outcome,
    Pauses,
    Waiting,
    brought_up_to_date,
    is_automatic,
    max_age,
    next_attempt,
    outstanding,
    parse_request,
    recorded,
    targets_for,
    waiting,
)
from harborhook.reconcile import claims, switches
from harborhook.reconcile.context import Context
from harborhook.reconcile.credentials import ca_bundle_of
from harborhook.reconcile.delivery_history import is_legacy, patience_with
from harborhook.reconcile.links import Link
from harborhook.reconcile.redelivery_state import Redeliveries, Request
from harborhook.reconcile.sender import NotSentError, send
from harborhook.reconcile.target_values import resolve
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

HEADER = "X-Harborhook-Redelivery"
"""Carries the execution's id, so that a receiver can tell a repeated notification."""
PACE = 0.2
"""Seconds between two notifications of a policy at least: five a second."""
READ_AGAIN = 3600.0
"""Seconds after which a backlog is read again: Harbor forgets the oldest notifications daily."""
UNSENT_TASKS = 10
"""Executions without an end whose tasks are read to tell whether Harbor's job service ever had them."""

NOT_ALLOWED = "An administrator has to allow redelivery by allowRedelivery in the ClusterHarborConnection."
NOT_OVER_A_TEAMS_OWN = "Notifications are sent again over a ClusterHarborConnection only."
SUSPENDED = "Nothing is sent while suspend is true."
ON_REQUEST = 'Annotation harborhook.io/redeliver: "failed" sends them again.'
TRY_LATER = frozenset({408, 425, 429})
"""Answers by which a receiver refuses nothing for good."""


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
        await _read_backlog(context, link, policy, found)
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
    obstacle = _obstacle(context, link, policy)
    if is_automatic(policy.spec):
        return obstacle or ""
    return "" if obstacle else ON_REQUEST


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
    await _announce(visit, link, found, deliveries)
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
    if found is None or not is_automatic(policy.spec) or _obstacle(context, link, policy) is not None:
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


def open_request(policy: WebhookPolicy) -> str | None:
    """What the annotation asks for, unless it is answered."""
    text, answer = policy.redeliver_request, policy.status.redelivery
    if text is None:
        return None
    is_answered = answer is not None and answer.request == text[:ANNOTATION_LIMIT] and answer.time is not None
    return None if is_answered else text


# A step


async def step(context: Context, key: Key) -> None:
    """Sends at most one notification of a policy. Raises HarborError."""
    policy = context.load(key)
    link = claims.link_of(context, key)
    if not isinstance(policy, WebhookPolicy) or policy.metadata.deleting or policy.status.policy_id is None:
        return
    if link is None or link.verdict is not None:
        return  # the policy is reconciled when the connection works again, and then this is scheduled again
    found = redeliveries_of(link, policy)
    if found.outcomes or found.answer is not None:
        return  # until that is in the status
    text = open_request(policy)
    if text is not None:
        await _serve(context, link, policy, found, text)
    elif is_automatic(policy.spec):
        await _try_next(context, link, policy, found)


async def _try_next(context: Context, link: Link, policy: WebhookPolicy, found: Redeliveries) -> None:
    if _obstacle(context, link, policy) is not None:
        return
    if not found.backlog.is_complete:
        await _read_backlog(context, link, policy, found)
    now = context.now()
    deliveries = policy.status.deliveries or Deliveries()
    waits = waiting(found.backlog, policy.spec, deliveries, now)
    if _newly_expired(found, waits):
        context.queue.add(policy.key, Cause.DELIVERIES)
    following = next_attempt(waits, found.backlog, deliveries, now)
    if not isinstance(following, Attempt):
        schedule(context, link, policy.key)
        return
    outcome = await _attempt(context, link, policy, found, following.candidate.id)
    if outcome is not None:
        found.outcomes.append(outcome)
        context.queue.add(policy.key, Cause.DELIVERIES)
    else:
        schedule(context, link, policy.key, pace=PACE)


async def _attempt(
    context: Context, link: Link, policy: WebhookPolicy, found: Redeliveries, execution: int
) -> Outcome | None:
    """Sends a candidate, unless Harbor is at it again or has delivered it after all: then None."""
    stored = await _stored(link, policy, execution)
    if stored is None:
        found.backlog.drop(execution)
        found.backlog.is_complete = False  # others may have gone with it
        return Outcome(execution, "Gone", context.now())
    if not _is_final_failure(context, link, stored.notification):
        found.backlog.drop(execution)
        return None
    return await _send(context, link, policy, found, stored, dead=frozenset())


def _is_final_failure(context: Context, link: Link, notification: Execution | Job) -> bool:
    """By the state that Harbor has now; it stays `Running` where the job service never had it (Harbor 2.16)."""
    if isinstance(notification, Job):
        judged = judge_job(notification, now=link.client.now(), patience=patience_with(context, link))
        return judged.status == "Failed"
    return notification.status in ("Error", "Running", "Pending")


async def _stored(link: Link, policy: WebhookPolicy, execution: int) -> Stored | None:
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    read = link.client.stored_job if is_legacy(link) else link.client.stored_execution
    return await read(project, policy_id, execution)


async def _send(
    context: Context,
    link: Link,
    policy: WebhookPolicy,
    found: Redeliveries,
    stored: Stored,
    *,
    dead: frozenset[int] | set[int],
) -> Outcome | None:
    """Sends a notification to the target that it was for; None where that is among the dead ones."""
    notification = stored.notification
    payload_format = _format_of(notification)
    targets = targets_for(notification.target_type, payload_format, policy.spec.targets)
    outcome = Outcome(notification.id, "Failed", context.now(), event=notification.event)
    if len(targets) != 1:
        return replace(outcome, message=AMBIGUOUS if targets else NO_TARGET)
    target = targets[0]
    if target in dead:
        return None
    try:
        status = await _post(context, link, policy, target, stored.body, payload_format, notification.id)
    except NotSentError as error:
        return replace(outcome, target=target, time=context.now(), message=shorten(str(error), MESSAGE_LIMIT))
    if 200 <= status < 300:
        _count_in_batch(found, notification)
        return replace(outcome, result="Succeeded", target=target, time=context.now())
    if 400 <= status < 500 and status not in TRY_LATER:
        found.backlog.refused.add(notification.id)
    message = f"The receiver answered with status {status}."
    return replace(outcome, target=target, time=context.now(), message=message)


def _format_of(notification: Execution | Job) -> PayloadFormat:
    if isinstance(notification, Execution):
        return notification.format
    return "Slack" if notification.target_type == "slack" else "Default"


async def _post(
    context: Context,
    link: Link,
    policy: WebhookPolicy,
    index: int,
    body: bytes,
    payload_format: PayloadFormat,
    execution: int,
) -> int:
    """By today's address, header and certificates. Raises NotSentError, also for what must not be sent."""
    target, connection = policy.spec.targets[index], link.connection
    assert isinstance(connection, ClusterHarborConnection)
    try:
        values = (await resolve(context, policy)).values[index]
        ca = await ca_bundle_of(context.secrets, connection)
    except NotReady as refusal:
        raise NotSentError(refusal.verdict.message) from None
    hosts = connection.spec.allowed_target_hosts
    if not allows_host(hosts, values.address):
        which = "in the target's Secret" if target.address is None else host_of(values.address)
        raise NotSentError(f"The connection's allowedTargetHosts do not include the host {which}.")
    headers = {"Content-Type": CONTENT_TYPES[payload_format], HEADER: str(execution)}
    if values.header:
        headers["Authorization"] = values.header
    return await send(
        values.address,
        content=body,
        headers=headers,
        verify=target.verify_remote_certificate is not False,
        ca=ca,
        may_be_local=names_host(hosts, values.address),
    )


def _obstacle(context: Context, link: Link, policy: WebhookPolicy) -> str | None:
    """What keeps the operator from sending anything for the policy."""
    connection = link.connection
    if not isinstance(connection, ClusterHarborConnection):
        return NOT_OVER_A_TEAMS_OWN
    if not connection.spec.allow_redelivery:
        return NOT_ALLOWED
    if policy.spec.suspend:
        return SUSPENDED
    off_by = switches.effective(context, link, policy).off_by
    return off_by.sentence if off_by is not None else None


# The annotation


async def _serve(context: Context, link: Link, policy: WebhookPolicy, found: Redeliveries, text: str) -> None:
    """Makes the next step of what the annotation asks for."""
    obstacle = HOW_TO_ASK if parse_request(text) is None else _obstacle(context, link, policy)
    if obstacle is not None:
        found.request = None
        _answer(context, policy, found, RedeliveryAnswer(request=_request_of(text), message=f"Not sent: {obstacle}"))
        return
    if found.request is None or found.request.text != text:
        found.request = await _begin(context, link, policy, found, text)
    request = found.request
    while request.ids:
        execution = request.ids.pop(0)
        stored = await _stored(link, policy, execution)
        outcome: Outcome | None = Outcome(execution, "Gone", context.now())
        if stored is not None:
            outcome = await _send(context, link, policy, found, stored, dead=request.dead)
        else:
            found.backlog.drop(execution)
        if outcome is None:
            request.failed += 1
            request.untried += 1
            continue
        _note(request, outcome, is_refused=execution in found.backlog.refused)
        found.outcomes.append(outcome)
        found.answer = _progress_of(request)
        context.queue.add(policy.key, Cause.DELIVERIES)
        return
    found.request = None
    _answer(context, policy, found, _progress_of(request))


def _note(request: Request, outcome: Outcome, *, is_refused: bool) -> None:
    request.count(outcome)
    if outcome.result == "Failed" and outcome.target is not None and not is_refused:
        request.dead.add(outcome.target)


async def _begin(context: Context, link: Link, policy: WebhookPolicy, found: Redeliveries, text: str) -> Request:
    """A request, or the rest of one that an earlier process has begun: what the status counts has been sent."""
    parsed, before = parse_request(text), policy.status.redelivery
    is_resumed = before is not None and before.request == _request_of(text) and before.time is None
    if parsed is not None and parsed.ids is not None:
        ids = list(parsed.ids)
        done = before.succeeded + before.failed if before is not None and is_resumed else 0
        request = Request(text, ids[done:], len(ids))
    else:
        await _read_backlog(context, link, policy, found)
        ids = [one.id for one in outstanding(found.backlog, policy.status.deliveries)]
        request = Request(text, ids, len(ids))
    if before is not None and is_resumed:
        request.succeeded = before.succeeded
        request.failed = before.failed if parsed is not None and parsed.ids is not None else 0
    return request


def _progress_of(request: Request) -> RedeliveryAnswer:
    """The answer so far; without a time it is not the end of it."""
    said = [f"{request.succeeded} of {request.total} notifications arrived."]
    if not request.total:
        said = ["Nothing is undelivered."]
    if request.gone:
        said.append(f"Harbor no longer has {request.gone} of them.")
    if request.reason:
        said.append(request.reason)
    if request.untried:
        said.append(f"{request.untried} more to the same target were not tried.")
    return RedeliveryAnswer(
        request=_request_of(request.text),
        succeeded=request.succeeded,
        failed=request.failed,
        message=shorten(" ".join(said)),
    )


def _request_of(text: str) -> str:
    return text[:ANNOTATION_LIMIT]


def _answer(context: Context, policy: WebhookPolicy, found: Redeliveries, answer: RedeliveryAnswer) -> None:
    found.answer = answer.model_copy(update={"time": context.now()})
    context.queue.add(policy.key, Cause.DELIVERIES)


# The backlog


async def _read_backlog(context: Context, link: Link, policy: WebhookPolicy, found: Redeliveries) -> None:
    """Everything that Harbor has and could not deliver. What it has no longer is counted as gone."""
    before = set(found.backlog.candidates) if found.backlog.read_once else set()
    try:
        read = await (_undelivered_jobs if is_legacy(link) else _undelivered)(context, link, policy)
    except ForbiddenError:
        return
    was_read_once, found.backlog.read_once = found.backlog.read_once, True
    found.backlog.replace_all(read)
    found.read_at = context.queue.clock()
    arrived = set(policy.status.deliveries.redelivered_ids) if policy.status.deliveries else set()
    found.gone += len(before - set(found.backlog.candidates) - arrived)
    deliveries = policy.status.deliveries
    if not was_read_once and deliveries is not None:
        left = {one.event for one in outstanding(found.backlog, deliveries)}
        found.gone += max(0, deliveries.undelivered - len(left))
        if not deliveries.redeliveries:  # nothing waited when the last process ended: what is too old was announced
            found.backlog.expired |= {
                one.id for one in waiting(found.backlog, policy.spec, deliveries, context.now()).expired
            }


async def _undelivered(context: Context, link: Link, policy: WebhookPolicy) -> list[Delivery]:
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    now, limits = link.client.now(), patience_with(context, link)
    cursor = policy.status.deliveries.last_execution_id if policy.status.deliveries else None
    judged, unsent = [], 0
    for execution in await link.client.undelivered_executions(project, policy_id):
        tasks = None
        is_settled = cursor is not None and execution.id <= cursor
        if is_settled and execution.status != "Error" and unsent < UNSENT_TASKS:
            unsent += 1
            tasks = await link.client.tasks(project, policy_id, execution.id)
        one = judge(execution, tasks, now=now, patience=limits)
        if is_settled and execution.status == "Error":  # the cursor passes only what is final
            one = replace(one, status="Failed", final=True)
        judged.append(one)
    return judged


async def _undelivered_jobs(context: Context, link: Link, policy: WebhookPolicy) -> list[Delivery]:
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    now, limits = link.client.now(), patience_with(context, link)
    return [judge_job(job, now=now, patience=limits) for job in await link.client.undelivered_jobs(project, policy_id)]


def _pauses(context: Context) -> Pauses:
    settings = context.settings
    return Pauses(timedelta(seconds=settings.redelivery_pause), timedelta(seconds=settings.redelivery_longest_pause))


# Events


def _count_in_batch(found: Redeliveries, notification: Execution | Job) -> None:
    started = notification.started if isinstance(notification, Execution) else notification.created
    found.sent += 1
    found.since = min(started, found.since or started)


def _newly_expired(found: Redeliveries, waits: Waiting) -> list[int]:
    return [one.id for one in waits.expired if one.id not in found.backlog.expired]


async def _announce(visit: Visit[WebhookPolicy], link: Link, found: Redeliveries, deliveries: Deliveries) -> None:
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
