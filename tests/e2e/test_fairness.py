"""A slow Harbor and a busy namespace do not delay others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.world import World, eventually

BACKLOG = 200
SLOW = 20.0
"""Seconds that the slow Harbor takes to answer."""


def declare_many(world: World) -> list[str]:
    names = [world.project_name(f"p{number}") for number in range(BACKLOG)]
    manifests = [
        {
            "kind": "HarborProject",
            "metadata": {"name": name},
            "spec": {"deletionPolicy": "Delete", "connectionRef": {"name": world.connection}},
        }
        for name in names
    ]
    world.apply_all(manifests)
    return names


def waiting(world: World) -> float:
    """Returns due keys without a worker."""
    return world.operator.metrics()["harborhook_queue_depth"]


def answered(world: World) -> list[str]:
    """Returns Harbor's answers about projects."""
    return [one.path for one in standing(world).requests() if "/projects" in one.path]


@pytest.fixture
def tarpit(world: World, stand_in: StandIn) -> Iterator[World]:
    """A working connection with 200 projects, whose Harbor takes long to answer requests about them."""
    limits = {"maxConcurrentRequests": 8, "requestsPerSecond": 100}
    with own_harbor(world, stand_in, limits=limits) as found:
        standing(found).set_fault({"path": "/projects"}, delay=SLOW)
        standing(found).clear_requests()
        declare_many(found)
        eventually(lambda: waiting(found) > BACKLOG / 2, lambda: f"only {waiting(found)} wait for a worker")
        yield found
        standing(found).clear_faults()


def test_a_change_on_a_healthy_harbor_gets_through_while_another_one_is_slow(tarpit: World, world: World) -> None:
    project = world.project_name()

    world.project(project)
    world.policy("hook", project)

    world.ready("WebhookPolicy", "hook")
    world.project(project, public=True)
    world.until("HarborProject", project, lambda _: is_public(world, project), "the change does not reach Harbor")
    assert answered(tarpit) == []  # so its workers are still held
    assert waiting(tarpit) > BACKLOG / 2


def is_public(world: World, project: str) -> bool:
    return bool((world.harbor_project(project) or {}).get("metadata", {}).get("public") == "true")


def busy(world: World) -> float:
    """Returns the workers that hold a resource."""
    return world.operator.metrics()["harborhook_workers_busy"]


def test_resources_of_a_harbor_that_asks_for_patience_hold_few_workers(world: World, stand_in: StandIn) -> None:
    """With two concurrent requests: two that were refused, and a poll or a check. Without a limit of the visits, the
    connection's share of the workers waits for the end of the pause."""
    limits = {"maxConcurrentRequests": 2, "requestsPerSecond": 100}
    with own_harbor(world, stand_in, limits=limits) as throttled:
        standing(throttled).set_fault(
            {"path": "/projects"}, status=429, headers={"Retry-After": "20"}, body="slow down"
        )
        declare_many(throttled)
        eventually(lambda: waiting(world) > BACKLOG / 2, lambda: f"only {waiting(world)} wait for a worker")
        project = world.project_name()

        world.project(project)
        world.policy("hook", project)

        world.ready("WebhookPolicy", "hook")
        assert {one.status for one in standing(throttled).requests() if "/projects" in one.path} == {429}
        assert max(busy(world) for _ in range(20)) <= 5
        assert waiting(world) > BACKLOG / 2
        standing(throttled).clear_faults()
        throttled.connect(
            throttled.connection, limits=limits, suspend=True
        )  # so that the rest of the test does not wait


@pytest.fixture
def elsewhere(own: World) -> Iterator[World]:
    """Another namespace, with the same connection."""
    found: Any = own.elsewhere(f"{own.namespace}-quiet")
    own.control_plane.create_namespace(found.namespace)
    yield found
    for item in found.all("HarborProject"):
        found.delete("HarborProject", item["metadata"]["name"])
    own.control_plane.delete_namespace(found.namespace)


def test_a_namespace_with_one_change_goes_before_the_backlog_of_another(own: World, elsewhere: World) -> None:
    own.connect(own.connection, limits={"maxConcurrentRequests": 2, "requestsPerSecond": 3})
    own.ready("ClusterHarborConnection", own.connection)
    names = declare_many(own)
    eventually(lambda: waiting(own) > BACKLOG / 2, lambda: f"only {waiting(own)} wait for a worker")
    project = own.project_name("quiet")

    elsewhere.project(project)

    elsewhere.ready("HarborProject", project)
    finished = sum(own.harbor_project(name) is not None for name in names[: BACKLOG // 2])
    assert finished < BACKLOG / 2
