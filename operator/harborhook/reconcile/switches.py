"""The switches over a webhook policy, applied to Harbor and undone.

`plan.switch` decides what they mean. A reconcile that applies the whole spec asks `effective` and writes `enabled` with
the rest. What is here besides are the two cases in which `enabled` alone is written: a switch is off while the rest of
the spec cannot be applied, and a resource goes whose policy stays.
"""

from __future__ import annotations

from harborhook.api.base import Key
from harborhook.api.conditions import Reason
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.references import recorded_connection
from harborhook.plan.switch import EffectiveSwitch, SwitchesAbove, effective_switch
from harborhook.plan.webhook_policy import is_enabled, switching_body, writable_groups
from harborhook.reconcile import claims
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.policy_in_harbor import find_own, recorded
from harborhook.reconcile.policy_location import (
    PolicyLocation,
    PolicyVisit,
    locate_for_deletion,
    locate_without_project,
)

_WITHOUT_NAME = (Reason.ALREADY_EXISTS, Reason.OWNED_BY_OTHER)


def effective(context: Context, link: Link, policy: WebhookPolicy) -> EffectiveSwitch:
    """What the switches mean for a policy in the Harbor behind `link`."""
    return effective_switch(
        policy,
        SwitchesAbove(
            harbor_off=link.notifications_enabled is False,
            policies_off=link.policies_off,
            project_off=_project_is_off(context, policy),
        ),
    )


def _project_is_off(context: Context, policy: WebhookPolicy) -> bool:
    if policy.spec.project_ref is None:
        return False
    project = context.load(Key("HarborProject", policy.metadata.namespace, policy.spec.project_ref.name))
    return isinstance(project, HarborProject) and not project.spec.webhooks.enabled


async def disable_if_off(visit: PolicyVisit, location: PolicyLocation, reason: Reason) -> None:
    """Disables a policy that is to be off although the rest of its spec cannot be applied, for this reason. One that
    cannot be renamed stays as it was, unless a switch above it is off."""
    policy, switch = visit.resource, effective(visit.context, location.link, visit.resource)
    if reason is Reason.OWNED_BY_OTHER and policy.spec.project_ref is None:
        return  # the whole project is another resource's now
    is_off = switch.disables or (not switch.enabled and reason not in _WITHOUT_NAME)
    if not is_off or "enabled" not in writable_groups(policy, visit.status.origin, switch, rotated=False):
        return
    async with location.link.writing(location.project):
        observed = await recorded(visit, location)
        if observed is not None and is_enabled(observed.raw):
            claims.check_writable(location.link)
            await location.link.readings.put_back(location.project, observed, switching_body(observed, enabled=False))
            visit.record(enabled=False)


async def disable_without_project(visit: PolicyVisit) -> None:
    """The global switch also reaches what a policy whose HarborProject is missing has in Harbor."""
    location = locate_without_project(visit)
    if location is not None and effective(visit.context, location.link, visit.resource).disables:
        await disable_if_off(visit, location, Reason.PROJECT_NOT_READY)


async def undo(visit: PolicyVisit) -> None:
    """A policy that stays in Harbor is left as the spec says, not as a switch above it had it."""
    policy = visit.resource
    if not policy.spec.enabled or policy.spec.suspend or not _may_be_disabled(visit):
        return  # also when Harbor cannot be asked
    location = await locate_for_deletion(visit)
    if location is None or not claims.is_allowed(location.link.connection, policy.metadata.namespace, location.project):
        return
    async with location.link.writing(location.project):
        observed = await find_own(visit, location)
        if observed is not None and not is_enabled(observed.raw):
            claims.check_writable(location.link)
            await location.link.readings.put_back(location.project, observed, switching_body(observed, enabled=True))


def _may_be_disabled(visit: PolicyVisit) -> bool:
    """By a switch above the policy as it is now, or as it was at the last visit: its project may have gone since."""
    connection = recorded_connection(visit.context.store.get(visit.resource.key))
    link = visit.context.links.get(connection) if connection else None
    if link is None:
        return effective_switch(visit.resource, SwitchesAbove()).decides
    return effective(visit.context, link, visit.resource).decides
