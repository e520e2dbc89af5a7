"""Waking the resources of a connection: a few at once, very many one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.base import Key
from harborhook.reconcile import changes
from harborhook.reconcile.context import Context
from harborhook.runtime.queue import Cause
from harness.alone import Clock, bare_context

CONNECTION = Key("ClusterHarborConnection", "", "default")
PROJECTS, POLICIES = 100, 3
EVERYBODY = PROJECTS * (1 + POLICIES)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context(clock: Clock) -> Context:
    found = bare_context(clock)
    for number in range(PROJECTS):
        name = f"team-{number}"
        found.store.upsert(Key("HarborProject", "test", name), body("HarborProject", name, {}))
        for policy in range(POLICIES):
            spec = {"projectRef": {"name": name}, "targets": []}
            key = Key("WebhookPolicy", "test", f"{name}-{policy}")
            found.store.upsert(key, body(key.kind, key.name, spec))
    return found


def body(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "test", "uid": f"{kind}/{name}", "generation": 1, "resourceVersion": "1"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def test_everybody_hears_at_once_that_a_connection_works(context: Context) -> None:
    changes.wake_deeply(context, CONNECTION, Cause.CONNECTION)

    assert len(context.queue) == EVERYBODY


def test_of_a_loss_very_many_hear_one_after_the_other(context: Context, clock: Clock) -> None:
    changes.wake_deeply(context, CONNECTION, Cause.CONNECTION, per_second=40)

    heard = []
    for second in range(1, 11):
        clock.now = second - 0.01
        heard.append(len(context.queue))
    assert heard == [40 * second for second in range(1, 11)]
    assert heard[-1] == EVERYBODY


def test_a_resource_that_has_not_noticed_a_loss_does_not_wait_for_it_afterwards(context: Context, clock: Clock) -> None:
    changes.wake_deeply(context, CONNECTION, Cause.CONNECTION, per_second=40)
    clock.now = 2.0

    changes.wake_deeply(context, CONNECTION, Cause.CONNECTION)

    assert len(context.queue) == EVERYBODY
