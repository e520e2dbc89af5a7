"""Tests the targets of a policy without an event. Harbor's UI has a button for it, but Harbor's API no longer has an
endpoint.

The operator sends an empty JSON object to all targets at the same time, from its own network. A cluster administrator
has to allow that, since the operator may reach other hosts than Harbor does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from harborhook.api.base import Key, SenderKey
from harborhook.api.conditions import NotReady, shorten
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.webhook_policy import EndpointResult, EndpointTest, Target, WebhookPolicy
from harborhook.plan.access import names_host
from harborhook.plan.target_values import TargetValues
from harborhook.reconcile import claims
from harborhook.reconcile.context import Context
from harborhook.reconcile.credentials import ca_bundle_of
from harborhook.reconcile.links import Link
from harborhook.reconcile.sender import NotSentError, send
from harborhook.reconcile.target_values import check_hosts, resolve
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause

MESSAGE_LIMIT = 256
NOT_ALLOWED = "Not tested: an administrator has to allow it by allowEndpointTests in the ClusterHarborConnection."


def ask_for(context: Context, policy: WebhookPolicy) -> None:
    """Queues a test if a request is newer than the last test."""
    if _open_request(policy) is not None:
        context.sending.add(SenderKey("EndpointTest", policy.key), Cause.CHANGE)


def record(visit: Visit[WebhookPolicy]) -> None:
    """Puts the results of a test into the status of this visit."""
    key, link = visit.resource.key, claims.link_of(visit.context, visit.resource.key)
    results = link.mailbox.endpoint_tests if link is not None else {}
    if key in results:
        visit.record(endpoint_test=results[key])
        visit.once_written.append(lambda: _written(results, key))


def _written(results: dict[Key, EndpointTest], key: Key) -> None:
    results.pop(key, None)


def _open_request(policy: WebhookPolicy) -> str | None:
    request, last = policy.test_request, policy.status.endpoint_test
    return None if last is not None and last.request == request else request


async def run(context: Context, key: Key) -> None:
    """Tests the targets of a policy, in a sender, and queues the policy's visit to write the results."""
    policy = context.load(key)
    link = claims.link_of(context, key)
    request = _open_request(policy) if isinstance(policy, WebhookPolicy) else None
    if link is None or request is None or not isinstance(policy, WebhookPolicy):
        return
    waiting = link.mailbox.endpoint_tests.get(key)
    if waiting is not None and waiting.request == request:
        return  # its results are not in the status yet
    try:
        results = await _results(context, link, policy)
    except NotSentError as error:
        results = [_unreachable(index, error) for index in range(len(policy.spec.targets))]
    link.mailbox.endpoint_tests[key] = EndpointTest(request=request, time=context.now(), results=results)
    context.queue.add(key, Cause.DELIVERIES)


async def _results(context: Context, link: Link, policy: WebhookPolicy) -> list[EndpointResult]:
    connection = link.connection
    if not (isinstance(connection, ClusterHarborConnection) and connection.spec.allow_endpoint_tests):
        raise NotSentError(NOT_ALLOWED)
    try:
        ca = await ca_bundle_of(context.secrets, connection)
        values = (await resolve(context, policy)).values
        check_hosts(link, policy, values)
    except NotReady as refusal:  # condition Ready reports it too
        raise NotSentError(refusal.verdict.message) from None
    hosts = connection.spec.allowed_target_hosts
    pairs = enumerate(zip(policy.spec.targets, values, strict=True))
    tests = (_test(index, *pair, ca, hosts, context.fence) for index, pair in pairs)
    return list(await asyncio.gather(*tests))


async def _test(
    index: int,
    target: Target,
    values: TargetValues,
    ca: bytes | None,
    hosts: Sequence[str] | None,
    fence: Callable[[], None] | None,
) -> EndpointResult:
    headers = {"Content-Type": "application/json", **({"Authorization": values.header} if values.header else {})}
    verify = target.verify_remote_certificate is not False
    try:
        status = await send(
            values.address,
            content=b"{}",
            headers=headers,
            verify=verify,
            ca=ca,
            may_be_local=names_host(hosts, values.address),
            fence=fence,
        )
    except NotSentError as error:
        return _unreachable(index, error)
    return EndpointResult(target=index, reachable=True, http_status=status, message=_meaning(status))


def _meaning(status: int) -> str:
    if 200 <= status < 300:
        return "It takes notifications."
    if 300 <= status < 400:
        return "It redirects to another address, which the test does not follow; Harbor does."
    return "It refuses an empty notification. Some receivers do, and take real ones."


def _unreachable(index: int, error: NotSentError) -> EndpointResult:
    return EndpointResult(target=index, reachable=False, message=shorten(str(error), MESSAGE_LIMIT))
