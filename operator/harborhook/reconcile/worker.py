"""The workers: take a key, make the visit, decide when to come back."""

from __future__ import annotations

import logging

from harborhook.api.base import Key, Resource
from harborhook.api.conditions import NotReady, Outcome, Verdict
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.errors import HarborError, NotHarborError, ReadOnlyError, TransportError, UnauthorizedError
from harborhook.kube.gateway import Gone, KubeError
from harborhook.plan.references import DELIVERIES, connection_of_deliveries, policy_claim, recorded_connection
from harborhook.reconcile import claims, connection, deliveries, project, release, shards, switches, webhook_policy
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.verdicts import verdict_of
from harborhook.reconcile.visit import Visit
from harborhook.runtime.leader import LeadershipLostError
from harborhook.runtime.queue import Cause

logger = logging.getLogger(__name__)

_RECONCILERS = {
    "ClusterHarborConnection": connection,
    "HarborConnection": connection,
    "HarborProject": project,
    "WebhookPolicy": webhook_policy,
}


KUBERNETES_LIMIT = 30.0
"""The longest pause, in seconds, after a refusal by the API server: nothing tells when it takes writes again."""

_OF_THE_CONNECTION = (TransportError, NotHarborError, UnauthorizedError, ReadOnlyError)
"""Errors that concern a whole connection and not one resource."""


async def work(context: Context) -> None:
    """One worker; runs until it is cancelled."""
    while True:
        key, causes = await context.queue.get()
        started = context.queue.clock()
        try:
            result = await _attempt(context, key, causes)
            context.metrics.observe_visit(key.kind, result, context.queue.clock() - started)
        finally:
            context.queue.done(key)


async def _attempt(context: Context, key: Key, causes: Cause) -> str:
    """One visit whose every end is dealt with: nothing that a visit can raise stops a worker. Returns how it ended."""
    try:
        if key.kind == DELIVERIES:
            await _poll(context, key)
        else:
            await _visit(context, key, causes)
    except Wait as wait:
        if wait.after is not None:
            context.queue.add(key, causes, after=wait.after)
        return "waiting"
    except Gone:
        context.forget(key)
        context.doubtful.set()  # the watch should have said so
        return "gone"
    except KubeError as error:
        # The watch brings whatever we did not know of; until then the same visit is worth another try.
        pause = context.queue.retry(key, limit=KUBERNETES_LIMIT)
        logger.info("%s: %s; tried again in %.0f s", key, error, pause)
        return "kubernetes_error"
    except LeadershipLostError:
        return "leadership_lost"  # the end of this process
    except Exception:
        logger.exception("%s: unexpected error; tried again in %.0f s", key, context.queue.retry(key))
        return "error"
    return "done"


async def _poll(context: Context, key: Key) -> None:
    try:
        after = await deliveries.poll(context, key)
    except HarborError as error:
        logger.info("%s: last-trigger times were not read: %s", key.name, error)
        _suspect(context, connection_of_deliveries(key), error)
        after = context.jittered(context.settings.poll_interval)
    if after is not None:
        context.queue.add(key, Cause.POLL, after=after)


async def _visit(context: Context, key: Key, causes: Cause) -> None:
    resource = context.load(key)
    if resource is None or context.store.is_foreign(key):
        return
    visit = Visit(context, resource, causes, status=resource.status)  # type: ignore[attr-defined]
    if not await shards.is_ours(visit):
        return
    if resource.metadata.deleting:
        if causes not in Cause.STATUS:
            await _delete(visit)
    elif causes in Cause.STATUS:
        await _news(visit)
    else:
        await _reconcile(visit)


async def _reconcile(visit: Visit[Resource]) -> None:
    key = visit.resource.key
    before = visit.resource
    retry_after = None
    try:
        verdict = await _RECONCILERS[key.kind].reconcile(visit)
    except NotReady as refusal:
        verdict, retry_after = refusal.verdict, refusal.retry_after
    except HarborError as error:
        verdict = _verdict(visit, error)
    if key.kind not in CONNECTION_KINDS:
        await visit.finish(verdict)
        _tell_others(visit, before)
    _schedule(visit, verdict, retry_after)


async def _delete(visit: Visit[Resource]) -> None:
    """Lets go of a resource that is being deleted, as soon as what it owns in Harbor is as its policy says."""
    key = visit.resource.key
    if not visit.has_finalizer:
        return
    try:
        if visit.resource.metadata.released:
            await visit.warn("Released", "Let go as asked by annotation harborhook.io/release; Harbor was not touched.")
        else:
            await _RECONCILERS[key.kind].delete(visit)
    except (NotReady, HarborError) as error:
        verdict = error.verdict if isinstance(error, NotReady) else _verdict(visit, error)
        if not await release.let_go(visit, verdict):
            await visit.finish(verdict)
            _come_back(visit, error.retry_after if isinstance(error, NotReady) else None)
            return
    await visit.prepare(finalizer=False)


async def _news(visit: Visit[Resource]) -> None:
    """Only the delivery part of the status, where Harbor was read by the poll, or a project's count of its policies."""
    recorded = recorded_connection(visit.context.store.get(visit.resource.key))
    link = visit.context.links.get(recorded) if recorded else None
    if link is not None and link.verdict is not None:
        return  # how things are is not known, and everybody is visited when the connection works again
    if link is not None and visit.resource.kind == "HarborProject":
        project.take_news(visit, link)  # type: ignore[arg-type]
        await visit.write_status()
    elif link is not None and switches.effective(visit.context, link, visit.resource).is_lifted:  # type: ignore[arg-type]
        visit.context.queue.add(visit.resource.key, Cause.SWITCH)
    elif link is not None:
        await deliveries.take_news(visit, link)  # type: ignore[arg-type]
        await visit.write_status()


def _tell_others(visit: Visit[Resource], before: Resource) -> None:
    """Wakes those for whom this visit changed something: policies of a project, rivals for an object in Harbor."""
    context, key = visit.context, visit.resource.key
    old, new = before.status, visit.status  # type: ignore[attr-defined]
    if key.kind == "HarborProject" and _offer(old) != _offer(new):
        context.wake(context.store.dependents(key), Cause.PROJECT)
    if key.kind == "WebhookPolicy" and (old.observed_generation is None or old.is_ready != new.is_ready):
        context.tell_project(context.store.references_of(key))
    had_claim = old.origin is not None or old.ready_reason not in claims.WITHOUT_CLAIM
    has_claim = new.origin is not None or new.ready_reason not in claims.WITHOUT_CLAIM
    if had_claim != has_claim or (old.origin is None) != (new.origin is None):
        context.wake_rivals(key)
    if isinstance(before, WebhookPolicy) and new.policy_name != old.policy_name is not None:
        # The name that was given up is free for others.
        rivals = set(context.store.dependents(policy_claim(before.wire(), old.policy_name))) - {key}
        context.wake(rivals, Cause.CLAIM)


def _offer(status: object) -> tuple[object, ...]:
    """What policies need of their project."""
    return tuple(getattr(status, name) for name in ("project_id", "project_name", "connection", "observed_generation"))


def _schedule(visit: Visit[Resource], verdict: Verdict, retry_after: float | None) -> None:
    context, key = visit.context, visit.resource.key
    if verdict.reason.outcome is Outcome.RECONCILING and not visit.connection_is_lost:
        _come_back(visit, retry_after)
        return
    context.queue.succeeded(key)
    settings = context.settings
    interval = settings.connection_interval if key.kind in CONNECTION_KINDS else settings.drift_interval
    context.queue.add(key, Cause.RESYNC, after=context.jittered(interval))


def _come_back(visit: Visit[Resource], retry_after: float | None) -> None:
    context, key = visit.context, visit.resource.key
    if retry_after is not None:
        context.queue.add(key, Cause.RETRY, after=retry_after)
    elif key.kind in CONNECTION_KINDS:
        context.queue.retry(key, limit=connection.PROBE_LIMIT)
    else:
        context.queue.retry(key)


def _verdict(visit: Visit[Resource], error: HarborError) -> Verdict:
    """What a failed request means for the resource; a lost connection reads the same for all."""
    verdict = verdict_of(error, visit.link)
    if visit.link is not None and isinstance(error, _OF_THE_CONNECTION):
        _suspect(visit.context, visit.link.key, error)
        return claims.lost(visit.link.key, verdict.reason)
    return verdict


def _suspect(context: Context, key: Key, error: HarborError) -> None:
    """The connection is checked at once, and while it does not work nobody else tries."""
    link = context.links.get(key)
    if isinstance(error, _OF_THE_CONNECTION) and link is not None and link.verdict is None:
        context.queue.add(key, Cause.RETRY)
