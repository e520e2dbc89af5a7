"""Reads a policy's notifications from Harbor: executions with their tasks and logs since 2.8, jobs before.

deliveries.py reads those above the cursor in the status; redelivery.py those that are final and failed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from harborhook.api.base import Key, SecretKeyRef
from harborhook.api.conditions import NotReady
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.capabilities import Version, parse_version
from harborhook.harbor.errors import NotFoundError, NotHarborError, RefusedError
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.kube.gateway import KubeError
from harborhook.plan.deliveries import (
    ATTEMPTS,
    LEGACY_ATTEMPTS,
    Delivery,
    History,
    Patience,
    judge,
    judge_job,
    to_explain,
)
from harborhook.plan.failures import LOG_GONE, LOG_UNREADABLE, Receivers, reason_of, receivers
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link

EXECUTIONS: Version = (2, 8, 0)
"""The first Harbor that shows executions."""
MOST_PAGES = 5
"""Pages of a policy's notifications that one poll reads; the next one continues."""
MOST_TASKS = 50
"""Tasks of a policy that one poll reads."""

Notification = TypeVar("Notification", Execution, Job)


async def read_history(context: Context, link: Link, policy: WebhookPolicy, before: History | None) -> History:
    """Returns everything above the cursor, judged; results that were final in the last reading are not requested
    again."""
    project, policy_id = policy.status.project_name or "", policy.status.policy_id or 0
    cursor = policy.status.deliveries.last_execution_id if policy.status.deliveries else None
    known = {one.id: one for one in before.deliveries} if before else {}
    patience, now = patience_with(context, link), link.client.now()
    client = link.client
    if is_legacy(link):
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
    # The log describes the last attempt: while the next one runs, there is nothing newer.
    same_attempt = judged.task is None or judged.attempts == before.attempts
    return replace(judged, message=before.message if same_attempt else None)


class _Pages:
    """The rows that were read from a list, by id."""

    rows: list[Any]

    def __init__(self, rows: Iterable[Any], gap_after: int | None = None, renumbered_from: int | None = None) -> None:
        self.rows = sorted({row.id: row for row in rows}.values(), key=lambda row: int(row.id))
        self.gap_after = gap_after
        self.renumbered_from = renumbered_from


async def _pages(
    read: Callable[..., Awaitable[tuple[list[Notification], int]]], project: str, policy_id: int, cursor: int | None
) -> _Pages:
    """Returns the rows above the cursor. If there are very many: the newest, which show the present state, and the
    oldest, which move the cursor. For a policy without a cursor: the newest page."""
    first, total = await read(project, policy_id, above=cursor)
    rows: list[Notification] = list(first)
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
    oldest: list[Notification] = []
    for page in range(1, MOST_PAGES):
        oldest += (await read(project, policy_id, above=cursor, newest_first=False, page=page))[0]
    return _Pages([*oldest, *rows], gap_after=max((row.id for row in oldest), default=cursor))


async def _renumbered(
    read: Callable[..., Awaitable[tuple[list[Notification], int]]], project: str, policy_id: int, cursor: int
) -> _Pages:
    """Handles a trigger without rows above the cursor: Harbor restarts its numbering after an upgrade to 2.8, or when
    it is restored from a backup."""
    rows, _ = await read(project, policy_id)
    if rows and max(row.id for row in rows) < cursor:
        return _Pages(rows, renumbered_from=cursor)
    return _Pages([])


async def _tasks(
    link: Link, project: str, policy_id: int, executions: Sequence[Execution], known: Mapping[int, Delivery]
) -> dict[int, Sequence[Task]]:
    """Reads the tasks of executions that may still change, and of the newest event of each type for its attempts."""
    newest = {execution.event_type: execution.event for execution in executions}
    unknown = [one for one in executions if one.id not in known or not known[one.id].final]
    shown = [one for one in unknown if newest[one.event_type] == one.event]
    others = [one for one in unknown if newest[one.event_type] != one.event and one.status != "Success"]
    tasks: dict[int, Sequence[Task]] = {}
    for execution in [*shown, *others][:MOST_TASKS]:
        try:
            tasks[execution.id] = await link.client.tasks(project, policy_id, execution.id)
        except NotFoundError:
            continue  # Harbor has swept it since it was listed
    return tasks


async def _explained(context: Context, link: Link, policy: WebhookPolicy, history: History) -> History:
    """Adds the reasons of the failures that the status shows."""
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
    """Returns the possible targets of a notification, and all secrets that its log may contain."""
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


def is_legacy(link: Link) -> bool:
    version = parse_version(link.version or "")
    return version is not None and version < EXECUTIONS


def patience_with(context: Context, link: Link) -> Patience:
    attempts = link.connection.spec.delivery_max_attempts or (LEGACY_ATTEMPTS if is_legacy(link) else ATTEMPTS)
    return Patience(attempts, timedelta(seconds=context.settings.stuck_after))
