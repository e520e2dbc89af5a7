"""A poll whose answer says nothing new is not judged again, unless something else that it considers has changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from harborhook.api.base import DeliveriesKey
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.errors import ForbiddenError, RefusedError
from harborhook.harbor.executions import Execution, Task
from harborhook.harbor.models import LastTrigger
from harborhook.reconcile import changes, deliveries, worker
from harborhook.reconcile.redelivery import redeliveries_of
from harborhook.runtime.queue import Cause
from harness.policy_stage import CONNECTION, POLICY, PROJECT, Harbor, Stage

POLLED = DeliveriesKey(CONNECTION, "team-a")
TRIGGERED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class PolledHarbor(Harbor):
    """Also has last-trigger times, and can refuse to show notifications."""

    def __init__(self) -> None:
        super().__init__()
        self.time: datetime | None = None
        self.status = "Success"
        self.refusal: Exception | None = None

    def now(self) -> datetime:
        return TRIGGERED

    async def last_triggers(self, project: str) -> list[LastTrigger]:
        if isinstance(self.refusal, ForbiddenError):
            raise self.refusal
        return [LastTrigger("ci", "PUSH_ARTIFACT", self.time)]

    async def executions(self, *_: Any, **__: Any) -> tuple[list[Execution], int]:
        if self.refusal is not None:
            raise self.refusal
        self.requests.append("executions")
        return [Execution(1, "WEBHOOK", "PUSH_ARTIFACT", "a push", self.status, TRIGGERED, TRIGGERED)], 1

    async def tasks(self, *_: Any) -> list[Task]:
        return []

    async def undelivered_executions(self, *_: Any) -> list[Execution]:
        return []


class PolledStage(Stage):
    harbor: PolledHarbor

    def _new_harbor(self) -> PolledHarbor:
        return PolledHarbor()

    async def poll(self) -> bool:
        """Polls once; returns whether the policies were loaded to judge the answer."""
        self.context.models._kept.clear()
        await deliveries.poll(self.context, POLLED)
        return POLICY in self.context.models._kept

    def has_news(self) -> bool:
        waiting = self.context.queue._waiting.get(POLICY)
        return waiting is not None and waiting.news is not None

    async def take_news(self) -> None:
        self.context.queue.drop(POLICY)
        assert await worker._attempt(self.context, POLICY, Cause.DELIVERIES) == "done"


@pytest.fixture
async def stage() -> PolledStage:
    """A policy whose status is up to date, polled until nothing is left to do."""
    found = PolledStage()
    await found.visit(Cause.CHANGE)
    found.context.queue.drop(POLICY)
    assert await found.poll()
    assert not found.has_news()
    assert not await found.poll()
    return found


def edit_status(stage: PolledStage) -> None:
    body = stage.stored(POLICY)
    metadata = {**body["metadata"], "resourceVersion": str(int(body["metadata"]["resourceVersion"]) + 1)}
    changes.saw(stage.context, POLICY, {**body, "metadata": metadata, "status": {**body["status"], "conditions": []}})


def trigger(stage: PolledStage) -> None:
    stage.harbor.time = TRIGGERED


def switch_harbor_off(stage: PolledStage) -> None:
    stage.link.notifications_enabled = False


def switch_policies_off(stage: PolledStage) -> None:
    stage.link.policies_off = True


def switch_project_off(stage: PolledStage) -> None:
    stage.change(PROJECT, webhooks={"enabled": False})


@pytest.mark.parametrize("change", [edit_status, trigger, switch_harbor_off, switch_policies_off, switch_project_off])
async def test_a_change_is_news_though_the_polls_before_had_none(
    stage: PolledStage, change: Callable[[PolledStage], None]
) -> None:
    change(stage)
    assert await stage.poll()
    assert stage.has_news()

    await stage.take_news()
    await stage.poll()

    assert not stage.has_news()
    assert not await stage.poll()


async def test_news_that_was_not_written_yet_is_judged_again(stage: PolledStage) -> None:
    trigger(stage)
    await stage.poll()
    stage.context.queue.drop(POLICY)

    assert await stage.poll()
    assert stage.has_news()


async def test_an_open_notification_is_followed(stage: PolledStage) -> None:
    trigger(stage)
    stage.harbor.status = "Running"
    for _ in range(2):
        await stage.poll()
        await stage.take_news()
    stage.harbor.requests.clear()

    assert await stage.poll()
    assert stage.harbor.requests == ["executions"]


@pytest.mark.parametrize(
    "refusal",
    [RefusedError(500, "", "", request="GET executions"), ForbiddenError(403, "", "", request="GET lasttrigger")],
)
async def test_notifications_that_could_not_be_read_are_tried_again(stage: PolledStage, refusal: Exception) -> None:
    trigger(stage)
    stage.harbor.refusal = refusal
    for _ in range(3):
        await stage.poll()
        await stage.take_news()
    stage.harbor.refusal = None
    stage.harbor.requests.clear()

    assert await stage.poll()
    assert stage.harbor.requests == ["executions"]


async def test_a_policy_whose_notifications_may_be_sent_again_is_judged_by_each_poll(stage: PolledStage) -> None:
    policy = stage.context.load(POLICY)
    assert isinstance(policy, WebhookPolicy)
    redeliveries_of(stage.link, policy)
    stage.change(PROJECT, public=True)

    assert await stage.poll()
    assert await stage.poll()


async def test_a_project_that_is_polled_no_more_leaves_nothing_behind(stage: PolledStage) -> None:
    changes.forget(stage.context, POLICY)

    assert await deliveries.poll(stage.context, POLLED) is None
    assert not stage.link.mailbox.uneventful
