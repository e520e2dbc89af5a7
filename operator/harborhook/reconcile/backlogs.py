"""The backlog of a policy, read from Harbor: everything that it has and could not deliver."""

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
"""Seconds after which a backlog is read again: Harbor forgets the oldest notifications daily."""
UNSENT_TASKS = 10
"""Executions without an end whose tasks are read, to tell whether Harbor's job service ever had them."""


async def read_backlog(step: Step) -> None:
    """Replaces the backlog by a new reading. What Harbor no longer has is counted as gone. Raises HarborError; where
    the principal may not read notifications, nothing happens."""
    backlog = step.state.backlog
    is_first, before = not backlog.read_once, outstanding(backlog, step.deliveries)
    try:
        read = await (_jobs(step) if is_legacy(step.link) else _executions(step))
        missing = backlog.candidates.keys() - {one.id for one in read}
        unread, gone = await _looked_for(step, missing)
    except ForbiddenError:
        return
    lost = [one for one in before if one.id in gone and one.id not in backlog.expired]
    backlog.replace_all(read, others=unread)
    now = step.context.queue.clock()
    step.state.read_again_at = now + READ_AGAIN if backlog.candidates else float("inf")
    step.state.undecided = {one.id for one in read if not one.final and not one.stuck}
    count_gone(step, _lost_meanwhile(step) if is_first else len(lost))


def count_gone(step: Step, number: int) -> None:
    """Harbor no longer has so many notifications that waited."""
    if is_automatic(step.policy.spec):
        step.state.gone += number
        for _ in range(number):
            step.context.metrics.count_redelivery("Gone")


async def _looked_for(step: Step, missing: Collection[int]) -> tuple[set[int], set[int]]:
    """Of candidates that a reading does not have: those that still wait, and those that Harbor no longer has. The rest
    was delivered after all, or stopped."""
    if not missing:
        return set(), set()
    read = step.link.client.jobs if is_legacy(step.link) else step.link.client.executions
    rows, total = await read(*step.in_harbor, above=min(missing) - 1, newest_first=False)
    found = {row.id: row.status.lower() for row in rows}
    beyond = {one for one in missing if total > len(rows) and one > max(found, default=0)}
    failed = {one for one in missing if found.get(one) == "error"}
    return failed | beyond, set(missing) - found.keys() - beyond


def _lost_meanwhile(step: Step) -> int:
    """How many Harbor has thrown away while no operator ran, by the counts in the status. Those that had expired were
    the oldest, and are known to be lost."""
    backlog, known = step.state.backlog, step.deliveries
    left = outstanding(backlog, known)
    waited = sum(row.waiting for row in known.redeliveries)
    expired = max(0, known.undelivered - waited)
    too_old = waiting(backlog, step.policy.spec, known, step.link.client.now()).expired
    lost = max(0, known.undelivered - len({one.event for one in left}))
    backlog.expired.update(one.id for one in _announced(too_old, expired - lost if waited else len(too_old)))
    return max(0, min(waited, lost - expired))


def _announced(too_old: list[Candidate], number: int) -> list[Candidate]:
    """The oldest of what has expired: their expiry was announced by an earlier process."""
    return too_old[: max(0, number)]


async def _executions(step: Step) -> list[Delivery]:
    """What was judged before is final: an `Error` has failed, and without a task it was never sent."""
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
