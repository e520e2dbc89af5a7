"""Endpoint tests: one per request, whenever its results are written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from harborhook.api.base import ANNOTATION_TEST_ENDPOINT, SenderKey
from harborhook.reconcile import endpoint_test, webhook_policy
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause
from harness.policy_stage import CONNECTION, POLICY, Stage


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that tests were sent to."""
    found: list[str] = []

    async def send(address: str, **_: Any) -> int:
        found.append(address)
        return 200

    monkeypatch.setattr(endpoint_test, "send", send)
    return found


async def staged() -> Stage:
    stage = Stage()
    await stage.visit(Cause.CHANGE)
    stage.change(CONNECTION, allowEndpointTests=True)
    stage.link.connection = stage.link.connection.model_validate(stage.stored(CONNECTION))
    return stage


def ask(stage: Stage, request: str) -> None:
    body = copy.deepcopy(stage.stored(POLICY))
    version = str(int(body["metadata"]["resourceVersion"]) + 1)
    body["metadata"] |= {"annotations": {ANNOTATION_TEST_ENDPOINT: request}, "resourceVersion": version}
    stage.context.store.upsert(POLICY, body)


async def take_news(stage: Stage) -> None:
    resource = stage.context.load(POLICY)
    assert resource is not None
    visit: Visit[Any] = Visit(stage.context, resource, Cause.DELIVERIES, status=resource.status)
    await webhook_policy.take_news(visit)
    await visit.write_status()


async def test_a_test_that_ends_during_a_visit_is_not_made_again(sent: list[str]) -> None:
    """The visit has looked for results at its beginning, and asks for a test at its end."""
    stage = await staged()
    ask(stage, "first")
    await endpoint_test.run(stage.context, POLICY)

    webhook_policy._let_send(stage.context, POLICY)
    assert stage.context.sending.waits(SenderKey("EndpointTest", POLICY))
    await endpoint_test.run(stage.context, POLICY)

    assert len(sent) == 1
    await take_news(stage)
    assert stage.stored(POLICY)["status"]["endpointTest"]["request"] == "first"
    await endpoint_test.run(stage.context, POLICY)
    assert len(sent) == 1


async def test_another_request_is_another_test_though_the_first_is_not_written_yet(sent: list[str]) -> None:
    stage = await staged()
    for request in ("first", "second"):
        ask(stage, request)
        await endpoint_test.run(stage.context, POLICY)

    assert len(sent) == 2
    await take_news(stage)
    assert stage.stored(POLICY)["status"]["endpointTest"]["request"] == "second"
