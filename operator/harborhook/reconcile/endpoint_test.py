"""Testing the targets of a policy without an event: the button of Harbor's UI, which its API has lost.

The operator sends an empty JSON object to each target, from where it runs itself. Only a cluster's administrator can
allow that, since other hosts may be within reach than from Harbor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from harborhook.api.connections import AnyConnection, ClusterHarborConnection
from harborhook.api.webhook_policy import EndpointResult, EndpointTest, Target, WebhookPolicy
from harborhook.harbor.errors import clip
from harborhook.plan.target_values import TargetValues, without_values
from harborhook.reconcile.visit import Visit

TIMEOUT = 10.0
"""Seconds for one target; all are asked at the same time."""
MESSAGE_LIMIT = 200

NOT_ALLOWED = "Not tested: an administrator has to allow it by allowEndpointTests in the ClusterHarborConnection."


async def answer(visit: Visit[WebhookPolicy], connection: AnyConnection, values: Sequence[TargetValues]) -> None:
    """Tests the targets if somebody has asked for it since the last test, and records how they answered."""
    policy, request = visit.resource, visit.resource.test_request
    last = policy.status.endpoint_test
    if request is None or (last is not None and last.request == request):
        return
    if isinstance(connection, ClusterHarborConnection) and connection.spec.allow_endpoint_tests:
        tests = (_test(index, *pair) for index, pair in enumerate(zip(policy.spec.targets, values, strict=True)))
        results = list(await asyncio.gather(*tests))
    else:
        results = [_unreachable(index, NOT_ALLOWED) for index in range(len(values))]
    visit.record(endpoint_test=EndpointTest(request=request, time=visit.context.now(), results=results))


async def _test(index: int, target: Target, values: TargetValues) -> EndpointResult:
    """Follows no redirect: an answer must not choose whom the operator asks."""
    headers = {"Authorization": values.header} if values.header else {}
    verify = target.verify_remote_certificate is not False
    try:
        async with (
            asyncio.timeout(TIMEOUT),
            httpx.AsyncClient(verify=verify, follow_redirects=False, trust_env=False, timeout=TIMEOUT) as client,
            client.stream("POST", values.address, json={}, headers=headers) as answered,
        ):
            status = answered.status_code
    except TimeoutError:
        return _unreachable(index, f"There was no answer within {TIMEOUT:.0f} seconds.")
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, ValueError, OSError) as error:
        said = clip(without_values(str(error), [values]), MESSAGE_LIMIT) or type(error).__name__
        return _unreachable(index, f"It cannot be reached: {said}")
    return EndpointResult(target=index, reachable=True, http_status=status, message=_meaning(status))


def _meaning(status: int) -> str:
    if 200 <= status < 300:
        return "It takes notifications."
    if 300 <= status < 400:
        return "It redirects to another address, which the test does not follow; Harbor does."
    return "It refuses an empty notification. Some receivers do, and take real ones."


def _unreachable(index: int, message: str) -> EndpointResult:
    return EndpointResult(target=index, reachable=False, message=message)
