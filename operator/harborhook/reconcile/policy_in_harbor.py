"""Finds, creates or adopts the webhook policy in Harbor that belongs to a resource, by its id or our mark.

`obtain` serves a resource that should have its policy, `find_own` one that is being deleted. Neither changes what
another resource or cluster owns.
"""

from __future__ import annotations

from harborhook.api.base import DeliveriesKey, Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.harbor.errors import ConflictError, ForbiddenError, NotFoundError
from harborhook.harbor.models import Policy
from harborhook.plan.ownership import creator, foreign_cluster, is_younger, names_resource
from harborhook.plan.switch import EffectiveSwitch
from harborhook.plan.webhook_policy import DesiredPolicy, creation_body
from harborhook.reconcile import claims
from harborhook.reconcile.policy_location import PolicyLocation, PolicyVisit
from harborhook.runtime.queue import Cause

HOW_TO_ADOPT = "Set creationPolicy to Adopt or CreateOrAdopt to take it over, or choose another policyName."

HELD_PAUSE = 60.0
"""Seconds until the operator checks again whether another resource has released a policy."""


async def obtain(
    visit: PolicyVisit, location: PolicyLocation, desired: DesiredPolicy, switch: EffectiveSwitch
) -> Policy | None:
    """Returns the policy in Harbor, created or adopted if necessary. None: it was just created, exactly as stated."""
    observed = await recorded(visit, location)
    if observed is not None:
        await visit.prepare(finalizer=_wants_finalizer(visit, switch))
        return observed
    adopts_only = visit.resource.spec.creation_policy == "Adopt"
    # Creation is optimistic: one POST. Harbor is read first only if the POST is known to be needless or unwanted.
    if adopts_only or _may_exist(visit):
        existing = await _existing(visit, location)
        if existing is not None:
            return await _take(visit, location, existing, switch)
    if adopts_only:
        raise NotReady(
            Reason.NOT_FOUND,
            f"Project {location.project} has no webhook policy {desired.name!r}, "
            "and creationPolicy Adopt does not create one.",
        )
    return await _create(visit, location, desired, switch)


async def recorded(visit: PolicyVisit, location: PolicyLocation) -> Policy | None:
    """Returns the policy whose id the status has; None if it is not in this project (any more). Raises OwnedByOther if
    another cluster has taken it over."""
    status, readings, shared = visit.resource.status, location.link.readings, visit.may_share_reading
    if status.policy_id is None or status.project_id != location.project_id:
        return None
    observed = await readings.policy(location.project, status.policy_id, shared=shared)
    if observed is None and shared:
        observed = await readings.policy(location.project, status.policy_id, shared=False)  # before recreating it
    if observed is None or observed.project_id != location.project_id or _is_another(visit, observed):
        return None
    other = _taken_over_by(visit, observed)
    if other is not None:
        raise _owned_by_cluster(observed.name, other)
    return observed


async def find_own(visit: PolicyVisit, location: PolicyLocation) -> Policy | None:
    """Returns the policy of a resource that is being deleted: by id and project, or by our mark if its id did not reach
    the status. A project that was removed in Harbor and recreated has another id, and so has the policy in it."""
    try:
        observed = await _find(visit, location)
    except NotFoundError:
        return None
    except ForbiddenError:
        if await location.link.client.project_exists(location.project):
            raise
        return None
    if observed is None:
        return None
    other = _taken_over_by(visit, observed)
    if other is not None:
        note = (
            f"Webhook policy {observed.name!r} is managed from another cluster ({other}): it stays unchanged in Harbor."
        )
        await visit.warn("Released", note)
        return None
    return observed


async def _find(visit: PolicyVisit, location: PolicyLocation) -> Policy | None:
    known = visit.resource.status.policy_id
    observed = await location.link.client.policy(location.project, known) if known is not None else None
    if observed is not None and observed.project_id == location.project_id and not _is_another(visit, observed):
        return observed
    # It may have been created, or recreated, without its id reaching the status.
    existing = await _existing(visit, location)
    return existing if existing is not None and _has_our_mark(visit, existing) else None


# Creation


async def _create(
    visit: PolicyVisit, location: PolicyLocation, desired: DesiredPolicy, switch: EffectiveSwitch
) -> Policy | None:
    claims.check_writable(location.link)
    await visit.prepare_creation(finalizer=_wants_finalizer(visit, switch))
    body = creation_body(desired, creator=creator(visit.context.cluster, visit.resource.key))
    try:
        policy_id = await location.link.client.create_policy(location.project, body)
    except ConflictError:
        existing = await _by_name(location, desired.name)
        if existing is None:
            raise
        return await _take(visit, location, existing, switch)
    if policy_id is None:
        made = await _by_name(location, desired.name)
        policy_id = made.id if made else None
    again = visit.resource.status.policy_id is not None
    visit.record(policy_id=policy_id, origin="Created", cluster_name=visit.context.cluster)
    if policy_id is not None:
        location.link.readings.policy_written(location.project, policy_id)
    if again:
        await visit.warn("Recreated", f"Webhook policy {desired.name} had been removed in Harbor and was recreated.")
    else:
        await visit.inform("Created", f"Created webhook policy {desired.name} in project {location.project}.")
    return None


async def _by_name(location: PolicyLocation, name: str) -> Policy | None:
    policies = await location.link.client.policies(location.project)
    return next((policy for policy in policies if policy.name == name), None)


def _wants_finalizer(visit: PolicyVisit, switch: EffectiveSwitch) -> bool:
    """Decides with the origin found in this visit. A policy that a switch above it has disabled needs the finalizer,
    because deletion has to undo that."""
    if switch.disables:
        return True
    return visit.resource.model_copy(update={"status": visit.status}).effective_deletion_policy == "Delete"


# Adoption


def _may_exist(visit: PolicyVisit) -> bool:
    """Whether an earlier attempt may have created it: it was refused, or a crash may have prevented recording the
    result."""
    resource = visit.resource
    if resource.status.ready_reason in (Reason.ALREADY_EXISTS, Reason.NOT_FOUND, Reason.OWNED_BY_OTHER):
        return True
    return resource.status.policy_id is not None or visit.has_finalizer or resource.metadata.generation > 1


async def _existing(visit: PolicyVisit, location: PolicyLocation) -> Policy | None:
    """Returns the policy with our mark, even if the spec's name has changed since, or else the one with the name."""
    policies, name = await location.link.client.policies(location.project), visit.resource.harbor_name
    ours = [policy for policy in policies if _may_be_ours(visit, policy) and not _holder(visit, location, policy)]
    ours.sort(key=lambda policy: policy.name != name)
    return next(iter(ours), None) or next((policy for policy in policies if policy.name == name), None)


async def _take(visit: PolicyVisit, location: PolicyLocation, existing: Policy, switch: EffectiveSwitch) -> Policy:
    """Takes an existing policy over if it belongs to the resource or may be adopted; raises NotReady otherwise."""
    name = existing.name
    _check_not_held(visit, location, existing)
    if _has_our_mark(visit, existing):
        # We created it before a crash, or before this cluster was rebuilt under the same name.
        visit.record(policy_id=existing.id, origin="Created")
        await visit.prepare(finalizer=_wants_finalizer(visit, switch))
        await visit.inform("Created", f"Created webhook policy {name}.")
        return existing
    _check_may_be_adopted(visit, existing)
    await claims.check_adoptable(location.link, location.project, location.project_id, "notification-policy:update")
    visit.record(policy_id=existing.id, origin="Adopted")
    await visit.prepare(finalizer=_wants_finalizer(visit, switch))
    await visit.inform("Adopted", f"Adopted webhook policy {name} of Harbor.")
    return existing


def _check_not_held(visit: PolicyVisit, location: PolicyLocation, existing: Policy) -> None:
    holder = _holder(visit, location, existing)
    if holder is None:
        return
    # The holder belongs to another HarborProject or uses projectName: it is not a rival for the name, so its deletion
    # does not wake us.
    visit.context.queue.add(visit.resource.key, Cause.RETRY, after=HELD_PAUSE)
    raise NotReady(
        Reason.OWNED_BY_OTHER,
        f"{holder} already has the webhook policy {existing.name!r} of project {location.project}. Delete that "
        "resource first; with deletionPolicy Retain it leaves the policy to this one.",
    )


def _check_may_be_adopted(visit: PolicyVisit, existing: Policy) -> None:
    name, creation_policy = existing.name, visit.resource.spec.creation_policy
    other = foreign_cluster(existing.creator, cluster=visit.context.cluster)
    if other is not None and creation_policy != "Adopt":
        raise _owned_by_cluster(name, other)
    if creation_policy == "Create":
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"The project already has a webhook policy {name!r} that this resource did not create. {HOW_TO_ADOPT}",
        )


def _holder(visit: PolicyVisit, location: PolicyLocation, policy: Policy) -> Key | None:
    """Returns another resource that has created or adopted it."""
    store = visit.context.store
    for other in store.dependents(DeliveriesKey(location.link.key, location.project)):
        status = (store.get(other) or {}).get("status") or {}
        held = status.get("policyID"), status.get("projectID")
        if other != visit.resource.key and held == (policy.id, policy.project_id):
            return other
    return None


# Recognition


def _has_our_mark(visit: PolicyVisit, policy: Policy) -> bool:
    cluster, former = visit.context.cluster, visit.resource.status.cluster_name
    return names_resource(policy.creator, visit.resource.key, cluster=cluster, former=former)


def _may_be_ours(visit: PolicyVisit, policy: Policy) -> bool:
    """Whether we created it for this resource. A deleted resource of the same name may have left a policy with the same
    mark; that policy is older, and its name is not one of ours."""
    resource, status = visit.resource, visit.resource.status
    if not _has_our_mark(visit, policy):
        return False
    is_named = policy.name in (status.policy_name, resource.harbor_name)
    return status.policy_id is None or is_named or is_younger(policy.creation_time, resource.metadata)


def _is_another(visit: PolicyVisit, observed: Policy) -> bool:
    """Whether the object with our id is not the policy that we created: a Harbor restored from a backup reuses ids.
    Another client may have lost our mark, and a user may have changed the name, but both at once mean another
    policy."""
    policy = visit.resource
    if policy.status.origin != "Created" or observed.name in (policy.status.policy_name, policy.harbor_name):
        return False
    return not _has_our_mark(visit, observed)


def _taken_over_by(visit: PolicyVisit, observed: Policy) -> str | None:
    """Returns the other cluster that has taken over the policy whose id the status has. None while this cluster is
    taking it over, which a refused write may have interrupted."""
    spec, status = visit.resource.spec, visit.resource.status
    if spec.creation_policy == "Adopt" and status.origin == "Adopted" and status.applied_generation is None:
        return None
    return foreign_cluster(observed.creator, cluster=visit.context.cluster, former=status.cluster_name)


def _owned_by_cluster(name: str, cluster: str) -> NotReady:
    return NotReady(
        Reason.OWNED_BY_OTHER,
        f"Webhook policy {name!r} is managed from another cluster ({cluster}). To take it over, remove it there, and "
        "create this resource again with creationPolicy Adopt.",
    )
