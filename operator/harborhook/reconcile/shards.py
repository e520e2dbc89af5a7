"""Several operators in one cluster: which resources this one works on, and what it learns about the others'.

Each of several operators has a name, its shard, and works on some namespaces or on a label selector. Two mechanisms
separate them:

- An operator marks each resource that it works on by an annotation, and ignores resources with another's mark. So
  overlapping selectors do no harm.
- Before a resource's first claim to an object in Harbor, the operator lists all resources. So the claims of other
  operators' resources count: those that have their object, and those too new to have one.

An operator for some namespaces needs an extra right to list the others. Without it, access rules have to keep the
claims apart.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from harborhook.api.base import ANNOTATION_SHARD, Key
from harborhook.api.names import Body
from harborhook.kube.gateway import Gone, KubeError
from harborhook.reconcile import changes
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.visit import Visit
from harborhook.runtime.store import version_of
from harborhook.settings import Settings

logger = logging.getLogger(__name__)

SHARDED_KINDS = ("HarborProject", "WebhookPolicy")

CLAIM_DELAY = 2.0
"""Seconds that a new resource waits before its first claim. Creation times are whole seconds, so a later listing
includes every resource that can count as older."""

HANDOVER = 10.0
"""Seconds that another operator has to remove its mark from a resource that has left its selector."""

SLIM_STATUS = ("origin", "connection", "projectID", "projectName", "policyID", "policyName", "conditions")
"""Status fields of other operators' resources that are kept."""


async def is_ours(visit: Visit[Any]) -> bool:
    """Whether this operator works on the resource; marks it if it is one of several."""
    context, resource = visit.context, visit.resource
    if resource.kind not in SHARDED_KINDS:
        return True
    mark, ours = resource.metadata.annotations.get(ANNOTATION_SHARD, ""), context.settings.mark
    if mark == ours:
        return True
    if mark:
        now = context.queue.clock()
        rest = context.surveys.left.setdefault(resource.metadata.uid, now) + HANDOVER - now
        if rest > 0:
            raise Wait(rest)
        await visit.warn(
            "LeftToAnother",
            f"Operator {ours or 'without a name'} leaves this resource to operator {mark}, which has marked it by "
            f"annotation {ANNOTATION_SHARD}. Let the selectors of the two not overlap; "
            "if that operator is gone, remove the annotation.",
        )
        return False
    context.surveys.left.pop(resource.metadata.uid, None)
    # Refused if anything has changed, above all another operator's mark.
    patch = {
        "annotations": {ANNOTATION_SHARD: ours},
        "resourceVersion": resource.metadata.resource_version,
    }
    marked = await context.patch(resource.key, resource.metadata.uid, {"metadata": patch})
    visit.resource = resource.model_copy(update={"metadata": marked})
    return True


async def has_surveyed(visit: Visit[Any]) -> bool:
    """Lists all resources before the first claim of one of ours; returns whether that was necessary."""
    context, resource = visit.context, visit.resource
    if resource.status.origin is not None or not _sees_others(context):
        return False
    now, waiting = context.queue.clock(), context.surveys.waiting
    rest = waiting.setdefault(resource.metadata.uid, now) + CLAIM_DELAY - now
    if rest > 0:
        raise Wait(rest)
    waiting.pop(resource.metadata.uid, None)
    await survey(context)
    return True


async def survey(context: Context) -> None:
    """Returns when a listing of all resources that began after the call is complete."""
    if not context.settings.divides:
        return
    surveys, asked = context.surveys, context.queue.clock()
    async with surveys.turn:
        if surveys.began is None or surveys.began < asked:
            began = context.queue.clock()
            await _list_all(context)
            surveys.began = began


async def _list_all(context: Context) -> None:
    """Takes in other operators' resources, and forgets those that no longer exist. If a list is refused, the last state
    stays: a temporary loss of a right must not change ownership of a project."""
    before = {key: context.store.version(key) for key in context.store.foreign}
    seen = set()
    async for key, body in _everything(context):
        if _is_ours(context, key):
            continue
        seen.add(key)
        context.notice_restore(key, before.get(key, 0), version_of(body))
        changes.saw_foreign(context, key, _slim(body))
        if _mark(body) == context.settings.mark and _is_in_reach(context.settings, key):
            await _remove_mark(context, key, body)
    for gone in before.keys() - seen:
        if context.store.is_foreign(gone) and _was_listed(context, gone):
            changes.forget(context, gone)


async def _everything(context: Context) -> AsyncIterator[tuple[Key, Body]]:
    """Yields all objects of the cluster if we may list them; otherwise those of our namespaces, which differ only under
    a selector."""
    settings, surveys = context.settings, context.surveys
    try:
        async for found in _list(context, ""):
            yield found
        surveys.refused = False
        return
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN or not settings.watch_namespaces:
            raise
        if not surveys.refused:
            logger.warning("What others claim in other namespaces is not known from now on: %s", error)
        surveys.refused = True
    for namespace in settings.watch_namespaces if settings.resource_selector else ():
        async for found in _list(context, namespace):
            yield found


def _was_listed(context: Context, key: Key) -> bool:
    """Whether a listing includes the object if it exists."""
    settings = context.settings
    return not context.surveys.refused or (bool(settings.resource_selector) and _is_in_reach(settings, key))


async def _list(context: Context, namespace: str) -> AsyncIterator[tuple[Key, Body]]:
    for kind in SHARDED_KINDS:
        async for body in context.gateway.list(kind, namespace):
            yield Key(kind, body["metadata"]["namespace"], body["metadata"]["name"]), body


def _sees_others(context: Context) -> bool:
    """Whether other operators may have resources that we may list."""
    settings = context.settings
    return settings.divides and (bool(settings.resource_selector) or not context.surveys.refused)


def _is_ours(context: Context, key: Key) -> bool:
    """Whether we work on it, or will once the watch has reported it."""
    if key in context.store and not context.store.is_foreign(key):
        return True
    return not context.settings.resource_selector and _is_in_reach(context.settings, key)


def _is_in_reach(settings: Settings, key: Key) -> bool:
    return not settings.watch_namespaces or key.namespace in settings.watch_namespaces


async def _remove_mark(context: Context, key: Key, body: Body) -> None:
    """Removes our mark from a resource that has left our selector, so that the operator that selects it now may
    begin."""
    if context.queue.holds(key):
        context.doubtful.set()
        return
    metadata = {name: body["metadata"][name] for name in ("uid", "resourceVersion")}
    try:
        await context.gateway.patch(key, {"metadata": {**metadata, "annotations": {ANNOTATION_SHARD: None}}})
        logger.info("%s is left to others: it is beyond the selector now", key)
    except (Gone, KubeError) as error:
        logger.info("%s: the mark of this operator stays for now: %s", key, error)
        context.doubtful.set()


def _mark(body: Body) -> str | None:
    return (body["metadata"].get("annotations") or {}).get(ANNOTATION_SHARD)


def _slim(body: Body) -> Body:
    status = body.get("status") or {}
    return {**body, "status": {name: status[name] for name in SLIM_STATUS if name in status}}
