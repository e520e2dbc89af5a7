"""The times of polls: spread over the interval, and never more frequent."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import defaultdict
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harborhook.api.base import DeliveriesKey, Key
from harborhook.api.connections import ClusterHarborConnection
from harborhook.harbor.client import HarborClient
from harborhook.reconcile import deliveries
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link
from harborhook.runtime.queue import Cause
from harness.alone import Clock, bare_context

CONNECTION = Key("ClusterHarborConnection", "", "default")
PROJECTS = 300
MINUTE = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "random", random.Random(1))


@pytest.fixture
def context(clock: Clock) -> Context:
    found = bare_context(clock)
    found.links[CONNECTION] = link(clock)
    return found


def link(clock: Clock) -> Link:
    async def nothing(_: str) -> list[Any]:
        return []

    connection = {
        "kind": CONNECTION.kind,
        "metadata": {"name": CONNECTION.name},
        "spec": {
            "url": "https://harbor.example.com",
            "credentialsSecretRef": {"namespace": "x", "name": "y"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        },
    }
    client = cast(HarborClient, SimpleNamespace(last_triggers=nothing))
    return Link.over(ClusterHarborConnection.model_validate(connection), client, clock=clock)


def declare(context: Context, *, known: bool) -> None:
    """A policy in each project; `known` ones were created before the operator started."""
    for number in range(PROJECTS):
        name = f"team-{number}"
        recorded = {"kind": CONNECTION.kind, "name": CONNECTION.name, "url": "https://harbor.example.com"}
        body = {
            "kind": "WebhookPolicy",
            "metadata": {"name": name, "namespace": "test", "uid": name, "generation": 1, "resourceVersion": "1"},
            "spec": {
                "projectRef": {"name": name},
                "eventTypes": ["PUSH_ARTIFACT"],
                "targets": [{"type": "http", "address": "https://ci.example.com"}],
            },
            "status": {"connection": recorded, "projectName": name, **({"policyID": number} if known else {})},
        }
        context.store.upsert(Key("WebhookPolicy", "test", name), body)
        deliveries.begin(context, DeliveriesKey(CONNECTION, name))


async def run(context: Context, clock: Clock, seconds: float) -> dict[str, list[float]]:
    """When each project was read."""
    read: dict[str, list[float]] = defaultdict(list)
    while clock.now < seconds:
        while len(context.queue):
            key, _ = await context.queue.get()
            if isinstance(key, DeliveriesKey):
                read[key.project].append(clock.now)
                after = await deliveries.poll(context, key)
                assert after is not None
                context.queue.add(key, Cause.POLL, after=after)
            context.queue.done(key)
        clock.now += 0.25
    return read


def by_twelfths(read: dict[str, list[float]], start: float) -> list[int]:
    """How many projects were read in each five seconds of a minute."""
    bins = [0] * 12
    for times in read.values():
        for time in times:
            if start <= time < start + MINUTE:
                bins[int((time - start) // 5)] += 1
    return bins


@pytest.mark.parametrize(("known", "minute"), [(True, 0), (True, 2), (False, 1), (False, 3)])
def test_polls_do_not_go_in_step(context: Context, clock: Clock, known: bool, minute: int) -> None:
    declare(context, known=known)

    read = asyncio.run(run(context, clock, 5 * MINUTE))

    expected = PROJECTS / 12
    assert all(0.4 * expected < found < 1.8 * expected for found in by_twelfths(read, 3 + minute * MINUTE))


def test_what_was_just_made_is_read_within_seconds(context: Context, clock: Clock) -> None:
    declare(context, known=False)

    read = asyncio.run(run(context, clock, 4))

    assert len(read) == PROJECTS


@pytest.mark.parametrize("known", [True, False])
def test_in_a_rhythm_no_project_is_read_twice_within_a_minute(context: Context, clock: Clock, known: bool) -> None:
    declare(context, known=known)

    read = asyncio.run(run(context, clock, 6 * MINUTE))

    settled = MINUTE + 3
    for times in read.values():
        rhythm = [time for time in times if known or time > settled]
        pauses = [later - sooner for sooner, later in itertools.pairwise(rhythm)]
        assert len(pauses) >= 3
        assert all(MINUTE <= pause <= 1.1 * MINUTE + 1 for pause in pauses)
