"""HarborProject: make it, adopt it, keep it as stated, let go of it."""

from __future__ import annotations

from harborhook.api.base import ANNOTATION_CREATE_PENDING, Key
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.errors import ConflictError, HarborError, NotFoundError, PreconditionError
from harborhook.harbor.models import Project
from harborhook.plan.project import FIELDS, changed_metadata, field_names, is_lost_creation, stated_metadata
from harborhook.reconcile import claims
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.visit import Visit

POLICIES_FIRST = 30.0
"""Seconds for which the deletion of a project waits for its policies that are being deleted too."""
GRACE = 3.0
"""Seconds for which it waits for policies that are not (yet) being deleted."""

HOW_TO_ADOPT = "Set creationPolicy to Adopt or CreateOrAdopt to take it over as it is, or choose another name."

ProjectVisit = Visit[HarborProject]


async def reconcile(visit: ProjectVisit) -> Verdict:
    project = visit.resource
    if project.spec.suspend:
        return Verdict(Reason.SUSPENDED, "Nothing is written to Harbor while suspend is true.")
    link = claims.link_to(visit, claims.effective_connection(project))
    claims.check_unmoved(project.status.connection, link)
    claims.check_access(link, project, project.harbor_name)
    claims.check_project_owner(visit.context, link, project)
    await claims.hold(visit, link)
    async with link.writing(project.harbor_name):
        observed = await _obtain(visit, link)
        if observed is not None:
            await _correct(visit, link, observed)
    visit.record(project_name=project.harbor_name, connection=claims.recorded(link))
    return Verdict(Reason.RECONCILED, f"Project {project.harbor_name} is as the spec says.")


async def _obtain(visit: ProjectVisit, link: Link) -> Project | None:
    """The project as Harbor has it, made or adopted if need be. None: just made exactly as stated."""
    project = visit.resource
    name = project.harbor_name
    refused_before = project.status.ready_reason in (Reason.ALREADY_EXISTS, Reason.NOT_FOUND)
    adopts_only = project.spec.creation_policy == "Adopt"
    # Creation is optimistic, one POST; a look first only where the POST is known to be needless or unwanted.
    if project.status.project_id is not None or refused_before or adopts_only:
        observed = await link.project(name, shared=visit.is_resync)
        if observed is None and visit.is_resync:
            observed = await link.project(name, shared=False)  # before it is made again
        if observed is not None:
            return await _take(visit, observed)
    if adopts_only:
        raise NotReady(Reason.NOT_FOUND, f"Harbor has no project {name!r}, and creationPolicy Adopt does not make one.")
    return await _create(visit, link)


async def _create(visit: ProjectVisit, link: Link) -> Project | None:
    project = visit.resource
    name = project.harbor_name
    claims.check_writable(link)
    # Announced before the POST: should its answer get lost, the next visit knows that it was ours.
    await visit.prepare(
        finalizer=_wants_finalizer(project), annotations={ANNOTATION_CREATE_PENDING: project.metadata.uid}
    )
    try:
        project_id = await link.client.create_project(name, stated_metadata(project.spec))
    except ConflictError:
        observed = await link.client.project(name)
        if observed is None:
            raise
        return await _take(visit, observed, lost_creation=is_lost_creation(project, observed))
    if project_id is None:
        made = await link.client.project(name)
        project_id = made.id if made else None
    link.project_written(name)
    again = project.status.project_id is not None
    visit.record(project_id=project_id, origin="Created")
    if again:
        await visit.warn("Recreated", f"Project {name} had been removed in Harbor and was made again.")
    else:
        await visit.tell("Created", f"Created project {name} in Harbor.")
    return None


async def _take(visit: ProjectVisit, observed: Project, *, lost_creation: bool = False) -> Project:
    """Makes an existing project ours, if it is or may become so; raises AlreadyExists otherwise."""
    project = visit.resource
    if project.status.origin is not None:
        if observed.id != project.status.project_id:
            await visit.warn(
                "ProjectReplaced",
                f"Project {observed.name} was removed and made again in Harbor; its id is now {observed.id}.",
            )
        visit.record(project_id=observed.id)
    elif lost_creation:
        visit.record(project_id=observed.id, origin="Created")
        await visit.tell("Created", f"Created project {observed.name} in Harbor.")
    elif project.spec.creation_policy == "Create":
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"Harbor already has a project {observed.name!r} that this resource did not make. {HOW_TO_ADOPT}",
        )
    else:
        visit.record(project_id=observed.id, origin="Adopted")
        await visit.tell("Adopted", f"Adopted project {observed.name} of Harbor.")
    await visit.prepare(finalizer=_wants_finalizer(project))
    return observed


async def _correct(visit: ProjectVisit, link: Link, observed: Project) -> None:
    """Writes the stated settings that Harbor does not have."""
    changes = changed_metadata(visit.resource.spec, observed)
    if not changes:
        return
    claims.check_writable(link)
    link.project_written(observed.name)
    await link.client.update_project(observed.name, changes)
    if visit.spec_is_new:
        await visit.tell("Updated", f"Updated {field_names(changes)} of project {observed.name} in Harbor.")
    else:
        visit.context.metrics.count_drift("HarborProject", map(FIELDS.__getitem__, changes))
        await visit.tell("DriftCorrected", f"Set {field_names(changes)} of project {observed.name} back to the spec.")


def _wants_finalizer(project: HarborProject) -> bool:
    return project.spec.deletion_policy == "Delete"


async def delete(visit: ProjectVisit) -> None:
    """Obeys deletionPolicy Delete. Returning lets the resource go; NotReady keeps it."""
    project = visit.resource
    if not _wants_finalizer(project):
        return
    connection = _deletion_connection(project)
    if project.status.origin is None and connection not in visit.context.store:
        return  # it never got as far as Harbor
    link = claims.link_to(visit, connection, deleting=True)
    if not claims.is_allowed(link.connection, project.metadata.namespace, project.harbor_name):
        await visit.warn(
            "Released", f"The connection no longer allows project {project.harbor_name}: it stays in Harbor as it is."
        )
        return
    _wait_for_policies(visit.context, project)
    async with link.writing(project.harbor_name):
        observed = await link.client.project(project.harbor_name)
        if observed is not None and _is_ours(project, observed):
            claims.check_writable(link)
            await _delete_in_harbor(link, observed.name)
            link.project_written(observed.name)


def _is_ours(project: HarborProject, observed: Project) -> bool:
    """Looked at before anything is deleted: a project that was made anew by somebody else is left alone."""
    if project.status.origin is None:
        return is_lost_creation(project, observed)
    return observed.id == project.status.project_id


async def _delete_in_harbor(link: Link, name: str) -> None:
    try:
        await link.client.delete_project(name)
    except NotFoundError:
        return
    except PreconditionError:
        count = await _repository_count(link, name)
        raise NotReady(
            Reason.PROJECT_NOT_EMPTY,
            f"Project {name} still has {count}. Delete them in Harbor, or set deletionPolicy to Retain to keep "
            "the project; images are never removed for you.",
        ) from None


async def _repository_count(link: Link, name: str) -> str:
    try:
        count = await link.client.repository_count(name)
    except HarborError:
        return "repositories"
    return "1 repository" if count == 1 else f"{count} repositories"


def _deletion_connection(project: HarborProject) -> Key:
    """The connection over which the project was made, whatever the spec says now."""
    if project.status.connection is not None:
        return claims.key_of_recorded(project.status.connection, project.metadata.namespace)
    return claims.effective_connection(project)


def _wait_for_policies(context: Context, project: HarborProject) -> None:
    """Policies that go at the same time are deleted first: those of a deleted project stay in Harbor's database.

    `kubectl delete` of several kinds deletes one after the other, so at first any policy is waited for.
    """
    if project.metadata.deletion_timestamp is None:
        return
    elapsed = (context.now() - project.metadata.deletion_timestamp).total_seconds()
    for key in context.store.dependents(project.key):
        policy = context.load(key)
        if isinstance(policy, WebhookPolicy) and elapsed < (POLICIES_FIRST if policy.metadata.deleting else GRACE):
            raise NotReady(Reason.WAITING_FOR_POLICIES, "Its webhook policies go first.", retry_after=1.0)
