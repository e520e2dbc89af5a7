"""Takes in changes of objects: stores them, and wakes the resources that they concern.

`saw`, `saw_foreign`, `saw_secret` and `forget` are called for each object that watches and listings report. Reconcilers
call the other functions to wake resources that depend on their results.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from harborhook.api.base import AnyKey, Key
from harborhook.api.kinds import CONNECTION_KINDS, KINDS
from harborhook.api.names import Body
from harborhook.plan.references import is_claim
from harborhook.plan.switch import switches_off
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import retire
from harborhook.runtime.queue import Cause


def saw(context: Context, key: Key, body: Body, *, first: bool = False) -> None:
    """Takes in a version of one of our objects; queues it and wakes others if the change matters."""
    store, queue = context.store, context.queue
    if store.is_foreign(key):  # the object has come into our selector
        store.remove(key)
    before, claims = store.get(key), _claims(context, key)
    marked = is_left_to_another(context, key)
    is_relevant = store.upsert(key, body)
    if marked != is_left_to_another(context, key):
        queue.add(key, Cause.CHANGE)
        _wake_rivals(context, key, claims | _claims(context, key))
    if not is_relevant:
        return
    unseen = (body.get("status") or {}).get("observedGeneration") != body["metadata"].get("generation")
    queue.add(key, Cause.RESYNC if first and not unseen else Cause.CHANGE)
    if first:  # after a start, every object is queued anyway
        return
    if key.kind not in CONNECTION_KINDS:  # a connection is checked first, and its visit wakes the dependents
        is_turned = switches_off(before) != switches_off(body)
        wake(context, store.dependents(key), Cause.PROJECT | Cause.SWITCH if is_turned else Cause.PROJECT)
    _wake_rivals(context, key, claims | _claims(context, key))


def saw_foreign(context: Context, key: Key, body: Body) -> None:
    """Takes in a version of an object that another operator works on; wakes ours for which it matters."""
    before, claims = context.store.get(key), _claims(context, key)
    if not context.store.upsert_foreign(key, body):
        return
    _wake_rivals(context, key, claims | _claims(context, key))
    if key.kind == "HarborProject" and _as_policies_see_it(before) != _as_policies_see_it(body):
        wake(context, context.store.dependents(key), Cause.PROJECT)


def saw_secret(context: Context, key: Key, resource_version: str | None) -> None:
    """Takes in a version of a Secret or ConfigMap; None: it was deleted."""
    if not context.secrets.saw(key, resource_version):
        return
    wake(context, context.store.dependents(key), Cause.SECRET)
    if key == context.global_switch:
        connections = (connection for kind in CONNECTION_KINDS for connection in context.store.all(kind))
        wake(context, connections, Cause.SWITCH)


def forget(context: Context, key: Key) -> None:
    """Forgets one of our objects that was deleted from the API."""
    references = context.store.references_of(key)
    body = context.store.remove(key)
    if body is None:
        return
    context.surveys.forget(body["metadata"].get("uid", ""))
    context.queue.drop(key)
    context.metrics.forget(key)
    _unlink(context, key)
    cause = Cause.CONNECTION if key.kind in CONNECTION_KINDS else Cause.PROJECT
    wake(context, context.store.dependents(key), cause)
    _wake_rivals(context, key, {reference for reference in references if is_claim(reference)})
    # A connection or project that is being deleted may have waited for this one.
    waiting = (ref for ref in references if isinstance(ref, Key) and _is_being_deleted(context, ref))
    wake(context, waiting, Cause.DEPENDENT)
    if key.kind == "WebhookPolicy":
        recount(context, references)


def _unlink(context: Context, key: Key) -> None:
    link = context.links.pop(key, None)
    if link is not None:
        retire(link.client)
    context.offered.pop(key, None)
    for other in context.links.values():
        other.forget(key)


def recount(context: Context, references: Iterable[AnyKey]) -> None:
    """Makes the HarborProject among a policy's references count its policies again."""
    for reference in references:
        if isinstance(reference, Key) and reference.kind == "HarborProject":
            context.queue.add(reference, Cause.COUNT)


def wake(context: Context, keys: Iterable[Key], cause: Cause) -> None:
    """Queues the keys that are ours for this cause."""
    for key in keys:
        if not context.store.is_foreign(key):
            context.queue.add(key, cause)


def wake_deeply(context: Context, connection: Key, cause: Cause, *, per_second: float = math.inf) -> None:
    """Wakes the dependents of a connection, and the policies of its projects, which depend on it indirectly."""
    dependents = context.store.dependents(connection)
    indirect = (policy for project in dependents for policy in context.store.dependents(project))
    for number, dependent in enumerate(dict.fromkeys([*dependents, *indirect])):
        context.queue.add(dependent, cause, after=number / per_second)


def wake_rivals(context: Context, key: Key) -> None:
    """Queues all resources that claim the same object in Harbor."""
    _wake_rivals(context, key, _claims(context, key))


def _wake_rivals(context: Context, key: Key, claims: Iterable[Key]) -> None:
    wake(context, {rival for claim in claims for rival in context.store.dependents(claim)} - {key}, Cause.CLAIM)


def _claims(context: Context, key: Key) -> set[Key]:
    return {reference for reference in context.store.references_of(key) if is_claim(reference)}


def is_left_to_another(context: Context, key: Key) -> bool:
    """Whether another operator has marked the resource as its own."""
    body = context.store.get(key)
    return body is not None and context.is_left_to_another(body)


def _is_being_deleted(context: Context, key: Key) -> bool:
    """Whether it is one of our objects and is being deleted."""
    body = context.store.get(key)
    return key.kind in KINDS and body is not None and bool(body["metadata"].get("deletionTimestamp"))


def _as_policies_see_it(body: Body | None) -> tuple[object, ...]:
    """Returns the fields of a project that policies depend on."""
    status = (body or {}).get("status") or {}
    return status.get("projectID"), status.get("projectName"), str(status.get("connection"))
