"""Determines a resource's connection, its access rights, and whether it owns its object in Harbor.

Projects and policies call these checks in each visit before they write. plan/ownership.py compares the claims.
"""

from __future__ import annotations

from typing import Any, NoReturn

from harborhook.api.base import Key, RecordedConnection, Resource
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.connections import AnyConnection, ClusterHarborConnection, canonical_url
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.plan.access import allows_project
from harborhook.plan.ownership import Claim, owner
from harborhook.plan.references import connection_key, policy_claim, project_claim, recorded_connection
from harborhook.plan.webhook_policy import spec_is_new
from harborhook.reconcile import shards
from harborhook.reconcile.changes import is_left_to_another
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.links import Link
from harborhook.reconcile.verdicts import advice_on
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

HOLD_PAUSE = 2.0
"""Seconds until a resource asks again for the finalizer on its connection. The connection wakes it earlier once it has
it."""

FOREIGN_GRACE = 60.0
"""Seconds after its creation in which another operator's resource claims its object before it owns it."""

CREDENTIALS_LOST = frozenset({Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_MISSING})

WITHOUT_CLAIM = frozenset(
    {
        Reason.ALREADY_EXISTS,
        Reason.NOT_FOUND,
        Reason.NOT_ALLOWED_BY_CONNECTION,
        Reason.CONNECTION_CHANGED,
        Reason.CONNECTION_NOT_FOUND,
        Reason.CONNECTION_NOT_READY,
        Reason.INVALID_SPEC,
        Reason.FORBIDDEN,
        Reason.HARBOR_REJECTED,
        Reason.TARGET_HOST_NOT_ALLOWED,
        Reason.UNSUPPORTED_EVENT_TYPE,
        Reason.UNSUPPORTED_PAYLOAD_FORMAT,
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_KEY_MISSING,
        Reason.SUSPENDED,
    }
)
"""Reasons that keep a resource without an object from competing: its request cannot be met."""


def link_to(visit: Visit[Any], key: Key, *, deleting: bool = False) -> Link:
    """Returns the working connection. Raises NotReady, or Wait before its first check in this process."""
    context = visit.context
    connection = context.load(key)
    if connection is None:
        raise NotReady(Reason.CONNECTION_NOT_FOUND, _missing(key))
    if key not in context.offered:
        raise Wait
    link = visit.link = context.links.get(key)
    verdict = link.verdict if link else None
    # Credentials of a deleted Secret stay in memory, so that objects can still be deleted with them.
    if link is not None and (verdict is None or (deleting and verdict.reason in CREDENTIALS_LOST)):
        if deleting:
            check_unmoved(visit.resource.status.connection, link)
        return link
    if verdict is not None and verdict.reason is Reason.SUSPENDED:
        raise NotReady(Reason.SUSPENDED, f"{key} is suspended: no requests are sent to Harbor.")
    if verdict is not None and verdict.reason in LOST:
        raise NotReady(verdict.reason, lost(key, verdict.reason).message)
    raise NotReady(Reason.CONNECTION_NOT_READY, f"{key} is not ready: {_why(connection)}")


def _missing(key: Key) -> str:
    return f"{key} does not exist. Create it, or name another one in connectionRef."


LOST = {
    Reason.HARBOR_UNREACHABLE: "Harbor does not answer",
    Reason.TLS_UNTRUSTED: "Harbor's certificate is not trusted",
    Reason.NOT_A_HARBOR_API: "What answers is not Harbor's API",
    Reason.UNAUTHORIZED: "Harbor refuses the credentials",
    Reason.HARBOR_READ_ONLY: "Harbor is in read-only mode",
}


def lost(key: Key, reason: Reason) -> Verdict:
    """Returns the same sentence for all resources during the whole outage, so that each status is written once."""
    return Verdict(reason, f"{LOST[reason]}: see {key}. It continues automatically when that is resolved.")


def link_of(context: Context, resource: Key) -> Link | None:
    """Returns the connection that a resource's status names, whether it works or not."""
    key = recorded_connection(context.store.get(resource))
    return context.links.get(key) if key is not None else None


def link_of_record(visit: Visit[Any]) -> Link | None:
    """Returns the connection that the status names; None unless it works. All its resources are visited when it works
    again."""
    link = link_of(visit.context, visit.resource.key)
    return link if link is not None and link.verdict is None else None


def check_writable(link: Link) -> None:
    """Raises NotReady in read-only mode. Called before a necessary write, to save the request."""
    if link.read_only:
        verdict = lost(link.key, Reason.HARBOR_READ_ONLY)
        raise NotReady(verdict.reason, verdict.message)


def _why(connection: Resource) -> str:
    ready = connection.status.condition("Ready") if isinstance(connection, AnyConnection) else None
    return f"{ready.reason}: {ready.message}" if ready else "it has not been checked yet."


async def hold(visit: Visit[Any], link: Link) -> None:
    """Ensures that the connection has our finalizer before something is created over it that has to be deleted over it.
    Before a resource's first claim to an object in Harbor, it also takes in the claims of other operators'
    resources."""
    _ask_for_finalizer(visit.context, link)
    if await shards.has_surveyed(visit):
        _check_owner(visit, link)


def _ask_for_finalizer(context: Context, link: Link) -> None:
    """Raises Wait until the connection has it: only the connection's own visit writes to the connection."""
    connection = context.load(link.key)
    if connection is None:
        raise NotReady(Reason.CONNECTION_NOT_FOUND, _missing(link.key))
    if context.finalizer(link.key) in connection.metadata.finalizers:
        return
    if connection.metadata.deleting:
        raise NotReady(Reason.CONNECTION_NOT_READY, f"{link.key} is being deleted: nothing new is created over it.")
    context.queue.add(link.key, Cause.HOLD)
    raise Wait(after=HOLD_PAUSE)


def _check_owner(visit: Visit[Any], link: Link) -> None:
    resource, context = visit.resource, visit.context
    if isinstance(resource, HarborProject):
        check_project_owner(context, link, resource)
        return
    ref = resource.spec.project_ref
    project = context.load(Key("HarborProject", resource.metadata.namespace, ref.name)) if ref else None
    name = project.harbor_name if isinstance(project, HarborProject) else resource.spec.project_name or ""
    check_policy_owner(context, link, resource, name)


def check_unmoved(recorded: RecordedConnection | None, link: Link) -> None:
    """A resource with an object in one Harbor must not continue silently with another Harbor."""
    if recorded is None or canonical_url(recorded.url) in link.connection.spec.urls:
        return
    raise NotReady(
        Reason.CONNECTION_CHANGED,
        f"The object lives in the Harbor at {recorded.url}, but {link.key} reaches {link.connection.spec.url}. "
        "Point connectionRef back, or list the old url in the connection's aliases if it is the same Harbor; "
        "to start again there, delete this resource and recreate it.",
    )


def check_access(link: Link, resource: Resource, project_name: str) -> None:
    if is_allowed(link.connection, resource.metadata.namespace, project_name):
        return
    raise NotReady(
        Reason.NOT_ALLOWED_BY_CONNECTION,
        f"{link.key} does not give the Harbor project {project_name!r} to namespace {resource.metadata.namespace!r}. "
        "Choose a name that its access rules allow, or ask the administrator of the connection.",
    )


def is_allowed(connection: AnyConnection, namespace: str, project_name: str) -> bool:
    if isinstance(connection, ClusterHarborConnection):
        return allows_project(connection.spec.access, namespace=namespace, project=project_name)
    return connection.metadata.namespace == namespace


def recorded(link: Link) -> RecordedConnection:
    return RecordedConnection.model_validate(
        {"kind": link.key.kind, "name": link.key.name, "url": link.connection.spec.url}
    )


def key_of_recorded(connection: RecordedConnection, namespace: str) -> Key:
    return connection_key({"kind": connection.kind, "name": connection.name}, namespace)


def effective_connection(project: HarborProject) -> Key:
    ref = project.spec.connection_ref
    return connection_key(ref.wire() if ref else None, project.metadata.namespace)


def check_project_owner(context: Context, link: Link, project: HarborProject) -> None:
    winner = project_owner(context, link, project.harbor_name, asking=project.key)
    if winner != project.key:
        _refuse(
            context,
            project.key,
            winner,
            f"{winner} already declares the Harbor project {project.harbor_name!r}. "
            "Delete one of the two; this one changes nothing.",
        )


def is_contested(context: Context, link: Link, project: HarborProject) -> bool:
    """Whether a resource that another operator works on claims the same project."""
    rivals = filter(context.store.is_foreign, context.store.dependents(project_claim(project.harbor_name)))
    return any(
        isinstance(rival, HarborProject) and _same_harbor(context, rival, link) for rival in map(context.load, rivals)
    )


def project_owner(
    context: Context, link: Link, name: str, *, asking: Key | None = None, granted_only: bool = False
) -> Key | None:
    """Returns the HarborProject that owns the project of that name in the Harbor behind `link`. `asking` counts as
    eligible; `granted_only` leaves claims over HarborConnections out."""
    claims = []
    for key in context.store.dependents(project_claim(name)):
        rival = context.load(key)
        if isinstance(rival, HarborProject) and (key == asking or _same_harbor(context, rival, link)):
            eligible = key == asking or _is_eligible(context, rival)
            granted = _is_granted(context, rival, effective_connection(rival), name)
            claims.append(_claim(rival, holds=rival.status.origin is not None, eligible=eligible, granted=granted))
    return owner(claim for claim in claims if claim.granted or not granted_only)


def check_policy_owner(context: Context, link: Link, policy: WebhookPolicy, project_name: str) -> None:
    if policy.spec.project_ref is None:
        _check_unmanaged(context, link, policy.key, project_name)
    claim, claims = policy_claim(context.store.get(policy.key) or policy.wire()), []
    name = claim.name
    for key in context.store.dependents(claim):
        rival = context.load(key)
        if not isinstance(rival, WebhookPolicy):
            continue
        holds = _holds_name(rival, name)
        # Policies of one HarborProject use one connection, so their claims have the same weight.
        granted = rival.spec.project_ref is not None or _is_granted(
            context, rival, _named_connection(rival), project_name
        )
        if key == policy.key:
            claims.append(_claim(rival, holds=holds, eligible=True, granted=granted))
        elif rival.spec.project_ref is not None or _reaches(context, rival, link, project_name):
            eligible = rival.harbor_name == name and _has_claim(context, rival)
            claims.append(_claim(rival, holds=holds, eligible=eligible, granted=granted))
    winner = owner(claims)
    if winner != policy.key:
        _refuse(
            context,
            policy.key,
            winner,
            f"{winner} already declares the webhook policy {policy.harbor_name!r} of project {project_name!r}. "
            "Choose another policyName, or delete one of the two; this one changes nothing.",
        )


def _holds_name(policy: WebhookPolicy, name: str) -> bool:
    """Whether its policy in Harbor has that name. A rename is a new claim: the policy holds the new name once it is
    renamed."""
    if policy.status.origin is None:
        return False
    return policy.status.policy_name in (None, name) or (policy.harbor_name == name and not spec_is_new(policy))


def _check_unmanaged(context: Context, link: Link, policy: Key, project_name: str) -> None:
    """Raises NotReady if a HarborProject manages the project, since `projectName` is for other projects. A
    HarborProject over a team's own connection does not count against a policy over a ClusterHarborConnection."""
    is_granted = isinstance(link.connection, ClusterHarborConnection)
    manager = project_owner(context, link, project_name, granted_only=is_granted)
    if manager is not None:
        _refuse(
            context,
            policy,
            manager,
            f"The Harbor project {project_name!r} is managed by {manager}. "
            "Declare this policy in that namespace with projectRef.",
        )


async def check_adoptable(link: Link, project: str, project_id: int, right: str) -> None:
    """Allows adoption only if the principal may change the object: reading it proves nothing, since everybody can read
    a public project. Raises NotReady, or HarborError."""
    if link.principal is not None and link.principal.kind == "SystemAdmin":
        return
    if right in await link.client.rights(project_id):
        return
    raise NotReady(
        Reason.FORBIDDEN,
        f"Adopting in project {project!r} needs the permission {right}, which Harbor does not list among the rights of "
        f"the connection's principal there. {advice_on(right, link)}",
    )


def _claim(resource: HarborProject | WebhookPolicy, *, holds: bool, eligible: bool, granted: bool) -> Claim:
    created = resource.metadata.creation_timestamp
    return Claim(key=resource.key, created=created, holds=holds, eligible=eligible, granted=granted)


def _is_granted(context: Context, resource: HarborProject | WebhookPolicy, key: Key, project_name: str) -> bool:
    """Whether a cluster administrator grants the project to the resource. For a connection that this operator does not
    see, its kind decides."""
    connection = context.load(key)
    if isinstance(connection, AnyConnection):
        is_of_cluster = isinstance(connection, ClusterHarborConnection)
        return is_of_cluster and is_allowed(connection, resource.metadata.namespace, project_name)
    return key.kind == "ClusterHarborConnection"


def _is_eligible(context: Context, project: HarborProject) -> bool:
    connection = context.load(effective_connection(project))
    return (
        _has_claim(context, project)
        and isinstance(connection, AnyConnection)
        and connection.status.is_ready
        and is_allowed(connection, project.metadata.namespace, project.harbor_name)
    )


def _has_claim(context: Context, resource: HarborProject | WebhookPolicy) -> bool:
    if _is_of_another_operator(context, resource.key) and not _is_new_to_another(context, resource):
        return False
    return not resource.metadata.deleting and resource.status.ready_reason not in WITHOUT_CLAIM


def _is_of_another_operator(context: Context, key: Key) -> bool:
    """Whether another operator works on the resource."""
    return context.store.is_foreign(key) or is_left_to_another(context, key)


def _is_new_to_another(context: Context, resource: HarborProject | WebhookPolicy) -> bool:
    """Whether another operator may be about to create the resource's object. Operators mark their resources early, so
    an older one without a mark may belong to no operator."""
    age = (context.now() - resource.metadata.creation_timestamp).total_seconds()
    return context.settings.divides and age < FOREIGN_GRACE


def _refuse(context: Context, asking: Key, winner: Key | None, message: str) -> NoReturn:
    """Raises NotReady for a claim that has lost."""
    if winner is not None and _is_of_another_operator(context, winner):
        context.queue.add(asking, Cause.RETRY, after=FOREIGN_GRACE)  # no event reports an expired claim
    raise NotReady(Reason.OWNED_BY_OTHER, message)


def _named_connection(policy: WebhookPolicy) -> Key:
    """Returns the connection of a policy with projectName."""
    ref = policy.spec.connection_ref
    return connection_key(ref.wire() if ref else None, policy.metadata.namespace)


def _same_harbor(context: Context, project: HarborProject, link: Link) -> bool:
    connection = context.load(effective_connection(project))
    if isinstance(connection, AnyConnection) and _is_same(connection, link):
        return True
    return _was_made_there(project, link)


def _is_same(connection: AnyConnection, link: Link) -> bool:
    """Whether a rival's connection reaches the Harbor behind `link`. Aliases of a HarborConnection do not count, since
    a team can state any."""
    is_of_cluster = isinstance(connection, ClusterHarborConnection)
    urls = connection.spec.urls if is_of_cluster else {canonical_url(connection.spec.url)}
    return bool(urls & link.connection.spec.urls)


def _was_made_there(resource: HarborProject | WebhookPolicy, link: Link) -> bool:
    """Whether it holds an object in that Harbor, over any connection: this operator may not see a connection of another
    namespace."""
    made_over = resource.status.connection if resource.status.origin is not None else None
    return made_over is not None and canonical_url(made_over.url) in link.connection.spec.urls


def _reaches(context: Context, policy: WebhookPolicy, link: Link, project_name: str) -> bool:
    """Whether a rival with projectName refers to the same Harbor, over a connection that allows it."""
    connection = context.load(_named_connection(policy))
    if connection is None:
        return _was_made_there(policy, link)
    return (
        isinstance(connection, AnyConnection)
        and (_is_same(connection, link) or _was_made_there(policy, link))
        and (policy.status.origin is not None or connection.status.is_ready)
        and is_allowed(connection, policy.metadata.namespace, project_name)
    )
