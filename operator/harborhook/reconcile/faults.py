"""Finds out whether a failed request is the fault of the connection or of the one resource that it was for.

A request without an answer from Harbor's API usually means that the connection is lost. But a proxy in front of Harbor
can also refuse or delay one kind of request while all others succeed. Therefore the connection is checked first. The
resource waits and retries if the check succeeded; a second failure is attributed to the resource.
"""

from __future__ import annotations

from typing import Any

from harborhook.api.base import Key
from harborhook.api.conditions import Verdict
from harborhook.harbor.errors import HarborError, NotHarborError, ReadOnlyError, TransportError, UnauthorizedError
from harborhook.reconcile import claims
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.reconcile.verdicts import verdict_of, verdict_of_one_request
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

OF_THE_CONNECTION = (TransportError, NotHarborError, UnauthorizedError, ReadOnlyError)
"""Errors that may affect a whole connection."""

CHECK_PAUSE = 5.0
"""Seconds until a resource retries, unless the check of its connection wakes it earlier."""
CHECK_AGAIN = 30.0
"""Seconds until another failure of a single resource triggers a further check of the connection."""


def verdict_on(visit: Visit[Any], error: HarborError) -> Verdict | None:
    """Returns what a failed request means for the resource; None until the connection has been checked."""
    link = visit.link
    if link is None or not isinstance(error, OF_THE_CONNECTION):
        return verdict_of(error, link)
    if link.verdict is not None:  # found by another visit meanwhile
        is_lost = link.verdict.reason in claims.LOST
        return claims.lost(link.key, link.verdict.reason if is_lost else verdict_of(error, link).reason)
    key, failures, now = visit.resource.key, link.failures, visit.context.queue.clock()
    if key in failures.own:
        if link.breaker.is_open or now - failures.checked_at > CHECK_AGAIN:
            suspect(visit.context, link.key, error)
        return verdict_of_one_request(error, link)
    failures.unexplained.setdefault(key, now)
    suspect(visit.context, link.key, error)
    return None


def suspect(context: Context, connection: Key, error: HarborError) -> None:
    """Has the connection checked at once if the error may be its fault."""
    link = context.links.get(connection)
    if isinstance(error, OF_THE_CONNECTION) and link is not None and link.verdict is None:
        context.queue.add(connection, Cause.RETRY)


def checked(context: Context, link: Link, began: float) -> None:
    """Takes in a check of the connection. If it is lost, nothing else needs to be found out; if it works, requests that
    failed before the check are retried."""
    failures = link.failures
    if link.verdict is not None:
        failures.unexplained.clear()
        failures.own.clear()
        return
    failures.checked_at = began
    for key in [key for key, since in failures.unexplained.items() if since <= began]:
        del failures.unexplained[key]
        failures.own.add(key)
        context.queue.add(key, Cause.RETRY)
