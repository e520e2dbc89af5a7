"""WebhookPolicy: make it, adopt it, change it in place, tell its last-trigger times, let go of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import Target, WebhookPolicy
from harborhook.harbor.errors import ConflictError, ForbiddenError, NotFoundError, PreconditionError
from harborhook.harbor.models import Policy
from harborhook.plan import webhook_policy as plan
from harborhook.plan.access import allows_host, host_of
from harborhook.plan.ownership import creator, foreign_cluster
from harborhook.plan.references import connection_key, deliveries_key
from harborhook.reconcile import claims, deliveries
from harborhook.reconcile.context import Wait
from harborhook.reconcile.links import Link
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

HOW_TO_ADOPT = "Set creationPolicy to Adopt or CreateOrAdopt to take it over, or choose another policyName."

PROJECT_GRACE = 3.0
"""Seconds for which a new policy waits for its project before it complains: what was applied together does not come by
the watches of two kinds in the order in which it was made."""

PolicyVisit = Visit[WebhookPolicy]


@dataclass(frozen=True)
class Place:
    """Where a policy belongs: the project in Harbor and the connection to it."""

    link: Link
    project: str
    project_id: int


async def reconcile(visit: PolicyVisit) -> Verdict:
    policy = visit.resource
    if policy.spec.suspend:
        return Verdict(Reason.SUSPENDED, "Nothing is written to Harbor while suspend is true.")
    place = await _place(visit)
    claims.check_unmoved(policy.status.connection, place.link)
    claims.check_access(place.link, policy, place.project)
    claims.check_policy_owner(visit.context, place.link, policy, place.project)
    await claims.hold(visit, place.link)
    _check_hosts(place.link, policy)
    await _check_supported(visit, place)
    desired = plan.desired_policy(policy, [await _header(visit, target) for target in policy.spec.targets])
    if _is_switched_off(visit, place.link):
        desired = replace(desired, enabled=False)
    async with place.link.writing(place.project):
        observed = await _obtain(visit, place, desired)
        if observed is not None:
            await _correct(visit, place, observed, desired)
    visit.record(
        project_id=place.project_id,
        project_name=place.project,
        policy_name=desired.name,
        connection=claims.recorded(place.link),
        enabled=desired.enabled and place.link.notifications_enabled is not False,
    )
    await deliveries.take_news(visit, place.link)
    deliveries.begin(visit.context, deliveries_key(place.link.key, place.project))
    return Verdict(Reason.RECONCILED, f"Webhook policy {desired.name} of project {place.project} is as the spec says.")


async def _place(visit: PolicyVisit) -> Place:
    policy = visit.resource
    if policy.spec.project_ref is not None:
        return _place_by_reference(visit, policy.spec.project_ref.name)
    ref = policy.spec.connection_ref
    link = claims.link_to(visit, connection_key(ref.wire() if ref else None, policy.metadata.namespace))
    name = policy.spec.project_name or ""
    claims.check_access(link, policy, name)
    observed = await link.project(name, shared=visit.is_resync)
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


def _check_hosts(link: Link, policy: WebhookPolicy) -> None:
    connection = link.connection
    if not isinstance(connection, ClusterHarborConnection):
        return
    for index, target in enumerate(policy.spec.targets):
        if not allows_host(connection.spec.allowed_target_hosts, target.address):
            raise NotReady(
                Reason.TARGET_HOST_NOT_ALLOWED,
                f"targets[{index}]: {link.key} does not allow the host {host_of(target.address)}. "
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


async def _header(visit: PolicyVisit, target: Target) -> str:
    """The Authorization value of a target, "" for none. Refused is what Harbor would store but cannot send."""
    if target.auth_header_from is None:
        return ""
    ref = target.auth_header_from.secret_key_ref
    source = Key("Secret", visit.resource.metadata.namespace, ref.name)
    raw = await visit.context.secrets.value(source, ref.key)
    value = raw.rstrip(b"\r\n")  # editors leave a newline at the end
    if not value or any(byte < 0x20 or byte > 0x7E for byte in value):
        raise NotReady(
            Reason.INVALID_SPEC,
            f"Key {ref.key!r} of Secret {ref.name} is empty or has characters that a header cannot have: "
            "use printable ASCII on one line.",
        )
    return value.decode("ascii")


async def _obtain(visit: PolicyVisit, place: Place, desired: plan.DesiredPolicy) -> Policy | None:
    """The policy as Harbor has it, made or adopted if need be. None: just made exactly as stated."""
    status = visit.resource.status
    if status.policy_id is not None and status.project_id == place.project_id:
        observed = await place.link.policy(place.project, status.policy_id, shared=visit.is_resync)
        if observed is None and visit.is_resync:
            observed = await place.link.policy(place.project, status.policy_id, shared=False)  # before making it again
        if observed is not None and observed.project_id == place.project_id and not _is_another(visit, observed):
            await visit.prepare(finalizer=_wants_finalizer(visit))
            return observed
    refused_before = status.ready_reason in (Reason.ALREADY_EXISTS, Reason.NOT_FOUND, Reason.OWNED_BY_OTHER)
    adopts_only = visit.resource.spec.creation_policy == "Adopt"
    # Creation is optimistic, one POST; a look first only where the POST is known to be needless or unwanted.
    if adopts_only or refused_before:
        existing = await _by_name(place, desired.name)
        if existing is not None:
            return await _take(visit, existing)
    if adopts_only:
        raise NotReady(
            Reason.NOT_FOUND,
            f"Project {place.project} has no webhook policy {desired.name!r}, "
            "and creationPolicy Adopt does not make one.",
        )
    return await _create(visit, place, desired)


def _is_another(visit: PolicyVisit, observed: Policy) -> bool:
    """Whether what has our id now is not what we made: a Harbor restored from a backup gives ids out again. Somebody's
    client may have lost our mark, and somebody may have changed the name; both at once tell of another policy."""
    policy = visit.resource
    if policy.status.origin != "Created" or observed.name in (policy.status.policy_name, policy.harbor_name):
        return False
    return observed.creator != creator(visit.context.cluster, policy.key)


async def _create(visit: PolicyVisit, place: Place, desired: plan.DesiredPolicy) -> Policy | None:
    claims.check_writable(place.link)
    await visit.prepare(finalizer=_wants_finalizer(visit))
    body = plan.creation_body(desired, creator=creator(visit.context.cluster, visit.resource.key))
    try:
        policy_id = await place.link.client.create_policy(place.project, body)
    except ConflictError:
        existing = await _by_name(place, desired.name)
        if existing is None:
            raise
        return await _take(visit, existing)
    if policy_id is None:
        made = await _by_name(place, desired.name)
        policy_id = made.id if made else None
    again = visit.resource.status.policy_id is not None
    visit.record(policy_id=policy_id, origin="Created")
    if policy_id is not None:
        place.link.policy_written(place.project, policy_id)
    if again:
        await visit.warn("Recreated", f"Webhook policy {desired.name} had been removed in Harbor and was made again.")
    else:
        await visit.tell("Created", f"Created webhook policy {desired.name} in project {place.project}.")
    return None


async def _take(visit: PolicyVisit, existing: Policy) -> Policy:
    """Makes an existing policy ours, if it is or may become so; raises otherwise."""
    resource, name = visit.resource, existing.name
    if existing.creator == creator(visit.context.cluster, resource.key):
        # What we made before a crash, or before this cluster was built again under the same name.
        visit.record(policy_id=existing.id, origin="Created")
        await visit.tell("Created", f"Created webhook policy {name}.")
        return existing
    other = foreign_cluster(existing.creator, visit.context.cluster)
    if other is not None and resource.spec.creation_policy != "Adopt":
        raise NotReady(
            Reason.OWNED_BY_OTHER,
            f"Webhook policy {name!r} is managed from another cluster ({other}). "
            "To take it over, remove it there and set creationPolicy to Adopt here.",
        )
    if resource.spec.creation_policy == "Create":
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"The project already has a webhook policy {name!r} that this resource did not make. {HOW_TO_ADOPT}",
        )
    visit.record(policy_id=existing.id, origin="Adopted")
    await visit.prepare(finalizer=_wants_finalizer(visit))
    await visit.tell("Adopted", f"Adopted webhook policy {name} of Harbor.")
    return existing


async def _by_name(place: Place, name: str) -> Policy | None:
    policies = await place.link.client.policies(place.project)
    return next((policy for policy in policies if policy.name == name), None)


async def _correct(visit: PolicyVisit, place: Place, observed: Policy, desired: plan.DesiredPolicy) -> None:
    """Writes what differs, in place: the id, and so the history, stays."""
    changes = plan.differences(observed, desired)
    if not changes:
        return
    if visit.is_resync:
        # A shared reading may be some seconds old; what is written back must be what is there.
        current = await place.link.client.policy(place.project, observed.id)
        if current is None:
            raise Wait(after=1.0)
        observed, changes = current, plan.differences(current, desired)
        if not changes:
            return
    claims.check_writable(place.link)
    place.link.policy_written(place.project, observed.id)
    try:
        await place.link.client.update_policy(place.project, observed.id, plan.update_body(observed, desired))
    except ConflictError:
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"The project already has another webhook policy {desired.name!r}: choose another policyName. "
            f"This one is still called {observed.name!r} in Harbor and unchanged.",
        ) from None
    names = ", ".join(changes)
    if visit.spec_is_new or Cause.DEPENDENCY in visit.causes:
        await visit.tell("Updated", f"Updated {names} of webhook policy {desired.name}.")
    else:
        visit.context.metrics.count_drift("WebhookPolicy", changes)
        await visit.tell("DriftCorrected", f"Set {names} of webhook policy {desired.name} back to the spec.")


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


async def _undo_switch(visit: PolicyVisit) -> None:
    """A policy that stays in Harbor is left as the spec says, not as a switch above it had it."""
    place = await _deletion_place(visit)
    if place is None or not _is_switched_off(visit, place.link) or visit.resource.spec.suspend:
        return
    async with place.link.writing(place.project):
        observed = await _ours_in_harbor(visit, place)
        if observed is not None and visit.resource.spec.enabled:
            body = {**plan.disabling_body(observed), "enabled": True}
            await place.link.client.update_policy(place.project, observed.id, body)


async def _deletion_place(visit: PolicyVisit) -> Place | None:
    """Where the policy is, by the status; by the spec if a crash left no status. None: it never got that far."""
    status = visit.resource.status
    if status.connection is not None and status.project_name is not None and status.project_id is not None:
        key = claims.key_of_recorded(status.connection, visit.resource.metadata.namespace)
        return Place(claims.link_to(visit, key, deleting=True), status.project_name, status.project_id)
    try:
        return await _place(visit)
    except NotReady as refusal:
        if refusal.verdict.reason in (Reason.PROJECT_NOT_READY, Reason.CONNECTION_NOT_FOUND):
            return None
        raise


async def _ours_in_harbor(visit: PolicyVisit, place: Place) -> Policy | None:
    """The policy that is to be deleted, looked at before: by id and project, or by our mark if a crash lost its id."""
    policy = visit.resource
    try:
        observed = None
        if policy.status.policy_id is not None:
            observed = await place.link.client.policy(place.project, policy.status.policy_id)
        if observed is not None and observed.project_id == place.project_id and not _is_another(visit, observed):
            return observed
        # It may have been made, or made again, without its id getting into the status.
        existing = await _by_name(place, policy.harbor_name)
        ours = existing is not None and existing.creator == creator(visit.context.cluster, policy.key)
        return existing if ours else None
    except NotFoundError:
        return None
    except ForbiddenError:
        if await place.link.client.project_exists(place.project):
            raise
        return None


async def _delete_in_harbor(place: Place, observed: Policy) -> None:
    """Disabled first: whatever Harbor says to the deletion, nothing new is sent."""
    client = place.link.client
    place.link.policy_written(place.project, observed.id)
    try:
        if plan.is_enabled(observed.raw):
            await client.update_policy(place.project, observed.id, plan.disabling_body(observed))
        await client.delete_policy(place.project, observed.id)
    except NotFoundError:
        return
    except PreconditionError:
        count = await client.open_executions(place.project, observed.id)
        under_way = "1 notification is" if count == 1 else f"{count} notifications are"
        raise NotReady(
            Reason.DELIVERIES_PENDING,
            f"{under_way} still under way, and Harbor deletes the policy only afterwards. It is disabled; "
            "deletion is tried again with growing pauses. Annotation harborhook.io/release=true lets go at once.",
        ) from None
