"""Reads the backlog of a policy from Harbor: all notifications that it still has and could not deliver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from harborhook.harbor.errors import ForbiddenError
from harborhook.harbor.executions import Execution
from harborhook.plan.deliveries import Delivery, Patience, judge, judge_job
from harborhook.plan.redelivery import Candidate, is_automatic, outstanding, waiting
from harborhook.reconcile.delivery_history import is_legacy, patience_with
from harborhook.reconcile.redelivery_send import Step, is_settled

READ_AGAIN = 3600.0
"""Seconds until a backlog is read again: Harbor sweeps the oldest notifications daily."""
UNSENT_TASKS = 10
"""Number of open executions whose tasks are read, to find out whether they ever reached Harbor's job service."""


async def read_backlog(step: Step) -> None:
    """Replaces the backlog with a new reading, and counts what Harbor no longer has as gone. Raises HarborError. Does
    nothing if the principal may not read notifications."""
    backlog = step.state.backlog
    is_first, before = not backlog.read_once, outstanding(backlog, step.deliveries)
    try:
        read = await (_jobs(step) if is_legacy(step.link) else _executions(step))
        missing = backlog.candidates.keys() - {one.id for one in read}
        unread, gone = await _look_up_missing(step, missing)
    except ForbiddenError:
        return
    lost = [one for one in before if one.id in gone and one.id not in backlog.expired]
    backlog.replace_all(read, others=unread)
    now = step.context.queue.clock()
    step.state.read_again_at = now + READ_AGAIN if backlog.candidates else float("inf")
    step.state.undecided = {one.id for one in read if not one.final and not one.stuck}
    count_gone(step, _lost_meanwhile(step) if is_first else len(lost))


def count_gone(step: Step, number: int) -> None:
    """Counts waiting notifications that Harbor no longer has."""
    if is_automatic(step.policy.spec):
        step.state.gone += number
        for _ in range(number):
            step.context.metrics.count_redelivery("Gone")


async def _look_up_missing(step: Step, missing: Collection[int]) -> tuple[set[int], set[int]]:
    """Looks up candidates that a reading lacks. Returns the ids that still wait, and those that Harbor no longer has;
    the rest was delivered after all, or stopped."""
    if not missing:
        return set(), set()
    read = step.link.client.jobs if is_legacy(step.link) else step.link.client.executions
    rows, total = await read(*step.in_harbor, above=min(missing) - 1, newest_first=False)
    found = {row.id: row.status.lower() for row in rows}
    beyond = {one for one in missing if total > len(rows) and one > max(found, default=0)}
    failed = {one for one in missing if found.get(one) == "error"}
    return failed | beyond, set(missing) - found.keys() - beyond


def _lost_meanwhile(step: Step) -> int:
    """Returns how many notifications Harbor has swept while no operator ran, by the counts in the status. The expired
    ones were the oldest and already count as lost."""
    backlog, known = step.state.backlog, step.deliveries
    left = outstanding(backlog, known)
    waited = sum(row.waiting for row in known.redeliveries)
    expired = max(0, known.undelivered - waited)
    too_old = waiting(backlog, step.policy.spec, known, step.link.client.now()).expired
    lost = max(0, known.undelivered - len({one.event for one in left}))
    backlog.expired.update(one.id for one in _announced(too_old, expired - lost if waited else len(too_old)))
    return max(0, min(waited, lost - expired))


def _announced(too_old: list[Candidate], number: int) -> list[Candidate]:
    """Returns the oldest expired candidates, whose expiry an earlier process has announced."""
    return too_old[: max(0, number)]


async def _executions(step: Step) -> list[Delivery]:
    """Returns the failed deliveries among Harbor's executions. Those judged before are final: an `Error` has failed,
    and one without a task was never sent."""
    patience, unsent = patience_with(step.context, step.link), 0
    read = []
    for execution in await step.link.client.undelivered_executions(*step.in_harbor):
        settled = is_settled(step, execution.id)
        if not settled or execution.status == "Error":
            read.append(_judged(step, execution, patience, is_settled=settled))
        elif unsent < UNSENT_TASKS:
            unsent += 1
            tasks = await step.link.client.tasks(*step.in_harbor, execution.id)
            read.append(judge(execution, tasks, now=step.link.client.now(), patience=patience))
    return read


def _judged(step: Step, execution: Execution, patience: Patience, *, is_settled: bool) -> Delivery:
    judged = judge(execution, None, now=step.link.client.now(), patience=patience)
    return replace(judged, status="Failed", final=True) if is_settled else judged


async def _jobs(step: Step) -> list[Delivery]:
    now, patience = step.link.client.now(), patience_with(step.context, step.link)
    return [
        judge_job(job, now=now, patience=patience) for job in await step.link.client.undelivered_jobs(*step.in_harbor)
    ]
