"""The global switch over a thousand policies: its cost for Harbor and Kubernetes, with a robot and an administrator."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.processes import peak_rss
from harness.control_plane import ControlPlane
from harness.crd_fixtures import install_crds
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.operator_process import OperatorProcess
from harness.own import EVERYTHING, make_robot, standing, use_robot
from harness.world import Object, World, condition, eventually, http_target, ready_condition

PROJECTS, PER_PROJECT = 10, 100
POLICIES = PROJECTS * PER_PROJECT
PATIENCE = 180.0
MOST_MEMORY = 180.0
"""MB at the peak. It was 118 when this was written; unbounded connections or tasks take several hundred."""


@pytest.fixture
def crowded(tmp_path: Path, stand_in: StandIn) -> Iterator[World]:
    """A thousand policies over a robot's connection, and an operator with default intervals of drift checks and polls:
    hardly any run during a test."""
    with ControlPlane.start() as cluster:
        install_crds(cluster)
        cluster.create_namespace("crowd")
        with OperatorProcess.start(cluster, tmp_path, log_level="DEBUG") as operator:
            harbor = HarborUnderTest(stand_in.url, *stand_in.admin, "2.16", False, stand_in, None)
            world = World(cluster, harbor, operator, "crowd")
            world.connect("default", limits={"maxConcurrentRequests": 32, "requestsPerSecond": 1000})
            world.ready("ClusterHarborConnection", "default")
            use_robot(world, *make_robot(world, *EVERYTHING))
            declare(world)
            yield world
            world.api.close()


def declare(world: World) -> None:
    names = [world.project_name(f"team{number}") for number in range(PROJECTS)]
    world.apply_all([{"kind": "HarborProject", "metadata": {"name": name}, "spec": {}} for name in names])
    for name in names:
        world.apply_all([policy(name, number) for number in range(PER_PROJECT)])
    until_all(world, lambda found: ready_condition(found).get("status") == "True", "Ready")
    until_all(world, lambda found: condition(found, "Delivering").get("reason") == "NeverTriggered", "NeverTriggered")


def policy(project: str, number: int) -> Object:
    spec = {"projectRef": {"name": project}, "eventTypes": ["PUSH_ARTIFACT"], "targets": [http_target()]}
    return {"kind": "WebhookPolicy", "metadata": {"name": f"{project}-{number}"}, "spec": spec}


def until_all(world: World, wanted: Callable[[Object], bool], what: str) -> None:
    def missing() -> int:
        time.sleep(1)  # a list of a thousand objects costs the API server something
        return sum(not wanted(found) for found in world.all("WebhookPolicy"))

    eventually(lambda: missing() == 0, lambda: f"{missing()} policies are not {what}", PATIENCE)


def switch(world: World, value: str) -> None:
    world.config_map("harborhook-global", "harborhook", enabled=value)
    enabled = value == "true"
    until_all(world, lambda found: found["status"].get("enabled") is enabled, f"enabled {value}")


def status_writes(kubernetes: list[str]) -> list[str]:
    return [write for write in kubernetes if write.startswith("patch webhookpolicies/status")]


def test_switching_a_thousand_policies_costs_one_put_and_one_status_each_and_an_administrator_one_put_in_all(
    crowded: World,
) -> None:
    before = {found["metadata"]["name"]: found["spec"] for found in crowded.all("WebhookPolicy")}
    for value in ("false", "true"):
        with crowded.counting() as writes:
            switch(crowded, value)
        assert len(writes.harbor) <= POLICIES
        assert len(status_writes(writes.kubernetes)) <= POLICIES
    use_robot(crowded, crowded.harbor.username, crowded.harbor.password, kind="SystemAdmin")
    start = len(standing(crowded).requests())
    with crowded.counting() as writes:
        switch(crowded, "false")
    puts = [f"{one.method} {one.path}" for one in standing(crowded).requests()[start:] if one.writes]
    assert puts == ["PUT /api/v2.0/configurations"]
    assert len(status_writes(writes.kubernetes)) <= POLICIES
    assert {found["metadata"]["name"]: found["spec"] for found in crowded.all("WebhookPolicy")} == before
    if sys.platform == "linux":
        assert peak_rss(crowded.operator.pid) < MOST_MEMORY
