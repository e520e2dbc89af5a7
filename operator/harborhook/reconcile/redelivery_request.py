"""Serves annotation harborhook.io/redeliver step by step, and answers it in status.redelivery."""

from __future__ import annotations

from collections.abc import Set

from harborhook.api.conditions import shorten
from harborhook.api.names import ANNOTATION_LIMIT
from harborhook.api.webhook_policy import RedeliveryAnswer, WebhookPolicy
from harborhook.plan.redelivery import HOW_TO_ASK, AttemptOutcome, outstanding, parse_request
from harborhook.reconcile.backlogs import read_backlog
from harborhook.reconcile.redelivery_send import Step, judged, obstacle, send_again, stored_notification
from harborhook.reconcile.redelivery_state import OpenRequest
from harborhook.runtime.queue import Cause

IN_PROGRESS = "Harbor has not stopped trying to deliver one of them."


def open_request(policy: WebhookPolicy) -> str | None:
    """Returns the value of the annotation unless it has been answered."""
    text, answer = policy.redeliver_request, policy.status.redelivery
    if text is None:
        return None
    is_answered = answer is not None and answer.request == _shown(text) and answer.time is not None
    return None if is_answered else text


async def serve(step: Step, text: str) -> None:
    """Sends the next requested notification, or gives the answer. Raises HarborError."""
    refusal = HOW_TO_ASK if parse_request(text) is None else obstacle(step.context, step.link, step.policy)
    if refusal is not None:
        _answer(step, _refused(step, text, refusal))
        return
    if step.state.request is None or step.state.request.text != text:
        step.state.request = await _begin(step, text)
    request = step.state.request
    outcome = await _next_outcome(step, request)
    if outcome is None:
        _answer(step, _so_far(request))
        return
    request.count(outcome, is_refused=outcome.execution in step.state.backlog.refused)
    step.state.outcomes.append(outcome)
    step.state.answer = _so_far(request)
    step.context.queue.add(step.policy.key, Cause.DELIVERIES)


def _refused(step: Step, text: str, why: str) -> RedeliveryAnswer:
    """Returns a refusal with the counts of what had been sent before."""
    before = step.policy.status.redelivery
    if before is None or before.request != _shown(text):
        return RedeliveryAnswer(request=_shown(text), message=shorten(f"Not sent: {why}"))
    return before.model_copy(update={"message": shorten(f"The rest was not sent: {why}")})


async def _next_outcome(step: Step, request: OpenRequest) -> AttemptOutcome | None:
    """Sends the next notification whose target is not known to be dead; None if there is none."""
    while request.ids:
        outcome = await _outcome_of(step, request.ids[0], request.dead)
        del request.ids[0]  # only now: after a failed request to Harbor it is tried again
        if outcome is not None:
            return outcome
        request.failed += 1
        request.untried += 1
    return None


async def _outcome_of(step: Step, execution: int, dead: Set[int]) -> AttemptOutcome | None:
    """Sends a notification; returns None if its target is among the dead ones."""
    stored = await stored_notification(step, execution)
    if stored is None:
        step.state.backlog.give_up(execution)
        return AttemptOutcome(execution, "Gone", step.context.now())
    if not (await judged(step, stored.notification)).final:
        return AttemptOutcome(execution, "Failed", step.context.now(), message=IN_PROGRESS)
    return await send_again(step, stored, dead=dead)


async def _begin(step: Step, text: str) -> OpenRequest:
    """Returns the request, or the rest of one that an earlier process began: the status counts what that has sent."""
    parsed, before = parse_request(text), step.policy.status.redelivery
    if before is None or before.request != _shown(text) or before.time is not None:
        before = RedeliveryAnswer(request=_shown(text))
    if parsed is not None and parsed.ids is not None:
        done = before.succeeded + before.failed
        return OpenRequest(text, list(parsed.ids[done:]), len(parsed.ids), before.succeeded, before.failed)
    await read_backlog(step)
    ids = [one.id for one in outstanding(step.state.backlog, step.deliveries)]
    return OpenRequest(text, ids, before.succeeded + len(ids), before.succeeded)


def _so_far(request: OpenRequest) -> RedeliveryAnswer:
    """Returns an intermediate answer, which has no time yet."""
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
        request=_shown(request.text),
        succeeded=request.succeeded,
        failed=request.failed,
        message=shorten(" ".join(said)),
    )


def _answer(step: Step, answer: RedeliveryAnswer) -> None:
    step.state.request = None
    step.state.answer = answer.model_copy(update={"time": step.context.now()})
    step.context.queue.add(step.policy.key, Cause.DELIVERIES)


def _shown(text: str) -> str:
    return text[:ANNOTATION_LIMIT]
