"""HarborProject: creates or adopts the project, keeps it in line with the spec, releases or deletes it.

The worker calls `reconcile`, `take_news` and `delete`. reconcile/project_parts.py has the parts of a project.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harborhook.api.base import ANNOTATION_CREATE_PENDING, Key
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.project import HarborProject, WebhooksStatus
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.capabilities import parse_version
from harborhook.harbor.errors import (
    ConflictError,
    HarborError,
    NotFoundError,
    PreconditionError,
)
from harborhook.harbor.models import Project
from harborhook.plan import project as plan
from harborhook.plan.drift import Difference, drift_rows, drift_verdict
from harborhook.plan.unmanaged import UNMANAGED_SHOWN
from harborhook.reconcile import claims, prune
from harborhook.reconcile.context import Context
from harborhook.reconcile.drift import record_written, report
from harborhook.reconcile.links import Link
from harborhook.reconcile.project_parts import Part, ProjectQuota, ProjectRow
from harborhook.reconcile.verdicts import harbors_refusal
from harborhook.reconcile.visit import CONNECTION_REASONS, Visit
from harborhook.runtime.queue import Cause

DELETING_POLICIES_LIMIT = 30.0
"""Seconds that the deletion of a project waits for its policies that are being deleted too."""
OTHER_POLICIES_LIMIT = 6.0
"""Seconds that it waits for policies that are not (yet) being deleted."""

LIST_POLICIES_AFTER = 3600.0
"""Seconds until the policies of a project without WebhookPolicies are listed again."""
OBSERVE_QUOTA_AFTER = 5.0
"""Seconds until the quota of a new project is observed."""

HOW_TO_ADOPT = "Set creationPolicy to Adopt or CreateOrAdopt to take it over as it is, or choose another name."

ProjectVisit = Visit[HarborProject]


@dataclass(frozen=True)
class ObtainedProject:
    """The project in Harbor; `made` in this visit, by a POST with everything that a POST can state."""

    project: Project
    made: bool = False


async def reconcile(visit: ProjectVisit) -> Verdict:
    project = visit.resource
    if project.status.origin is not None and not visit.has_finalizer and _wants_finalizer(project):
        await visit.prepare(finalizer=True)  # first, since later steps may fail
    if project.spec.suspend:
        return Verdict(Reason.SUSPENDED, "Nothing is written to Harbor while suspend is true.")
    link = claims.link_to(visit, claims.effective_connection(project))
    claims.check_unmoved(project.status.connection, link)
    claims.check_access(link, project, project.harbor_name)
    claims.check_project_owner(visit.context, link, project)
    await claims.hold(visit, link)
    async with link.writing(project.harbor_name):
        found = await _obtain(visit, link)
        # Recorded early: the project's policies need no more than this.
        visit.record(project_name=project.harbor_name, connection=claims.recorded(link))
        findings = await _apply_parts(visit, link, found)
    return plan.conclusion(project.harbor_name, findings)


async def _obtain(visit: ProjectVisit, link: Link) -> ObtainedProject:
    """Returns the project, created or adopted if necessary."""
    project = visit.resource
    name = project.harbor_name
    refused_before = project.status.ready_reason in (Reason.ALREADY_EXISTS, Reason.NOT_FOUND)
    adopts_only = project.spec.creation_policy == "Adopt"
    # Creation is optimistic: one POST. Harbor is read first only if the POST is known to be needless or unwanted.
    if project.status.project_id is not None or refused_before or adopts_only:
        observed = await link.readings.project(name, shared=visit.may_share_reading)
        if observed is None and visit.may_share_reading:
            observed = await link.readings.project(name, shared=False)  # unshared, before it is created again
        if observed is not None:
            return await _take(visit, link, observed)
    if adopts_only:
        raise NotReady(
            Reason.NOT_FOUND, f"Harbor has no project {name!r}, and creationPolicy Adopt does not create one."
        )
    return await _create(visit, link)


async def _create(visit: ProjectVisit, link: Link) -> ObtainedProject:
    project = visit.resource
    name, version = project.harbor_name, parse_version(link.version or "")
    claims.check_writable(link)
    registry_id = await _registry_to_cache(link, project)
    # Announced before the POST: if its answer is lost, the next visit knows that the project is ours.
    await visit.prepare_creation(
        finalizer=_wants_finalizer(project), annotations={ANNOTATION_CREATE_PENDING: project.metadata.uid}
    )
    try:
        project_id = await link.client.create_project(
            name,
            plan.creation_metadata(project.spec, version),
            storage_limit=plan.stated_quota(project.spec),
            registry_id=registry_id,
        )
    except ConflictError:
        observed = await link.client.project(name)
        if observed is None:
            raise
        # If another operator's resource claims the project too, it is unknown whose POST created it.
        is_ours = plan.is_lost_creation(project, observed) and not claims.is_contested(visit.context, link, project)
        return await _take(visit, link, observed, lost_creation=is_ours)
    link.readings.project_written(name)
    if project_id is None:
        made = await link.client.project(name)
        if made is None:
            raise NotReady(Reason.NOT_FOUND, f"Harbor created project {name!r}, but does not show it.")
        project_id = made.id
    await _record_creation(visit, project_id)
    created = Project(project_id, name, registry_id=registry_id)
    return ObtainedProject(plan.as_created(project.spec, created, version), made=True)


async def _record_creation(visit: ProjectVisit, project_id: int) -> None:
    name, was_removed = visit.resource.harbor_name, visit.resource.status.project_id is not None
    visit.record(project_id=project_id, origin="Created")
    if was_removed:
        await visit.warn("Recreated", f"Project {name} had been removed in Harbor and was recreated.")
    else:
        await visit.inform("Created", f"Created project {name} in Harbor.")


async def _registry_to_cache(link: Link, project: HarborProject) -> int | None:
    """Returns the id of the registry endpoint for a new proxy cache."""
    proxy = project.spec.proxy_cache
    if proxy is None:
        return None
    registry_id = plan.registry_id(await link.readings.registries(shared=True), proxy.registry_name)
    if registry_id is None:  # it may be newer than the shared reading
        registry_id = plan.registry_id(await link.readings.registries(shared=False), proxy.registry_name)
    if registry_id is None:
        raise NotReady(
            Reason.NOT_FOUND,
            f"Harbor has no registry endpoint {proxy.registry_name!r}, which proxyCache.registryName names: "
            "ask an administrator of Harbor to create it, or correct the name.",
        )
    return registry_id


async def _take(visit: ProjectVisit, link: Link, observed: Project, *, lost_creation: bool = False) -> ObtainedProject:
    """Takes an existing project over if it belongs to the resource or may be adopted; raises AlreadyExists
    otherwise."""
    project = visit.resource
    if project.status.origin is not None:
        if observed.id != project.status.project_id:
            await visit.warn(
                "ProjectReplaced",
                f"Project {observed.name} was removed and recreated in Harbor; its id is now {observed.id}.",
            )
        visit.record(project_id=observed.id)
    elif lost_creation:
        visit.record(project_id=observed.id, origin="Created")
        await visit.inform("Created", f"Created project {observed.name} in Harbor.")
    elif project.spec.creation_policy == "Create":
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"Harbor already has a project {observed.name!r} that this resource did not create. {HOW_TO_ADOPT}",
        )
    else:
        await claims.check_adoptable(link, observed.name, observed.id, "project:update")
        visit.record(project_id=observed.id, origin="Adopted")
        await visit.inform("Adopted", f"Adopted project {observed.name} of Harbor.")
    await visit.prepare(finalizer=_wants_finalizer(project))
    return ObtainedProject(observed)


async def _apply_parts(visit: ProjectVisit, link: Link, found: ObtainedProject) -> list[Verdict]:
    """Writes or reports the differences of each part; returns the messages."""
    applies = found.made or plan.is_to_apply(visit.resource, visit.status.origin)
    parts = _parts(visit, link, found)
    findings: list[Verdict] = []
    written: list[Difference] = []
    drift: list[Difference] = []
    for part in parts:
        findings += await part.observe()
        differences = part.differences()
        if differences and applies:
            claims.check_writable(link)
            refusal = await part.write()
            findings += [refusal] if refusal else []
            written += [] if refusal else differences
        else:
            drift += differences
    await _report(visit, found, written, drift)
    await _count(visit, link, found, parts)
    visit.record(drift=drift_rows(drift), applied_generation=visit.resource.metadata.generation)
    return [*findings, *([drift_verdict(drift)] if drift else [])]


def _parts(visit: ProjectVisit, link: Link, found: ObtainedProject) -> tuple[Part, ...]:
    # The POST has set the quota, except for an ordinary user, whose storage_limit Harbor 2.16 ignores. Whether Harbor
    # keeps a quota is observed a little later, so that a creation costs one request.
    quota_is_left = found.made and (link.principal is None or link.principal.kind != "User")
    if quota_is_left and visit.resource.spec.storage_quota is not None:
        visit.context.queue.add(visit.resource.key, Cause.RESYNC, after=OBSERVE_QUOTA_AFTER)
    return (
        ProjectRow(link, visit.resource, found.project, is_new=found.made),
        ProjectQuota(link, visit.resource, found.project, is_left=quota_is_left),
    )


async def _report(
    visit: ProjectVisit, found: ObtainedProject, written: Sequence[Difference], drift: Sequence[Difference]
) -> None:
    if not found.made:
        what = f"project {found.project.name} in Harbor"
        await record_written(visit, what, written, asked_for=plan.spec_is_new(visit.resource))
    await report(visit, drift)


# Counts


async def _count(visit: ProjectVisit, link: Link, found: ObtainedProject, parts: Iterable[Part]) -> None:
    """Records the counts of repositories and policies, and the status of the parts."""
    status = visit.resource.status
    counts = {
        "repository_count": found.project.repository_count,
        "webhooks": _webhooks(visit, await _unmanaged(visit, link, found)),
        **{name: value for part in parts for name, value in part.status().items()},
    }
    appeared = any((value is None) != (getattr(status, name) is None) for name, value in counts.items())
    _record_counts(visit, link, counts, Cause.RESYNC, at_once=appeared or plan.spec_is_new(visit.resource))


async def _unmanaged(visit: ProjectVisit, link: Link, found: ObtainedProject) -> list[str]:
    """Returns the names of undeclared policies; removes them if the spec has webhooks.prune."""
    status = visit.resource.status
    if not found.made and _is_time_to_list(visit, link):
        policies = await prune.unmanaged(visit, link, found.project.id)
        if policies is not None:
            await prune.prune(visit, link, policies, found.project.id)
            return [policy.shown_name for policy in policies[:UNMANAGED_SHOWN]]
    return status.webhooks.unmanaged if status.webhooks else []


def _is_time_to_list(visit: ProjectVisit, link: Link) -> bool:
    """Always uses a list that was read anyway to compare the project's policies. For a project without WebhookPolicies
    a list costs an extra request: a drift check makes it once an hour, and not right after a start."""
    key, now = visit.resource.key, visit.context.queue.clock()
    is_known = visit.resource.status.webhooks is not None and visit.may_share_reading
    last = link.unmanaged.listed_at.setdefault(key, now if is_known else float("-inf"))
    is_shared = visit.resource.spec.webhooks.prune or bool(prune.policies_of(visit.context, key))
    if is_known and not is_shared and now - last < LIST_POLICIES_AFTER:
        return False
    link.unmanaged.listed_at[key] = now
    return True


def _webhooks(visit: ProjectVisit, unmanaged: list[str]) -> WebhooksStatus:
    policies = prune.policies_of(visit.context, visit.resource.key)
    before = visit.resource.status.webhooks
    if before is not None and any(policy.status.ready_reason in CONNECTION_REASONS for policy in policies):
        return before.model_copy(
            update={"unmanaged": unmanaged}
        )  # the project counts them once they have been reconciled again
    ready = sum(policy.status.is_ready for policy in policies)
    return WebhooksStatus(declared=len(policies), ready=ready, summary=f"{ready}/{len(policies)}", unmanaged=unmanaged)


def _record_counts(
    visit: ProjectVisit, link: Link, counts: dict[str, Any], cause: Cause, *, at_once: bool = False
) -> None:
    """Puts counts into the status, at most once a minute; if it is too early, queues the project for then."""
    key, context = visit.resource.key, visit.context
    last = link.mailbox.last_written.setdefault(key, float("-inf"))
    if all(getattr(visit.status, name) == value for name, value in counts.items()):
        return
    wait = last + context.settings.status_interval - context.queue.clock()
    if wait > 0 and not at_once:
        context.queue.add(key, cause, after=wait)
        return
    visit.record(**counts)
    link.mailbox.last_written[key] = context.queue.clock()


async def take_news(visit: ProjectVisit) -> None:
    """Counts the project's policies after one of them has changed, without a request to Harbor."""
    link, before = claims.link_of_record(visit), visit.resource.status.webhooks
    if link is not None and before is not None:
        _record_counts(visit, link, {"webhooks": _webhooks(visit, before.unmanaged)}, Cause.COUNT)


def _wants_finalizer(project: HarborProject) -> bool:
    return project.spec.deletion_policy == "Delete"


async def delete(visit: ProjectVisit) -> None:
    """Applies the deletion policy. Returning releases the resource; NotReady keeps it."""
    project = visit.resource
    if not _wants_finalizer(project):
        return
    connection = _deletion_connection(project)
    if project.status.origin is None and connection not in visit.context.store:
        return  # nothing was created in Harbor
    link = claims.link_to(visit, connection, deleting=True)
    if not claims.is_allowed(link.connection, project.metadata.namespace, project.harbor_name):
        await visit.warn(
            "Released", f"The connection no longer allows project {project.harbor_name}: it stays unchanged in Harbor."
        )
        return
    _wait_for_policies(visit.context, project)
    async with link.writing(project.harbor_name):
        observed = await link.client.project(project.harbor_name)
        if observed is not None and _is_ours(project, observed):
            claims.check_writable(link)
            await _delete_in_harbor(link, observed.name)
            link.readings.project_written(observed.name)


def _is_ours(project: HarborProject, observed: Project) -> bool:
    """Checked before any deletion: a project that somebody else has recreated is not deleted."""
    if project.status.origin is None:
        return plan.is_lost_creation(project, observed)
    return observed.id == project.status.project_id


async def _delete_in_harbor(link: Link, name: str) -> None:
    try:
        await link.client.delete_project(name)
    except NotFoundError:
        return
    except PreconditionError as error:
        counted = await _counted_repositories(link, name)
        raise NotReady(
            Reason.PROJECT_NOT_EMPTY,
            f"{harbors_refusal(error)} {counted}Empty project {name} in Harbor, or set deletionPolicy to Retain to "
            "keep it; the operator never removes images.",
        ) from None


async def _counted_repositories(link: Link, name: str) -> str:
    """Returns a sentence with a trailing space; empty if there are none or Harbor does not report them."""
    try:
        count = await link.client.repository_count(name)
    except HarborError:
        return ""
    return {0: "", 1: "It has 1 repository. "}.get(count, f"It has {count} repositories. ")


def _deletion_connection(project: HarborProject) -> Key:
    """Returns the connection over which the project was created, regardless of the present spec."""
    if project.status.connection is not None:
        return claims.key_of_recorded(project.status.connection, project.metadata.namespace)
    return claims.effective_connection(project)


def _wait_for_policies(context: Context, project: HarborProject) -> None:
    """Lets policies that are being deleted too go first: policies of a deleted project would stay in Harbor's database.

    `kubectl delete` of several kinds deletes them one after the other, so for a few seconds any policy counts.
    """
    if project.metadata.deletion_timestamp is None:
        return
    elapsed = (context.now() - project.metadata.deletion_timestamp).total_seconds()
    for key in context.store.dependents(project.key):
        policy = context.load(key)
        if not isinstance(policy, WebhookPolicy):
            continue
        if elapsed < (DELETING_POLICIES_LIMIT if policy.metadata.deleting else OTHER_POLICIES_LIMIT):
            raise NotReady(Reason.WAITING_FOR_POLICIES, "Its webhook policies are deleted first.", retry_after=1.0)
