"""Releases resources whose object in Harbor cannot be deleted any more, because namespace and credentials are gone.

Credentials of a deleted Secret stay in memory while something is being deleted with them. After a restart they are
lost, and nobody can create a Secret in a namespace that is terminating. Such resources would block the namespace for
ever, so they are released after a while. A log line, a metric and an Event on the connection name the object that stays
in Harbor.
"""

from __future__ import annotations

import logging
from typing import Any

from harborhook.api.base import Key
from harborhook.api.conditions import Reason, Verdict
from harborhook.api.connections import AnyConnection
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.kube.gateway import KubeError
from harborhook.plan.references import admission_secrets, recorded_connection
from harborhook.reconcile.context import Context
from harborhook.reconcile.visit import Visit

logger = logging.getLogger(__name__)

_WITHOUT_CREDENTIALS = frozenset({Reason.CONNECTION_NOT_FOUND, Reason.CONNECTION_NOT_READY})


async def release_abandoned(visit: Visit[Any], verdict: Verdict) -> bool:
    """Whether to release a resource although its deletion ended with this verdict and Harbor was not asked."""
    if verdict.reason not in _WITHOUT_CREDENTIALS or not _has_waited(visit):
        return False
    connection = recorded_connection(visit.context.store.get(visit.resource.key))
    if connection is None or not await _is_lost(visit.context, connection):
        return False
    if not await _is_terminating(visit.context, visit.resource.metadata.namespace):
        return False
    await _report(visit, connection)
    return True


def _has_waited(visit: Visit[Any]) -> bool:
    """Whether it has waited long enough; if not, queues another visit for then."""
    context, since = visit.context, visit.resource.metadata.deletion_timestamp
    if since is None or isinstance(visit.resource, AnyConnection):
        return False
    return bool((context.now() - since).total_seconds() >= context.settings.release_after)


async def _is_lost(context: Context, connection: Key) -> bool:
    """Whether the connection, or a Secret required for the login, no longer exists."""
    body = context.store.get(connection)
    if body is None:
        return True
    return any([await context.secrets.data(secret) is None for secret in admission_secrets(body)])


async def _is_terminating(context: Context, namespace: str) -> bool:
    try:
        return await context.gateway.is_terminating(namespace)
    except KubeError as error:
        logger.info("Whether namespace %s is terminating is not known: %s", namespace, error)
        return False


async def _report(visit: Visit[Any], connection: Key) -> None:
    context, what = visit.context, _in_harbor(visit.resource)
    note = (
        f"{what} stays in Harbor: {visit.resource.key} was released without deleting it, because the "
        "credentials for it are gone and its namespace is terminating."
    )
    logger.warning("%s (%s)", note, connection)
    context.metrics.count_released(visit.resource.kind)
    found = context.load(connection)
    if found is not None:
        await context.recorder.record(found, "Warning", "Released", note, action="Delete")


def _in_harbor(resource: HarborProject | WebhookPolicy) -> str:
    project = resource.status.project_name
    if isinstance(resource, WebhookPolicy):
        return f"Webhook policy {resource.status.policy_name or resource.harbor_name!r} of project {project}"
    return f"Project {project or resource.harbor_name}"
