"""Applies the switches over a webhook policy to Harbor, and undoes them.

`plan.switch` combines the switches. A reconcile that applies the whole spec calls `effective` and writes `enabled` with
the rest. The other functions write `enabled` alone in two cases: a switch is off while the rest of the spec cannot be
applied, and a resource is deleted whose policy stays.
"""

from __future__ import annotations

from harborhook.api.base import Key
from harborhook.api.conditions import Reason
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.references import recorded_connection
from harborhook.plan.switch import EffectiveSwitch, SwitchesAbove, effective_switch, switches_off
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
    """Returns the combined effect of the switches on a policy in the Harbor behind `link`."""
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
    key = Key("HarborProject", policy.metadata.namespace, policy.spec.project_ref.name)
    return switches_off(context.store.get(key))


async def disable_if_off(visit: PolicyVisit, location: PolicyLocation, reason: Reason) -> None:
    """Disables a policy that should be off although `reason` prevents the rest of its spec. If a rename is prevented,
    only a switch above the policy disables it."""
    policy, switch = visit.resource, effective(visit.context, location.link, visit.resource)
    if reason is Reason.OWNED_BY_OTHER and policy.spec.project_ref is None:
        return  # the whole project belongs to another resource now
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
    """Applies the global switch to a policy in Harbor whose HarborProject is missing."""
    location = locate_without_project(visit)
    if location is not None and effective(visit.context, location.link, visit.resource).disables:
        await disable_if_off(visit, location, Reason.PROJECT_NOT_READY)


async def undo(visit: PolicyVisit) -> None:
    """Leaves a policy that stays in Harbor in the state of its spec, not in that of a switch above it."""
    policy = visit.resource
    if not policy.spec.enabled or policy.spec.suspend or not _may_be_disabled(visit):
        return  # also if Harbor cannot be reached
    location = await locate_for_deletion(visit)
    if location is None or not claims.is_allowed(location.link.connection, policy.metadata.namespace, location.project):
        return
    async with location.link.writing(location.project):
        observed = await find_own(visit, location)
        if observed is not None and not is_enabled(observed.raw):
            claims.check_writable(location.link)
            await location.link.readings.put_back(location.project, observed, switching_body(observed, enabled=True))


def _may_be_disabled(visit: PolicyVisit) -> bool:
    """Whether a switch above the policy disables it now or did at the last visit: its project may be gone since."""
    connection = recorded_connection(visit.context.store.get(visit.resource.key))
    link = visit.context.links.get(connection) if connection else None
    if link is None:
        return effective_switch(visit.resource, SwitchesAbove()).decides
    return effective(visit.context, link, visit.resource).decides
