"""WebhookPolicy: make it, adopt it, change it in place, tell its last-trigger times, let go of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from harborhook.api.base import DeliveriesKey, Key
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.capabilities import Version, parse_version
from harborhook.harbor.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PreconditionError,
    RefusedError,
)
from harborhook.harbor.models import Policy
from harborhook.plan import webhook_policy as plan
from harborhook.plan.access import allows_host, host_of
from harborhook.plan.drift import Difference, drift_rows, drift_verdict
from harborhook.plan.ownership import creator, foreign_cluster, is_younger
from harborhook.plan.references import connection_key, recorded_connection
from harborhook.plan.target_values import TargetValues, refused
from harborhook.reconcile import claims, deliveries, endpoint_test
from harborhook.reconcile.context import Wait
from harborhook.reconcile.drift import report, tell_written
from harborhook.reconcile.links import Link
from harborhook.reconcile.target_values import Resolved, resolve
from harborhook.reconcile.verdicts import harbors_refusal
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

HOW_TO_ADOPT = "Set creationPolicy to Adopt or CreateOrAdopt to take it over, or choose another policyName."

PROJECT_GRACE = 3.0
"""Seconds for which a new policy waits for its project before it complains: what was applied together does not come by
the watches of two kinds in the order in which it was made."""

PolicyVisit = Visit[WebhookPolicy]


HELD_PAUSE = 60.0
"""Seconds after which it is looked again whether another resource has let go of a policy."""

SEVERAL_TARGETS: Version = (2, 11, 0)
"""The first Harbor that certainly sends the notifications for several targets to each of them."""


@dataclass(frozen=True)
class Now:
    """How Harbor's policy is after a visit."""

    name: str
    enabled: bool


@dataclass(frozen=True)
class Place:
    """Where a policy belongs: the project in Harbor and the connection to it."""

    link: Link
    project: str
    project_id: int


async def reconcile(visit: PolicyVisit) -> Verdict:
    policy = visit.resource
    if policy.status.origin is not None and not visit.has_finalizer and policy.effective_deletion_policy == "Delete":
        await visit.prepare(finalizer=True)  # whatever keeps the rest of the spec from being applied
    if policy.spec.suspend:
        return Verdict(Reason.SUSPENDED, "Nothing is written to Harbor while suspend is true.")
    try:
        place = await _place(visit)
    except NotReady as refusal:
        await _switch_off_without_project(visit, refusal.verdict.reason)
        raise
    claims.check_unmoved(policy.status.connection, place.link)
    await _check_unmoved(visit, place)
    claims.check_access(place.link, policy, place.project)
    try:
        claims.check_policy_owner(visit.context, place.link, policy, place.project)
        await claims.hold(visit, place.link)
        return await _apply(visit, place)
    except NotReady as refusal:
        await _disable_if_off(visit, place, refusal.verdict.reason)
        raise


async def _apply(visit: PolicyVisit, place: Place) -> Verdict:
    policy = visit.resource
    resolved = await resolve(visit.context, policy)
    _check_hosts(place.link, policy, resolved.values)
    await endpoint_test.answer(visit, place.link.connection, resolved.values)
    await _check_supported(visit, place)
    desired = plan.desired_policy(policy, resolved.values)
    if _is_switched_off(visit, place.link):
        desired = replace(desired, enabled=False)
    try:
        async with place.link.writing(place.project):
            now, drift = await _settle(visit, place, desired, resolved)
    except RefusedError as error:
        raise refused(error, resolved.values) from None
    visit.record(
        project_id=place.project_id,
        project_name=place.project,
        policy_name=now.name,
        connection=claims.recorded(place.link),
        enabled=now.enabled and place.link.notifications_enabled is not False,
        drift=drift_rows(drift),
        applied_generation=policy.metadata.generation,
        applied_secrets=resolved.applied() if policy.spec.drift_policy == "Report" and resolved.versions else None,
    )
    await deliveries.take_news(visit, place.link)
    deliveries.begin(visit.context, DeliveriesKey(place.link.key, place.project))
    return drift_verdict(drift) if drift else Verdict(Reason.RECONCILED, _conclusion(place, desired))


def _conclusion(place: Place, desired: plan.DesiredPolicy) -> str:
    said = f"Webhook policy {desired.name} of project {place.project} is as the spec says."
    version = parse_version(place.link.version or "")
    if len(desired.targets) > 1 and version is not None and version < SEVERAL_TARGETS:
        said += " Before Harbor 2.11 all notifications may go to the last target: declare a policy for each target."
    return said


async def _disable_if_off(visit: PolicyVisit, place: Place, reason: Reason) -> None:
    """A policy that is to be off is switched off even if the rest of its spec cannot be applied. One that cannot be
    renamed stays as it was, unless a switch above it is off."""
    policy, switched = visit.resource, _is_switched_off(visit, place.link)
    if reason is Reason.OWNED_BY_OTHER and policy.spec.project_ref is None:
        return  # the whole project is somebody else's now
    groups = plan.groups_to_write(policy, visit.status.origin, switched=switched, rotated=False)
    is_unnamed = reason in (Reason.ALREADY_EXISTS, Reason.OWNED_BY_OTHER)
    is_off = switched or (not policy.spec.enabled and not is_unnamed)
    if is_off and "enabled" in groups:
        async with place.link.writing(place.project):
            await _disable(visit, place)


async def _switch_off_without_project(visit: PolicyVisit, reason: Reason) -> None:
    """The global switch also reaches what a policy whose HarborProject is missing has in Harbor."""
    status, namespace = visit.resource.status, visit.resource.metadata.namespace
    if reason is not Reason.PROJECT_NOT_READY or status.connection is None or status.project_name is None:
        return
    link = visit.context.links.get(claims.key_of_recorded(status.connection, namespace))
    if link is None or link.verdict is not None or not link.policies_off or status.project_id is None:
        return
    visit.link = link
    if claims.is_allowed(link.connection, namespace, status.project_name):
        await _disable_if_off(visit, Place(link, status.project_name, status.project_id), reason)


async def _disable(visit: PolicyVisit, place: Place) -> None:
    observed = await _recorded(visit, place)
    if observed is None or not plan.is_enabled(observed.raw):
        return
    claims.check_writable(place.link)
    await place.link.readings.put_back(place.project, observed, plan.disabling_body(observed))
    visit.record(enabled=False)


async def _place(visit: PolicyVisit) -> Place:
    policy = visit.resource
    if policy.spec.project_ref is not None:
        return _place_by_reference(visit, policy.spec.project_ref.name)
    ref = policy.spec.connection_ref
    link = claims.link_to(visit, connection_key(ref.wire() if ref else None, policy.metadata.namespace))
    name = policy.spec.project_name or ""
    claims.check_access(link, policy, name)
    observed = await link.readings.project(name, shared=visit.is_resync)
    if observed is None:
        raise NotReady(
            Reason.PROJECT_NOT_READY,
            f"Harbor has no project {name!r} that this connection may see. Create it, or correct projectName.",
        )
    return Place(link, name, observed.id)


def _place_by_reference(visit: PolicyVisit, name: str) -> Place:
    namespace = visit.resource.metadata.namespace
    project = visit.context.load(Key("HarborProject", namespace, name))
    if not isinstance(project, HarborProject):
        age = (visit.context.now() - visit.resource.metadata.creation_timestamp).total_seconds()
        if 0 <= age < PROJECT_GRACE:
            raise Wait(after=1.0)
        raise NotReady(
            Reason.PROJECT_NOT_READY, f"There is no HarborProject {name!r} in namespace {namespace!r}: create it."
        )
    status = project.status
    if status.project_id is None or status.project_name is None or status.connection is None:
        if status.observed_generation is None and not project.metadata.deleting:
            raise Wait  # for its first visit, which wakes us
        raise NotReady(
            Reason.PROJECT_NOT_READY,
            f"HarborProject {name} has no project in Harbor yet ({status.ready_reason or 'not reconciled'}).",
        )
    link = claims.link_to(visit, claims.key_of_recorded(status.connection, namespace))
    return Place(link, status.project_name, status.project_id)


async def _check_unmoved(visit: PolicyVisit, place: Place) -> None:
    """A HarborProject that was made anew may be another project. The policy in the one before is not left behind."""
    status, project = visit.resource.status, visit.resource.status.project_name
    if status.policy_id is None or project is None or project == place.project:
        return
    left = await place.link.client.policy(project, status.policy_id)
    if left is not None and left.project_id == status.project_id:
        raise NotReady(
            Reason.IMMUTABLE_FIELD,
            f"The webhook policy is in project {project!r}, but the HarborProject is now {place.project!r}, and a "
            "policy cannot move: delete this resource and create it again.",
        )


def _check_hosts(link: Link, policy: WebhookPolicy, values: Sequence[TargetValues]) -> None:
    connection = link.connection
    if not isinstance(connection, ClusterHarborConnection):
        return
    for index, (target, value) in enumerate(zip(policy.spec.targets, values, strict=True)):
        if not allows_host(connection.spec.allowed_target_hosts, value.address):
            of_secret = target.address is None
            which = "of the address in its Secret" if of_secret else host_of(value.address)
            raise NotReady(
                Reason.TARGET_HOST_NOT_ALLOWED,
                f"targets[{index}]: {link.key} does not allow the host {which}. "
                "Allowed are the hosts in its allowedTargetHosts.",
            )


async def _check_supported(visit: PolicyVisit, place: Place) -> None:
    """Harbor refuses an unknown event type; before 2.8 it drops a payload format silently."""
    asked_before = place.link.supported is not None
    supported = await place.link.what_is_supported(place.project)
    if supported is None:
        return
    if not asked_before:
        visit.context.queue.add(place.link.key, Cause.DEPENDENCY)  # to show it in the connection's status
    spec = visit.resource.spec
    unknown = sorted(set(spec.event_types) - supported.event_types)
    if unknown:
        raise NotReady(
            Reason.UNSUPPORTED_EVENT_TYPE,
            f"Harbor {place.link.version} has no event type {', '.join(unknown)}. "
            f"It has {', '.join(sorted(supported.event_types))}.",
        )
    for index, target in enumerate(spec.targets):
        if target.payload_format not in (None, plan.DEFAULT_FORMAT, *supported.payload_formats):
            raise NotReady(
                Reason.UNSUPPORTED_PAYLOAD_FORMAT,
                f"targets[{index}]: Harbor {place.link.version} does not offer payloadFormat {target.payload_format}; "
                "formats other than Default came with Harbor 2.8.",
            )


async def _settle(
    visit: PolicyVisit, place: Place, desired: plan.DesiredPolicy, resolved: Resolved
) -> tuple[Now, list[Difference]]:
    """Makes Harbor's policy as desired, or reports what differs; returns how it is then, and what is only reported."""
    observed = await _obtain(visit, place, desired)
    if observed is None:
        return Now(desired.name, desired.enabled), []
    policy = visit.resource
    groups = plan.groups_to_write(
        policy,
        visit.status.origin,
        switched=_is_switched_off(visit, place.link) or plan.was_switched_off(policy),
        rotated=resolved.are_newer_than(policy.status.applied_secrets),
    )
    found = plan.differences(observed, desired)
    if visit.is_resync and _to_write(found, groups):
        # A shared reading may be some seconds old; what is written back must be what is there.
        current = await place.link.client.policy(place.project, observed.id)
        if current is None:
            raise Wait(after=1.0)
        observed, found = current, plan.differences(current, desired)
    written = _to_write(found, groups)
    await _write(visit, place, observed, desired, written)
    drift = [difference for difference in found if difference not in written]
    await report(visit, drift)
    kept = {difference.group for difference in drift}
    return Now(
        observed.name if "policyName" in kept else desired.name,
        plan.is_enabled(observed.raw) if "enabled" in kept else desired.enabled,
    ), drift


def _to_write(found: Sequence[Difference], groups: Collection[str]) -> list[Difference]:
    return [difference for difference in found if difference.group in groups]


async def _obtain(visit: PolicyVisit, place: Place, desired: plan.DesiredPolicy) -> Policy | None:
    """The policy as Harbor has it, made or adopted if need be. None: just made exactly as stated."""
    observed = await _recorded(visit, place)
    if observed is not None:
        await visit.prepare(finalizer=_wants_finalizer(visit))
        return observed
    adopts_only = visit.resource.spec.creation_policy == "Adopt"
    # Creation is optimistic, one POST; a look first only where the POST is known to be needless or unwanted.
    if adopts_only or _may_exist(visit):
        existing = await _existing(visit, place)
        if existing is not None:
            return await _take(visit, place, existing)
    if adopts_only:
        raise NotReady(
            Reason.NOT_FOUND,
            f"Project {place.project} has no webhook policy {desired.name!r}, "
            "and creationPolicy Adopt does not make one.",
        )
    return await _create(visit, place, desired)


async def _recorded(visit: PolicyVisit, place: Place) -> Policy | None:
    """The policy whose id the status has; None if there is none (any more) in this project. Raises OwnedByOther if
    another cluster has taken it over."""
    status = visit.resource.status
    if status.policy_id is None or status.project_id != place.project_id:
        return None
    observed = await place.link.readings.policy(place.project, status.policy_id, shared=visit.is_resync)
    if observed is None and visit.is_resync:
        observed = await place.link.readings.policy(
            place.project, status.policy_id, shared=False
        )  # before making it again
    if observed is None or observed.project_id != place.project_id or _is_another(visit, observed):
        return None
    other = foreign_cluster(observed.creator, visit.context.cluster)
    if other is not None:
        raise _owned_by_cluster(observed.name, other)
    return observed


def _may_exist(visit: PolicyVisit) -> bool:
    """Whether an attempt has been made before: it was refused, or a crash may have kept us from recording its end."""
    resource = visit.resource
    if resource.status.ready_reason in (Reason.ALREADY_EXISTS, Reason.NOT_FOUND, Reason.OWNED_BY_OTHER):
        return True
    return resource.status.policy_id is not None or visit.has_finalizer or resource.metadata.generation > 1


async def _existing(visit: PolicyVisit, place: Place) -> Policy | None:
    """The policy with our mark, which may have been renamed in the spec since it was made, or that of the name."""
    policies, name = await place.link.client.policies(place.project), visit.resource.harbor_name
    ours = [policy for policy in policies if _may_be_ours(visit, policy) and not _holder(visit, place, policy)]
    ours.sort(key=lambda policy: policy.name != name)
    return next(iter(ours), None) or next((policy for policy in policies if policy.name == name), None)


def _may_be_ours(visit: PolicyVisit, policy: Policy) -> bool:
    """Whether we made it for this resource. One of the same name that was deleted before may have left a policy with
    the same mark, which is older, and does not have a name of ours."""
    resource, status = visit.resource, visit.resource.status
    if not _has_our_mark(visit, policy):
        return False
    is_named = policy.name in (status.policy_name, resource.harbor_name)
    return status.policy_id is None or is_named or is_younger(policy.creation_time, resource.metadata)


def _has_our_mark(visit: PolicyVisit, policy: Policy) -> bool:
    return policy.creator == creator(visit.context.cluster, visit.resource.key)


def _holder(visit: PolicyVisit, place: Place, policy: Policy) -> Key | None:
    """Another resource that has made or adopted it."""
    store = visit.context.store
    for other in store.dependents(DeliveriesKey(place.link.key, place.project)):
        status = (store.get(other) or {}).get("status") or {}
        recorded = status.get("policyID"), status.get("projectID")
        if other != visit.resource.key and recorded == (policy.id, policy.project_id):
            return other
    return None


def _is_another(visit: PolicyVisit, observed: Policy) -> bool:
    """Whether what has our id now is not what we made: a Harbor restored from a backup gives ids out again. Somebody's
    client may have lost our mark, and somebody may have changed the name; both at once tell of another policy."""
    policy = visit.resource
    if policy.status.origin != "Created" or observed.name in (policy.status.policy_name, policy.harbor_name):
        return False
    return observed.creator != creator(visit.context.cluster, policy.key)


async def _create(visit: PolicyVisit, place: Place, desired: plan.DesiredPolicy) -> Policy | None:
    claims.check_writable(place.link)
    await visit.prepare_creation(finalizer=_wants_finalizer(visit))
    body = plan.creation_body(desired, creator=creator(visit.context.cluster, visit.resource.key))
    try:
        policy_id = await place.link.client.create_policy(place.project, body)
    except ConflictError:
        existing = await _by_name(place, desired.name)
        if existing is None:
            raise
        return await _take(visit, place, existing)
    if policy_id is None:
        made = await _by_name(place, desired.name)
        policy_id = made.id if made else None
    again = visit.resource.status.policy_id is not None
    visit.record(policy_id=policy_id, origin="Created")
    if policy_id is not None:
        place.link.readings.policy_written(place.project, policy_id)
    if again:
        await visit.warn("Recreated", f"Webhook policy {desired.name} had been removed in Harbor and was made again.")
    else:
        await visit.tell("Created", f"Created webhook policy {desired.name} in project {place.project}.")
    return None


async def _take(visit: PolicyVisit, place: Place, existing: Policy) -> Policy:
    """Makes an existing policy ours, if it is or may become so; raises otherwise."""
    resource, name = visit.resource, existing.name
    holder = _holder(visit, place, existing)
    if holder is not None:  # by another HarborProject, or by projectName: then it is no rival for the name
        visit.context.queue.add(resource.key, Cause.RETRY, after=HELD_PAUSE)
        raise NotReady(
            Reason.OWNED_BY_OTHER,
            f"{holder} already has the webhook policy {name!r} of project {place.project}. Delete that resource first; "
            "with deletionPolicy Retain it leaves the policy to this one.",
        )
    if _has_our_mark(visit, existing):
        # What we made before a crash, or before this cluster was built again under the same name.
        visit.record(policy_id=existing.id, origin="Created")
        await visit.prepare(finalizer=_wants_finalizer(visit))
        await visit.tell("Created", f"Created webhook policy {name}.")
        return existing
    other = foreign_cluster(existing.creator, visit.context.cluster)
    if other is not None and resource.spec.creation_policy != "Adopt":
        raise _owned_by_cluster(name, other)
    if resource.spec.creation_policy == "Create":
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"The project already has a webhook policy {name!r} that this resource did not make. {HOW_TO_ADOPT}",
        )
    visit.record(policy_id=existing.id, origin="Adopted")
    await visit.prepare(finalizer=_wants_finalizer(visit))
    await visit.tell("Adopted", f"Adopted webhook policy {name} of Harbor.")
    return existing


def _owned_by_cluster(name: str, cluster: str) -> NotReady:
    return NotReady(
        Reason.OWNED_BY_OTHER,
        f"Webhook policy {name!r} is managed from another cluster ({cluster}). To take it over, remove it there, and "
        "make this resource anew with creationPolicy Adopt.",
    )


async def _by_name(place: Place, name: str) -> Policy | None:
    policies = await place.link.client.policies(place.project)
    return next((policy for policy in policies if policy.name == name), None)


async def _write(
    visit: PolicyVisit, place: Place, observed: Policy, desired: plan.DesiredPolicy, written: Sequence[Difference]
) -> None:
    """Writes what differs, in place: the id, and so the history, stays. A policy that was taken over from another
    cluster gets our mark, by which that cluster knows to leave it alone."""
    is_foreign = foreign_cluster(observed.creator, visit.context.cluster) is not None
    if not written and not is_foreign:
        return
    mark = creator(visit.context.cluster, visit.resource.key) if is_foreign else None
    groups = {difference.group for difference in written}
    claims.check_writable(place.link)
    body = plan.update_body(observed, desired, groups, creator=mark)
    try:
        await place.link.readings.put_back(place.project, observed, body)
    except ConflictError as error:
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"{harbors_refusal(error)} The project has another webhook policy {desired.name!r}: choose another "
            f"policyName. This one is still called {observed.name!r} in Harbor and unchanged.",
        ) from None
    asked_for = plan.spec_is_new(visit.resource) or Cause.DEPENDENCY in visit.causes
    await tell_written(visit, f"webhook policy {desired.name}", written, asked_for=asked_for)


def _wants_finalizer(visit: PolicyVisit) -> bool:
    """With the origin that this visit has found out. What a switch above the policy has disabled has to be undone."""
    if visit.link is not None and _is_switched_off(visit, visit.link):
        return True
    return visit.resource.model_copy(update={"status": visit.status}).effective_deletion_policy == "Delete"


async def delete(visit: PolicyVisit) -> None:
    """Obeys the deletion policy. Returning lets the resource go; NotReady keeps it."""
    policy = visit.resource
    if policy.effective_deletion_policy != "Delete":
        await _undo_switch(visit)
        return
    place = await _deletion_place(visit)
    if place is None:
        return
    if not claims.is_allowed(place.link.connection, policy.metadata.namespace, place.project):
        await visit.warn(
            "Released", f"The connection no longer allows project {place.project}: the policy stays in Harbor as it is."
        )
        return
    async with place.link.writing(place.project):
        observed = await _ours_in_harbor(visit, place)
        if observed is not None:
            claims.check_writable(place.link)
            await _delete_in_harbor(place, observed)


def _is_switched_off(visit: PolicyVisit, link: Link) -> bool:
    """By the global switch, where it works by policies, or by the project's webhooks.enabled."""
    return link.policies_off or deliveries.project_is_off(visit.context, visit.resource)


async def take_news(visit: PolicyVisit) -> None:
    """Puts what the poll has read into the status, without asking Harbor about the policy."""
    link = claims.link_of_record(visit)
    if link is None:
        return
    if _has_to_be_switched_on(visit, link):
        visit.context.queue.add(visit.resource.key, Cause.DEPENDENCY)
    else:
        await deliveries.take_news(visit, link)


def _has_to_be_switched_on(visit: PolicyVisit, link: Link) -> bool:
    """Whether a switch above the policy was lifted and the policy in Harbor does not know yet."""
    if visit.resource.spec.suspend:
        return False
    return plan.was_switched_off(visit.resource) and not _is_switched_off(visit, link)


async def _undo_switch(visit: PolicyVisit) -> None:
    """A policy that stays in Harbor is left as the spec says, not as a switch above it had it."""
    policy = visit.resource
    if not policy.spec.enabled or policy.spec.suspend or not _may_be_switched_off(visit):
        return  # also when Harbor cannot be asked
    place = await _deletion_place(visit)
    if place is None or not claims.is_allowed(place.link.connection, policy.metadata.namespace, place.project):
        return
    async with place.link.writing(place.project):
        observed = await _ours_in_harbor(visit, place)
        if observed is not None and not plan.is_enabled(observed.raw):
            claims.check_writable(place.link)
            body = {**plan.disabling_body(observed), "enabled": True}
            await place.link.readings.put_back(place.project, observed, body)


def _may_be_switched_off(visit: PolicyVisit) -> bool:
    """By a switch above the policy as it is now, or as it was at the last visit: its project may have gone since."""
    recorded = recorded_connection(visit.context.store.get(visit.resource.key))
    link = visit.context.links.get(recorded) if recorded else None
    is_off = link is not None and _is_switched_off(visit, link)
    return is_off or plan.was_switched_off(visit.resource)


async def _deletion_place(visit: PolicyVisit) -> Place | None:
    """Where the policy is, by the status; by the spec if a crash left no status. None: it never got that far."""
    status = visit.resource.status
    if status.connection is not None and status.project_name is not None and status.project_id is not None:
        key = claims.key_of_recorded(status.connection, visit.resource.metadata.namespace)
        return Place(claims.link_to(visit, key, deleting=True), status.project_name, status.project_id)
    try:
        return await _place(visit)
    except NotReady as refusal:
        nothing_to_do = (Reason.PROJECT_NOT_READY, Reason.CONNECTION_NOT_FOUND, Reason.NOT_ALLOWED_BY_CONNECTION)
        if refusal.verdict.reason in nothing_to_do:
            return None
        raise


async def _ours_in_harbor(visit: PolicyVisit, place: Place) -> Policy | None:
    """The policy that is to be deleted, looked at before: by id and project, or by our mark if a crash lost its id."""
    policy = visit.resource
    try:
        known = policy.status.policy_id
        observed = await place.link.client.policy(place.project, known) if known is not None else None
        if observed is None or _is_another(visit, observed):
            # It may have been made, or made again, without its id getting into the status.
            existing = await _existing(visit, place)
            return existing if existing is not None and _has_our_mark(visit, existing) else None
    except NotFoundError:
        return None
    except ForbiddenError:
        if await place.link.client.project_exists(place.project):
            raise
        return None
    if observed is None or observed.project_id != place.project_id:
        return None
    taken_over = foreign_cluster(observed.creator, visit.context.cluster) is not None
    return None if taken_over else observed


async def _delete_in_harbor(place: Place, observed: Policy) -> None:
    """Disabled first: whatever Harbor says to the deletion, nothing new is sent."""
    client = place.link.client
    place.link.readings.policy_written(place.project, observed.id)
    try:
        if plan.is_enabled(observed.raw):
            await place.link.readings.put_back(place.project, observed, plan.disabling_body(observed))
        await client.delete_policy(place.project, observed.id)
    except NotFoundError:
        return
    except PreconditionError as error:
        raise NotReady(
            Reason.DELIVERIES_PENDING,
            f"{harbors_refusal(error)} {await _counted_notifications(place, observed)}The policy is disabled, and its "
            "deletion is tried again with growing pauses. Annotation harborhook.io/release=true releases it at once.",
        ) from None


async def _counted_notifications(place: Place, observed: Policy) -> str:
    """A sentence, with the space after it; empty if none is open or Harbor does not say."""
    try:
        count = await place.link.client.open_executions(place.project, observed.id)
    except RefusedError:
        return ""
    one, several = "1 notification is still in progress. ", f"{count} notifications are still in progress. "
    return {0: "", 1: one}.get(count, several)
