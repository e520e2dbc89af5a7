"""ClusterHarborConnection and HarborConnection: reads the credentials, logs in, identifies Harbor and principal, wakes
the dependents.

During an outage a visit is also the probe: while Harbor does not answer, only the connection sends requests, with
growing pauses. Its resources wait until Harbor answers again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from functools import partial

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Outcome, Reason, Verdict
from harborhook.api.connections import (
    AnyConnection,
    ClusterHarborConnection,
    HarborConnection,
    canonical_url,
)
from harborhook.harbor.errors import HarborError, TransportError
from harborhook.harbor.models import SystemInfo
from harborhook.plan.access import allows_harbor, origin_of
from harborhook.plan.references import recorded_connection
from harborhook.reconcile import faults, global_switch
from harborhook.reconcile.breaker import Breaker
from harborhook.reconcile.changes import wake_deeply
from harborhook.reconcile.connection_check import identify, judge, why_failed
from harborhook.reconcile.context import Context
from harborhook.reconcile.credentials import admission_of, check
from harborhook.reconcile.links import Link, retire
from harborhook.reconcile.readings import SHARED_FOR
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

PROBE_LIMIT = 5.0
"""Longest pause between two probes of a Harbor that does not answer, in seconds."""

PROBE_TIMEOUT = 10.0
"""Timeout in seconds of the request that checks whether a stalled Harbor answers again."""

STALLED = (
    "Harbor answers the check of the connection, but no other request in time. The operator retries with pauses; "
    "check the load of Harbor's core and database."
)

LOSS_NOTICES = 40.0
"""Resources per second that are woken when their connection is lost. The connection's own status shows the loss at
once. Status writes of thousands of resources are expensive and are repeated when the connection works again, often a
minute later."""


async def reconcile(visit: Visit[AnyConnection]) -> Verdict:
    verdict = await _check_and_notify(visit)
    await _hold_for_dependents(visit)
    visit.once_written.append(partial(_offer_to_dependents, visit.context, visit.resource.key))
    return verdict


async def take_news(visit: Visit[AnyConnection]) -> None:
    """Adds the finalizer for a resource that is about to create something over the connection and waits for it."""
    await _hold_for_dependents(visit)
    wake_deeply(visit.context, visit.resource.key, Cause.CONNECTION)


async def _hold_for_dependents(visit: Visit[AnyConnection]) -> None:
    """The connection has our finalizer while any resource refers to it."""
    await visit.prepare(finalizer=bool(visit.context.store.own_dependents(visit.resource.key)))


async def _check_and_notify(visit: Visit[AnyConnection]) -> Verdict:
    """Checks the connection, and releases its resources for work or stops them."""
    context, key, began = visit.context, visit.resource.key, visit.context.queue.clock()
    try:
        verdict = await _check(visit, context.links.get(key))
    except NotReady as refusal:
        verdict = refusal.verdict
    except HarborError as error:
        tried = context.links.get(key)
        verdict = await why_failed(error, tried.client if tried else None)
    link = context.links.get(key)
    if link is not None:
        if link.verdict is not None:
            link.readings.forget()  # an administrator may have restored Harbor from a backup
        link.connection = visit.resource
        link.verdict = None if verdict.reason is Reason.RECONCILED else verdict
        visit.once_written.append(partial(faults.checked, context, link, began))
    return verdict


def _offer_to_dependents(context: Context, key: Key) -> None:
    """Wakes the dependents if the offer has changed. The last offer is kept in memory: if the status could not be
    written, the next visit wakes them."""
    link = context.links.get(key)
    offer = link.offer if link is not None else None
    if key not in context.offered or context.offered[key] != offer:
        before, context.offered[key] = context.offered.get(key), offer
        verdict = offer.verdict if offer is not None else None
        is_lost = verdict is not None and verdict.reason.outcome is Outcome.RECONCILING
        is_turned = before is not None and offer is not None and before.switch != offer.switch
        cause = Cause.CONNECTION | Cause.SWITCH if is_turned else Cause.CONNECTION
        wake_deeply(context, key, cause, per_second=LOSS_NOTICES if is_lost else math.inf)


async def delete(visit: Visit[AnyConnection]) -> None:
    """Releases the connection once no resource uses it; until then it serves their deletion."""
    using = users(visit.context, visit.resource.key)
    if using and not visit.resource.metadata.released:
        await _serve(visit)
        raise NotReady(Reason.IN_USE, f"Kept until these are gone: {_some(using)}.")
    link = visit.context.links.pop(visit.resource.key, None)
    if link is not None:
        retire(link.client)


async def _serve(visit: Visit[AnyConnection]) -> None:
    """Keeps the connection usable for resources that are still to be deleted over it. A working connection is not
    checked again each time one of them is gone."""
    context, key = visit.context, visit.resource.key
    link = context.links.get(key)
    if link is None or link.verdict is not None or Cause.RETRY in visit.causes:
        await _check_and_notify(visit)
        visit.once_written.append(partial(_offer_to_dependents, context, key))


def users(context: Context, key: Key) -> list[Key]:
    """Returns our resources with an object in Harbor that was created over this connection. Other operators have their
    own finalizers on the connection."""
    dependents = context.store.own_dependents(key)
    return [dependent for dependent in dependents if recorded_connection(context.store.get(dependent)) == key]


async def _check(visit: Visit[AnyConnection], link: Link | None) -> Verdict:
    """Creates or renews the client if needed, and identifies Harbor and principal."""
    connection = visit.resource
    if connection.spec.suspend:
        return Verdict(Reason.SUSPENDED, "No requests are sent to this Harbor while suspend is true.")
    _refuse_forbidden_host(visit)
    link = await _renewed(visit, link)
    visit.context.clients.limit(connection)  # applies changed limits
    info = await _identified(link)
    verdict = judge(info)
    if verdict.reason is Reason.RECONCILED and link.breaker.is_open and not await _is_answered_again(link):
        verdict = Verdict(Reason.HARBOR_UNREACHABLE, STALLED)
    if verdict.reason is Reason.RECONCILED:
        await global_switch.enforce(visit, link)
    visit.record(
        harbor_version=link.version,
        read_only=link.read_only,
        authentication=link.client.authentication,
        principal=link.principal,
    )
    _record_supported(visit, link)
    return verdict


async def _is_answered_again(link: Link) -> bool:
    """Whether the breaker of the connection may close: one request gets a valid answer."""
    if not link.breaker.may_be_tried:
        return False
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            await link.client.probe()
    except (TransportError, TimeoutError):
        return False
    link.breaker.close()
    return True


def _record_supported(visit: Visit[AnyConnection], link: Link) -> None:
    """Keeps the status of the same Harbor version until the first policy has read the supported types, for example
    after a restart."""
    if link.supported is None and link.version == visit.resource.status.harbor_version:
        return
    visit.record(
        supported_event_types=sorted(link.supported.event_types) if link.supported else [],
        supported_payload_formats=sorted(link.supported.payload_formats) if link.supported else [],
    )


async def _identified(link: Link) -> SystemInfo:
    """Identifies Harbor and principal, and starts a session for a user. Raises NotReady if Harbor refuses."""
    found = await identify(link.client, wants_session=link.wants_session)
    link.wants_session = found.wants_session
    if found.version != link.version:
        link.supported = None
    link.version, link.read_only = found.version, found.info.read_only
    link.notifications_enabled = found.info.notification_enable
    link.principal = found.principal(link.client.username)
    return found.info


async def _renewed(visit: Visit[AnyConnection], link: Link | None) -> Link:
    """Returns the link with a client for the present url, credentials, headers and certificates."""
    context, connection = visit.context, visit.resource
    admission = await admission_of(context.secrets, connection)
    fingerprint = (connection.spec.url, admission)
    if link is not None and link.fingerprint == fingerprint:
        return link
    check(connection, admission)
    is_same = link is not None and canonical_url(link.client.url) in connection.spec.urls
    breaker = link.breaker if link is not None and is_same else Breaker(context.queue.clock)
    client = context.clients.make(connection, admission, breaker)
    if link is not None and not is_same:
        # Another Harbor: visits in progress keep the former link, and none of its readings apply.
        retire(link.client)
        link = None
    if link is None:
        shared_for = min(SHARED_FOR, context.settings.drift_interval / 2)
        link = Link.over(connection, client, clock=context.queue.clock, shared_for=shared_for, breaker=breaker)
        context.links[connection.key] = link
    else:
        link.replace_client(client)
        link.connection = connection
    link.fingerprint = fingerprint
    link.wants_session = True
    return link


def _refuse_forbidden_host(visit: Visit[AnyConnection]) -> None:
    """A HarborConnection may only name Harbors that administrators of the cluster have allowed, also in its aliases."""
    connection = visit.resource
    if not isinstance(connection, HarborConnection):
        return
    for url in sorted(connection.spec.urls):
        if not _is_known(visit.context, url):
            raise NotReady(
                Reason.NOT_ALLOWED_BY_CONNECTION,
                f"{origin_of(url)} is not a Harbor that a HarborConnection may name in url or aliases; the operator's "
                "setting allowedHarborHosts, or a ClusterHarborConnection to it, would allow it.",
            )


def _is_known(context: Context, url: str) -> bool:
    """Whether the setting allows its host and port; without the setting, whether a ClusterHarborConnection has the
    same."""
    allowed = context.settings.allowed_harbor_hosts
    if allowed:
        return allows_harbor(allowed, url)
    connections = map(context.load, context.store.all("ClusterHarborConnection"))
    known = [known for one in connections if isinstance(one, ClusterHarborConnection) for known in one.spec.urls]
    origin = origin_of(url)
    return origin is not None and origin in map(origin_of, known)


def _some(keys: Iterable[Key], limit: int = 5) -> str:
    names = [str(key) for key in keys]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
