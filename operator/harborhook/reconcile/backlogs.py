"""The backlog of a policy, read from Harbor: everything that it has and could not deliver."""

from __future__ import annotations

from dataclasses import replace

from harborhook.harbor.errors import ForbiddenError
from harborhook.harbor.executions import Execution
from harborhook.plan.deliveries import Delivery, Patience, judge, judge_job
from harborhook.plan.redelivery import outstanding, waiting
from harborhook.reconcile.delivery_history import is_legacy, patience_with
from harborhook.reconcile.redelivery_send import Step

UNSENT_TASKS = 10
"""Executions without an end whose tasks are read, to tell whether Harbor's job service ever had them."""


async def read_backlog(step: Step) -> None:
    """Replaces the backlog by a new reading. What Harbor no longer has is counted as gone. Raises HarborError; where
    the principal may not read notifications, nothing happens."""
    backlog = step.state.backlog
    was_read, before = backlog.read_once, len(outstanding(backlog, step.deliveries))
    try:
        read = await (_jobs(step) if is_legacy(step.link) else _executions(step))
    except ForbiddenError:
        return
    backlog.replace_all(read)
    step.state.read_at = step.context.queue.clock()
    left = outstanding(backlog, step.deliveries)
    if was_read:
        step.state.gone += max(0, before - len(left))
        return
    step.state.gone += max(0, step.deliveries.undelivered - len({one.event for one in left}))
    if not step.deliveries.redeliveries:  # nothing waited when the last process ended: what is too old was announced
        too_old = waiting(backlog, step.policy.spec, step.deliveries, step.context.now()).expired
        backlog.expired.update(one.id for one in too_old)


async def _executions(step: Step) -> list[Delivery]:
    """Below the cursor everything is final: an `Error` has failed, and without a task it was never sent."""
    cursor = step.deliveries.last_execution_id or 0
    patience, unsent = patience_with(step.context, step.link), 0
    read = []
    for execution in await step.link.client.undelivered_executions(*step.in_harbor):
        is_settled = execution.id <= cursor
        if not is_settled or execution.status == "Error":
            read.append(_judged(step, execution, patience, is_settled=is_settled))
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
