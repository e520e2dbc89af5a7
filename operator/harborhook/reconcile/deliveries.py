"""Last-trigger times: one request per Harbor project and interval serves all its policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harborhook.api.base import Key
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.references import connection_of_deliveries
from harborhook.plan.webhook_policy import merge_triggers
from harborhook.runtime.queue import Cause

if TYPE_CHECKING:
    from harborhook.reconcile.context import Context
    from harborhook.reconcile.links import Link
    from harborhook.reconcile.visit import Visit

FIRST_POLL = 2.0
"""Seconds after which the times of a project are first read for a policy that was just looked at."""


def begin(context: Context, key: Key) -> None:
    """Sees to it that the times of a project are read from now on."""
    if not context.queue.waits(key):
        context.queue.add(key, Cause.POLL, after=FIRST_POLL)


async def poll(context: Context, key: Key) -> float | None:
    """Reads the times of one project and wakes the policies whose times moved.

    Returns when to read again, in seconds; None when no policy needs it any more. Raises HarborError.
    """
    policies = context.store.dependents(key)
    if not policies:
        return None
    interval = context.jittered(context.settings.poll_interval)
    link = context.links.get(connection_of_deliveries(key))
    if link is None or link.verdict is not None:
        return interval
    link.news[key.name] = await link.client.last_triggers(key.name)
    for policy in policies:
        if _has_news(context, policy, link):
            context.queue.add(policy, Cause.NEWS)
    return interval


def take_news(visit: Visit[WebhookPolicy], link: Link) -> None:
    """Puts the last reading into the status that is being built."""
    policy = visit.resource
    name = visit.status.policy_name
    rows = [row for row in link.news.get(visit.status.project_name or "", ()) if row.policy_name == name]
    triggers = merge_triggers(policy.status.triggers, policy.spec.event_types, rows)
    times = [trigger.last_trigger_time for trigger in triggers if trigger.last_trigger_time is not None]
    if policy.status.last_trigger_time is not None:
        times.append(policy.status.last_trigger_time)
    visit.record(triggers=triggers, last_trigger_time=max(times, default=None))


def _has_news(context: Context, key: Key, link: Link) -> bool:
    policy = context.load(key)
    if not isinstance(policy, WebhookPolicy):
        return False
    rows = [row for row in link.news[policy.status.project_name or ""] if row.policy_name == policy.status.policy_name]
    return merge_triggers(policy.status.triggers, policy.spec.event_types, rows) != policy.status.triggers
