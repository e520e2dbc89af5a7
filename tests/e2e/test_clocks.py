"""The operator's clock is wrong, or changes while it runs: no output and no action depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from e2e.conftest import QUICK
from harborhook.harbor.models import parse_time
from harness.control_plane import ControlPlane
from harness.operator_process import OperatorProcess
from harness.own import standing
from harness.receiver import Receiver
from harness.world import World, condition, eventually, http_target, ready_condition

HOUR, DAY = 3600, 24 * 3600
SKEWS = pytest.mark.parametrize("off_by", [-HOUR, DAY], ids=["an hour behind", "a day ahead"])
SOON = 60.0
"""Seconds; an hour or a day would be far more."""


@pytest.fixture(scope="module")
def own_operator(own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    directory = tmp_path_factory.mktemp("operator")
    with OperatorProcess(own_cluster, directory, dict(QUICK), clock_steps=True) as running:
        running.restart()
        yield running
        print(running.log.read_text()[-6000:])


@pytest.fixture
def world(own_world: World) -> Iterator[World]:
    yield own_world
    own_world.operator.set_clock(0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@SKEWS
def test_times_in_the_status_are_the_clusters(world: World, off_by: int) -> None:
    world.operator.set_clock(off_by)
    project = world.project_name()
    world.project(project)

    found = world.ready("HarborProject", project)

    transition = parse_time(ready_condition(found)["lastTransitionTime"])
    assert transition is not None
    assert abs(transition - datetime.now(UTC)) < timedelta(minutes=1)


@SKEWS
def test_notifications_are_stuck_when_harbors_clock_says_so(world: World, receiver: Receiver, off_by: int) -> None:
    project = world.project_name()
    world.project(project)
    world.policy("ci", project, targets=[http_target(f"{receiver.url}/ok")])
    world.ready("WebhookPolicy", "ci")
    standing(world).settings(jobservice="stopped")
    world.operator.set_clock(off_by)

    standing(world).happen("PUSH_ARTIFACT", project)

    found = world.until("WebhookPolicy", "ci", lambda found: "deliveries" in found["status"])
    assert condition(found, "Delivering")["reason"] == "NeverTriggered", "it is not stuck yet"
    eventually(
        lambda: condition(world.get("WebhookPolicy", "ci"), "Delivering")["reason"] == "DeliveriesStuck",
        lambda: "it is never found to be stuck",
        SOON,
    )
    standing(world).settings(jobservice="running")


@SKEWS
def test_a_project_waits_no_longer_for_its_policies_than_the_clusters_clock_says(world: World, off_by: int) -> None:
    world.operator.set_clock(off_by)
    project = world.project_name()
    world.project(project)
    world.policy("stays", project)
    world.ready("WebhookPolicy", "stays")

    world.delete("HarborProject", project, wait=False)

    eventually(lambda: not world.exists("HarborProject", project), lambda: "the project does not go", SOON)


@SKEWS
def test_a_login_survives_a_step_of_the_clock(world: World, off_by: int) -> None:
    project = world.project_name()
    world.project(project, public=True)
    world.ready("HarborProject", project)
    requests = len(standing(world).requests())

    world.operator.set_clock(off_by)
    world.project(project, public=False)
    world.ready("HarborProject", project)
    world.operator.set_clock(0)
    world.project(project, public=True)
    world.ready("HarborProject", project)

    assert not [one for one in standing(world).requests()[requests:] if one.path == "/c/login"]
