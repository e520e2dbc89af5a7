"""Finds the webhook policies that no resource declares, and removes them if webhooks.prune is set.

Removal is gradual: the status lists the policy, an Event announces the removal, `pruneAfter` passes, the policy is
disabled, and only a later pass deletes it. A WebhookPolicy that adopts it stops the removal at any step. The progress
is in memory only: after a restart it begins again.
"""

from __future__ import annotations

from harborhook.api.base import Key
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.foreign_text import clip
from harborhook.harbor.errors import NotFoundError, PreconditionError, RefusedError
from harborhook.harbor.models import Policy
from harborhook.plan.references import project_claim
from harborhook.plan.unmanaged import Declared, declared, is_unmanaged
from harborhook.plan.webhook_policy import is_enabled, switching_body
from harborhook.reconcile import claims, shards
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link, PendingRemoval
from harborhook.reconcile.verdicts import harbors_refusal
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

NEXT_PASS = 30.0
"""Seconds until the next reconcile of a project with a pending removal."""


async def unmanaged(visit: Visit[HarborProject], link: Link, project_id: int) -> list[Policy] | None:
    """Returns the undeclared policies of the project, oldest first; None if the principal may not list them."""
    context, project = visit.context, visit.resource
    try:
        policies = await link.readings.policies(project.harbor_name)
    except RefusedError:
        return None
    known = _declared(context, project)
    return [policy for _, policy in sorted(policies.items()) if _is_unmanaged(context, policy, known, project_id)]


async def prune(visit: Visit[HarborProject], link: Link, found: list[Policy], project_id: int) -> None:
    """Takes one step for each undeclared policy, if the spec asks for it."""
    project, context = visit.resource, visit.context
    if not project.spec.webhooks.prune:
        link.unmanaged.removals.pop(project.harbor_name, None)
        return
    pending = link.unmanaged.removals.setdefault(project.harbor_name, {})
    listed = project.status.webhooks.unmanaged if project.status.webhooks else []
    candidates = {policy.id: policy for policy in found if policy.shown_name in listed}
    for spared in pending.keys() - candidates.keys():
        del pending[spared]
    for policy in candidates.values():
        state = pending.get(policy.id)
        if state is None:
            pending[policy.id] = PendingRemoval(context.queue.clock())
            await _announce(visit, policy)
        elif context.queue.clock() - state.announced_at >= context.settings.prune_after:
            await _remove(visit, link, policy, state, project_id)
    if found:
        context.queue.add(project.key, Cause.RESYNC, after=_until_next_pass(context, list(pending.values())))


def _until_next_pass(context: Context, pending: list[PendingRemoval]) -> float:
    """Returns the seconds until the earliest removal or the next pass."""
    now = context.queue.clock()
    waits = [state.announced_at + context.settings.prune_after - now for state in pending]
    return max(min(waits, default=0.0), min(NEXT_PASS, context.settings.drift_interval))


async def _announce(visit: Visit[HarborProject], policy: Policy) -> None:
    minutes = visit.context.settings.prune_after / 60
    await visit.warn(
        "PruneAnnounced",
        f"Webhook policy {_quoted_name(policy)} is declared by no WebhookPolicy and will be removed from Harbor "
        f"in {minutes:.0f} minutes. Declare it with creationPolicy CreateOrAdopt, or set webhooks.prune to false.",
    )


async def _remove(
    visit: Visit[HarborProject], link: Link, policy: Policy, state: PendingRemoval, project_id: int
) -> None:
    """Disables the policy, or deletes it if an earlier pass has disabled it. Reads it again before either."""
    context, name = visit.context, visit.resource.harbor_name
    claims.check_writable(link)
    await shards.survey(context)
    current = await link.client.policy(name, policy.id)
    link.readings.policy_written(name, policy.id)
    if current is None or current.name != policy.name:
        return
    if not _is_unmanaged(context, current, _declared(context, visit.resource), project_id):
        return
    if not state.disabled:
        if is_enabled(current.raw):
            await link.readings.put_back(name, current, switching_body(current, enabled=False))
        state.disabled = True
        await visit.warn(
            "PruneDisabled", f"Disabled webhook policy {_quoted_name(policy)}, which no WebhookPolicy declares."
        )
        return
    try:
        await link.client.delete_policy(name, policy.id)
    except PreconditionError as error:  # usually notifications in progress: a later pass retries
        await visit.warn(
            "PruneRefused", f"{harbors_refusal(error)} Webhook policy {_quoted_name(policy)} will be removed later."
        )
        return
    except NotFoundError:
        pass
    await visit.warn(
        "Pruned", f"Removed webhook policy {_quoted_name(policy)}, which no WebhookPolicy declares, from Harbor."
    )


def _declared(context: Context, project: HarborProject) -> Declared:
    """Returns the policies that WebhookPolicies declare in the Harbor project, by projectRef or, from any namespace, by
    projectName."""
    keys = {*context.store.dependents(project.key), *context.store.dependents(project_claim(project.harbor_name))}
    return declared(policy for policy in map(context.load, sorted(keys)) if isinstance(policy, WebhookPolicy))


def _is_unmanaged(context: Context, policy: Policy, known: Declared, project_id: int) -> bool:
    watched = context.settings.watch_namespaces
    return is_unmanaged(policy, known, cluster=context.cluster, project_id=project_id, watched=watched)


def policies_of(context: Context, project: Key) -> list[WebhookPolicy]:
    """Returns the WebhookPolicies that refer to a HarborProject."""
    found = map(context.load, context.store.dependents(project))
    return [policy for policy in found if isinstance(policy, WebhookPolicy)]


def _quoted_name(policy: Policy) -> str:
    return repr(clip(policy.name, 100))
