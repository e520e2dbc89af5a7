"""Testing the targets of a policy without an event: the button of Harbor's UI, which its API has lost.

The operator sends an empty JSON object to all targets at the same time, from where it runs itself. Only a cluster's
administrator can allow that, since other hosts may be within reach than from Harbor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from harborhook.api.conditions import NotReady, shorten
from harborhook.api.connections import AnyConnection, ClusterHarborConnection
from harborhook.api.webhook_policy import EndpointResult, EndpointTest, Target, WebhookPolicy
from harborhook.plan.target_values import TargetValues
from harborhook.reconcile.credentials import ca_bundle_of
from harborhook.reconcile.sender import NotSentError, send
from harborhook.reconcile.visit import Visit

MESSAGE_LIMIT = 256
NOT_ALLOWED = "Not tested: an administrator has to allow it by allowEndpointTests in the ClusterHarborConnection."


async def answer(visit: Visit[WebhookPolicy], connection: AnyConnection, values: Sequence[TargetValues]) -> None:
    """Tests the targets if somebody has asked for it since the last test, and records how they answered."""
    policy, request = visit.resource, visit.resource.test_request
    last = policy.status.endpoint_test
    if request is None or (last is not None and last.request == request):
        return
    try:
        if not (isinstance(connection, ClusterHarborConnection) and connection.spec.allow_endpoint_tests):
            raise NotSentError(NOT_ALLOWED)
        ca = await _ca_bundle(visit, connection)
        tests = (_test(index, *pair, ca) for index, pair in enumerate(zip(policy.spec.targets, values, strict=True)))
        results = list(await asyncio.gather(*tests))
    except NotSentError as error:
        results = [_unreachable(index, error) for index in range(len(values))]
    visit.record(endpoint_test=EndpointTest(request=request, time=visit.context.now(), results=results))


async def _ca_bundle(visit: Visit[WebhookPolicy], connection: AnyConnection) -> bytes | None:
    try:
        return await ca_bundle_of(visit.context.secrets, connection)
    except NotReady as refusal:  # the connection itself will say so too
        raise NotSentError(refusal.verdict.message) from None


async def _test(index: int, target: Target, values: TargetValues, ca: bytes | None) -> EndpointResult:
    headers = {"Content-Type": "application/json", **({"Authorization": values.header} if values.header else {})}
    verify = target.verify_remote_certificate is not False
    try:
        status = await send(values.address, content=b"{}", headers=headers, verify=verify, ca=ca)
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
