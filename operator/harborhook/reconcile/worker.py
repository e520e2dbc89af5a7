"""The workers: take a key from the queue, run the visit, schedule the next one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from harborhook.api.base import AnyKey, DeliveriesKey, Key, Resource
from harborhook.api.conditions import NotReady, Outcome, Verdict
from harborhook.api.connections import AnyConnection, ClusterHarborConnection, HarborConnection
from harborhook.api.kinds import CONNECTION_KINDS
from harborhook.api.project import HarborProject
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.errors import HarborError
from harborhook.kube.gateway import Gone, KubeError
from harborhook.plan.references import policy_claim
from harborhook.reconcile import (
    changes,
    claims,
    connection,
    deliveries,
    faults,
    project,
    release,
    shards,
    webhook_policy,
)
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.visit import Visit
from harborhook.runtime.leader import LeadershipLostError
from harborhook.runtime.queue import Cause

logger = logging.getLogger(__name__)

KUBERNETES_LIMIT = 30.0
"""Longest pause after a refusal by the API server, in seconds: no event reports when it accepts writes again."""

R = TypeVar("R", bound=Resource)


class Reconciler(Protocol[R]):
    """The functions for resources of a kind. The worker finishes the visit that it passes to them."""

    async def reconcile(self, visit: Visit[R]) -> Verdict:
        """Makes Harbor match the resource. Raises NotReady, HarborError or Wait if that is not possible now."""

    async def delete(self, visit: Visit[R]) -> None:
        """Deletes the resource's object in Harbor according to its deletion policy. NotReady and HarborError keep the
        resource."""

    async def take_news(self, visit: Visit[R]) -> None:
        """Takes in the findings of others, without requests to Harbor about the resource."""


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


async def _attempt(context: Context, key: AnyKey, causes: Cause) -> str:
    """Runs one visit and handles every error, so that none stops a worker. Returns the outcome for the metrics."""
    try:
        await _do(context, key, causes)
    except Wait as wait:
        if wait.after is not None:
            context.queue.add(key, causes, after=wait.after)
        return "waiting"
    except Gone:
        if isinstance(key, Key):
            changes.forget(context, key)
        context.doubtful.set()  # the watch should have reported it
        return "gone"
    except KubeError as error:
        # The watch will report the change that we missed; until then, retry the same visit.
        pause = context.queue.retry(key, limit=KUBERNETES_LIMIT)
        logger.info("%s: %s; tried again in %.0f s", key, error, pause)
        return "kubernetes_error"
    except LeadershipLostError:
        return "leadership_lost"  # this process ends
    except Exception:
        logger.exception("%s: unexpected error; tried again in %.0f s", key, context.queue.retry(key))
        return "error"
    return "done"


async def _do(context: Context, key: AnyKey, causes: Cause) -> None:
    if isinstance(key, DeliveriesKey):
        await _poll(context, key)
    elif isinstance(key, Key):
        await _visit(context, key, causes)


async def _poll(context: Context, key: DeliveriesKey) -> None:
    try:
        after = await deliveries.poll(context, key)
    except HarborError as error:
        logger.info("%s: last-trigger times were not read: %s", key, error)
        faults.suspect(context, key.connection, error)
        after = context.jittered(context.settings.poll_interval)
    if after is not None:
        context.queue.add(key, Cause.POLL, after=after)


async def _visit(context: Context, key: Key, causes: Cause) -> None:
    resource = context.load(key)
    if resource is not None and not context.store.is_foreign(key):
        await _CONTROLLERS[key.kind].visit(context, resource, causes)


@dataclass(frozen=True)
class _Controller(Generic[R]):
    """Visits the resources of some kinds; calls a reconciler for the steps that differ between kinds."""

    models: tuple[type[R], ...]
    reconciler: Reconciler[R]

    async def visit(self, context: Context, resource: Resource, causes: Cause) -> None:
        assert isinstance(resource, self.models)
        visit: Visit[R] = Visit(context, resource, causes, status=resource.status)
        if not await shards.is_ours(visit):
            return
        if visit.resource.metadata.deleting:
            if causes not in Cause.NEWS:
                await self._delete(visit)
        elif causes in Cause.NEWS:
            await self.reconciler.take_news(visit)
            await visit.write_status()
        else:
            await self._reconcile(visit)

    async def _reconcile(self, visit: Visit[R]) -> None:
        before = visit.resource
        retry_after = None
        verdict: Verdict | None
        try:
            verdict = await self.reconciler.reconcile(visit)
            _got_through(visit)
        except NotReady as refusal:
            verdict, retry_after = refusal.verdict, refusal.retry_after
        except HarborError as error:
            verdict = faults.verdict_on(visit, error)
        if verdict is None:
            await visit.write_status()  # what was created before the failure
        else:
            await visit.finish(verdict)
        if isinstance(before, HarborProject | WebhookPolicy):
            _wake_others(visit, before)
        if verdict is None:
            raise Wait(after=faults.CHECK_PAUSE)
        _schedule(visit, verdict, retry_after)

    async def _delete(self, visit: Visit[R]) -> None:
        """Releases a resource that is being deleted once its object in Harbor complies with its deletion policy."""
        if not visit.has_finalizer:
            return
        try:
            if visit.resource.metadata.released:
                await visit.warn(
                    "Released", "Released because of annotation harborhook.io/release; Harbor was not changed."
                )
            else:
                await self.reconciler.delete(visit)
        except (NotReady, HarborError) as error:
            verdict = error.verdict if isinstance(error, NotReady) else faults.verdict_on(visit, error)
            if verdict is None:
                raise Wait(after=faults.CHECK_PAUSE) from None
            if not await release.release_abandoned(visit, verdict):
                await visit.finish(verdict)
                _come_back(visit, error.retry_after if isinstance(error, NotReady) else None)
                return
        await visit.prepare(finalizer=False)


_CONTROLLERS: dict[str, _Controller[Any]] = {
    "ClusterHarborConnection": _Controller[AnyConnection]((ClusterHarborConnection,), connection),
    "HarborConnection": _Controller[AnyConnection]((HarborConnection,), connection),
    "HarborProject": _Controller[HarborProject]((HarborProject,), project),
    "WebhookPolicy": _Controller[WebhookPolicy]((WebhookPolicy,), webhook_policy),
}


def _wake_others(visit: Visit[Any], before: HarborProject | WebhookPolicy) -> None:
    """Wakes the resources affected by this visit: policies of a project, rivals for an object in Harbor."""
    context, key = visit.context, visit.resource.key
    old, new = before.status, visit.status
    if isinstance(before, HarborProject) and _as_policies_need_it(old) != _as_policies_need_it(new):
        changes.wake(context, context.store.dependents(key), Cause.PROJECT)
    if isinstance(before, WebhookPolicy) and (old.observed_generation is None or old.is_ready != new.is_ready):
        changes.recount(context, context.store.references_of(key))
    had_claim = old.origin is not None or old.ready_reason not in claims.WITHOUT_CLAIM
    has_claim = new.origin is not None or new.ready_reason not in claims.WITHOUT_CLAIM
    if had_claim != has_claim or (old.origin is None) != (new.origin is None):
        changes.wake_rivals(context, key)
    if isinstance(before, WebhookPolicy) and new.policy_name != before.status.policy_name is not None:
        # The former name is free for others.
        former = policy_claim(before.wire(), before.status.policy_name)
        changes.wake(context, set(context.store.dependents(former)) - {key}, Cause.CLAIM)


def _as_policies_need_it(status: object) -> tuple[object, ...]:
    """Returns the fields of their project that policies depend on."""
    return tuple(getattr(status, name) for name in ("project_id", "project_name", "connection", "observed_generation"))


def _schedule(visit: Visit[Any], verdict: Verdict, retry_after: float | None) -> None:
    context, key = visit.context, visit.resource.key
    if verdict.reason.outcome is Outcome.RECONCILING and not visit.connection_is_lost:
        _come_back(visit, retry_after)
        return
    context.queue.succeeded(key)
    settings = context.settings
    interval = settings.connection_interval if key.kind in CONNECTION_KINDS else settings.drift_interval
    context.queue.add(key, Cause.RESYNC, after=context.jittered(interval))


def _come_back(visit: Visit[Any], retry_after: float | None) -> None:
    context, key = visit.context, visit.resource.key
    if retry_after is not None:
        context.queue.add(key, Cause.RETRY, after=retry_after)
    elif key.kind in CONNECTION_KINDS:
        context.queue.retry(key, limit=connection.PROBE_LIMIT)
    else:
        context.queue.retry(key)


def _got_through(visit: Visit[Any]) -> None:
    """All requests of the visit were answered."""
    if visit.link is not None:
        visit.link.failures.forget(visit.resource.key)
