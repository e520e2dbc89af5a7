"""Locates a webhook policy in Harbor: its project, and the connection that reaches it."""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.references import connection_key
from harborhook.reconcile import claims
from harborhook.reconcile.context import Wait
from harborhook.reconcile.links import Link
from harborhook.reconcile.visit import Visit

PROJECT_GRACE = 3.0
"""Seconds that a new policy waits for its project before it reports a missing one: watches of different kinds do not
keep the order in which manifests were applied."""

PolicyVisit = Visit[WebhookPolicy]


@dataclass(frozen=True)
class PolicyLocation:
    link: Link
    project: str
    project_id: int


async def locate(visit: PolicyVisit) -> PolicyLocation:
    """Returns the location stated in the spec. Raises NotReady, or Wait for the first visit of its project."""
    policy = visit.resource
    if policy.spec.project_ref is not None:
        return _located_by_reference(visit, policy.spec.project_ref.name)
    ref = policy.spec.connection_ref
    link = claims.link_to(visit, connection_key(ref.wire() if ref else None, policy.metadata.namespace))
    name = policy.spec.project_name or ""
    claims.check_access(link, policy, name)
    observed = await link.readings.project(name, shared=visit.may_share_reading)
    if observed is None:
        raise NotReady(
            Reason.PROJECT_NOT_READY,
            f"Harbor has no project {name!r} that this connection may see. Create it, or correct projectName.",
        )
    return PolicyLocation(link, name, observed.id)


def _located_by_reference(visit: PolicyVisit, name: str) -> PolicyLocation:
    namespace = visit.resource.metadata.namespace
    project = visit.context.load(Key("HarborProject", namespace, name))
    if not isinstance(project, HarborProject):
        age = (visit.context.now() - visit.resource.metadata.creation_timestamp).total_seconds()
        if 0 <= age < PROJECT_GRACE:
            raise Wait(after=1.0)
        raise NotReady(
            Reason.PROJECT_NOT_READY, f"HarborProject {name!r} does not exist in namespace {namespace!r}: create it."
        )
    status = project.status
    if status.project_id is None or status.project_name is None or status.connection is None:
        if status.observed_generation is None and not project.metadata.deleting:
            raise Wait  # its first visit wakes us
        raise NotReady(
            Reason.PROJECT_NOT_READY,
            f"HarborProject {name} has no project in Harbor yet ({status.ready_reason or 'not reconciled'}).",
        )
    link = claims.link_to(visit, claims.key_of_recorded(status.connection, namespace))
    return PolicyLocation(link, status.project_name, status.project_id)


async def locate_for_deletion(visit: PolicyVisit) -> PolicyLocation | None:
    """Returns the location by the status, or by the spec if a crash left no status. None: nothing was created."""
    status = visit.resource.status
    if status.connection is not None and status.project_name is not None and status.project_id is not None:
        key = claims.key_of_recorded(status.connection, visit.resource.metadata.namespace)
        return PolicyLocation(claims.link_to(visit, key, deleting=True), status.project_name, status.project_id)
    try:
        return await locate(visit)
    except NotReady as refusal:
        nothing_to_do = (Reason.PROJECT_NOT_READY, Reason.CONNECTION_NOT_FOUND, Reason.NOT_ALLOWED_BY_CONNECTION)
        if refusal.verdict.reason in nothing_to_do:
            return None
        raise


def locate_without_project(visit: PolicyVisit) -> PolicyLocation | None:
    """Returns the location of a policy whose HarborProject is missing; None if it is unknown or out of reach."""
    status, namespace = visit.resource.status, visit.resource.metadata.namespace
    if status.connection is None or status.project_name is None or status.project_id is None:
        return None
    link = visit.context.links.get(claims.key_of_recorded(status.connection, namespace))
    if (
        link is None
        or link.verdict is not None
        or not claims.is_allowed(link.connection, namespace, status.project_name)
    ):
        return None
    visit.link = link
    return PolicyLocation(link, status.project_name, status.project_id)


async def check_unmoved(visit: PolicyVisit, location: PolicyLocation) -> None:
    """Refuses to follow a recreated HarborProject to another project: the policy in the former one would be left
    behind."""
    status, project = visit.resource.status, visit.resource.status.project_name
    if status.policy_id is None or project is None or project == location.project:
        return
    left = await location.link.client.policy(project, status.policy_id)
    if left is not None and left.project_id == status.project_id:
        raise NotReady(
            Reason.IMMUTABLE_FIELD,
            f"The webhook policy is in project {project!r}, but the HarborProject is now {location.project!r}, and a "
            "policy cannot move: delete this resource and create it again.",
        )
