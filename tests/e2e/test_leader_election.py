"""Two replicas, one Lease: one works, the other takes over, and two never write at the same time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import QUICK
from harness.api_proxy import ApiProxy
from harness.control_plane import ControlPlane
from harness.harbor.process import RequestRecord
from harness.operator_process import OperatorProcess
from harness.world import OPERATOR_USER, World, eventually

LEASE = "/apis/coordination.k8s.io/v1/namespaces/harborhook/leases"
ELECTION: dict[str, Any] = {
    **QUICK,
    "leader_election": True,
    "lease_duration": 10,
    "renew_deadline": 7,
    "retry_period": 1,
}
IN_HAND = 8
"""Requests to the API server that may have begun when the process was stopped, and that complete when it continues: a
fence cannot stop those. Without any fence there would be hundreds."""
FOR_EVER: dict[str, Any] = {"lease_duration": 3600}
"""A lease that has to be released to be taken."""


@pytest.fixture
def own_operator() -> None:
    """The tests start operators themselves."""


@pytest.fixture
def world(own_world: World) -> World:
    return own_world


@contextmanager
def replica(
    own_cluster: ControlPlane, directory: Path, api_server: str | None = None, **settings: Any
) -> Iterator[OperatorProcess]:
    """Returns a ready operator: it leads, or it waits."""
    directory.mkdir()
    with OperatorProcess(own_cluster, directory, {**ELECTION, **settings}, api_server) as running:
        running.restart()
        yield running
        print(running.log.read_text()[-6000:])


def leads(operator: OperatorProcess) -> bool:
    return operator.metrics()["harborhook_leader"] == 1


def holder(world: World) -> str:
    lease = world.control_plane.admin.request("GET", f"{LEASE}/harborhook")
    return str(lease["spec"].get("holderIdentity", ""))


def harbor_writes(world: World, since: int = 0) -> list[RequestRecord]:
    """Returns write requests of operators to Harbor, in the order of arrival."""
    assert world.harbor.stand_in is not None
    requests = world.harbor.stand_in.requests()
    ours = [r for r in requests if r.writes and r.agent.startswith("harborhook/") and r.path.startswith("/api/")]
    return sorted((request for request in ours if request.id >= since), key=lambda request: request.id)


def make(world: World) -> str:
    """Has a project made by the leader."""
    project = world.project_name(f"team{time.monotonic_ns() % 10**9}")
    world.project(project)
    world.ready("HarborProject", project)
    return project


def test_one_works_and_hands_over_at_once_when_it_is_told_to_end(world: World, tmp_path: Path) -> None:
    with (
        replica(world.control_plane, tmp_path / "a", **FOR_EVER) as first,
        replica(world.control_plane, tmp_path / "b", **FOR_EVER) as second,
    ):
        make(world)
        old = holder(world)
        assert (leads(first), leads(second)) == (True, False)
        assert all(old in request.agent for request in harbor_writes(world))

        code = first.end(signal.SIGTERM)

        assert code == 0
        project = make(world)
        assert leads(second)
        assert old not in holder(world)
        assert old not in harbor_writes(world)[-1].agent
        assert world.harbor_project(project) is not None


def test_a_leader_that_dies_is_replaced_when_its_lease_is_over(world: World, tmp_path: Path) -> None:
    with (
        replica(world.control_plane, tmp_path / "a") as first,
        replica(world.control_plane, tmp_path / "b") as second,
    ):
        make(world)

        first.kill()

        make(world)
        assert leads(second)


def test_a_follower_ends_at_once_and_does_not_touch_the_lease(world: World, tmp_path: Path) -> None:
    with replica(world.control_plane, tmp_path / "a") as first:
        make(world)
        old = holder(world)
        with replica(world.control_plane, tmp_path / "b") as second:
            assert second.end(signal.SIGTERM) == 0
        assert holder(world) == old
        assert leads(first)


def test_a_leader_that_was_paused_writes_nothing_when_it_goes_on(world: World, tmp_path: Path) -> None:
    assert world.harbor.stand_in is not None
    with (
        replica(world.control_plane, tmp_path / "a") as first,
        replica(world.control_plane, tmp_path / "b") as second,
    ):
        make(world)
        old = holder(world)
        names = [world.project_name(f"team{number}") for number in range(60)]
        world.harbor.stand_in.set_fault({"method": "POST", "path": "/projects$"}, delay=1)
        world.apply_all([declared(name, world.connection) for name in names])
        # In the middle of it: some projects are created, others are in progress.
        eventually(lambda: made(world, names) > 3, lambda: "no project is made")
        first.send(signal.SIGSTOP)
        world.harbor.stand_in.clear_faults()
        eventually(lambda: leads(second), lambda: "nobody takes over")
        for name in names:
            world.ready("HarborProject", name)
        requests = len(world.harbor.stand_in.requests())
        position = world.control_plane.audit_position()

        code = first.end(signal.SIGCONT)

        assert code == 1
        later = [request for request in world.harbor.stand_in.requests()[requests:] if request.writes]
        assert [request for request in later if old in request.agent] == []
        entries = [one for one in world.control_plane.writes(OPERATOR_USER, since=position) if old in one.agent]
        assert len(entries) <= IN_HAND, entries
        assert leads(second)


def declared(name: str, connection: str) -> dict[str, Any]:
    spec = {"connectionRef": {"name": connection}}
    return {"kind": "HarborProject", "metadata": {"name": name}, "spec": spec}


def made(world: World, names: list[str]) -> int:
    found = {item["metadata"]["name"] for item in world.all("HarborProject") if "projectID" in item.get("status", {})}
    return len(found & set(names))


def test_a_leader_that_is_cut_off_stops_before_the_next_one_begins(world: World, tmp_path: Path) -> None:
    with (
        ApiProxy(world.control_plane) as proxy,
        replica(world.control_plane, tmp_path / "a", proxy.url) as first,
        replica(world.control_plane, tmp_path / "b") as second,
    ):
        project = make(world)
        world.project(project, public=False)
        old = holder(world)
        start = max(request.id for request in harbor_writes(world))
        with drifting(world, project):  # so that there is something to write all the time
            eventually(lambda: writers(world, start) == [old], lambda: "drift is not corrected")
            proxy.hang()
            assert first.wait() == 1
            eventually(lambda: len(writers(world, start)) > 1, lambda: "nobody takes over")
            time.sleep(2)
        assert leads(second)
        assert writers(world, start) == [old, holder(world)]


def writers(world: World, since: int) -> list[str]:
    """Returns the writers to Harbor in turn: one that stops and begins again occurs twice."""
    agents = [request.agent.partition("(")[2].rstrip(")") for request in harbor_writes(world, since)]
    return [agent for number, agent in enumerate(agents) if number == 0 or agents[number - 1] != agent]


@contextmanager
def drifting(world: World, project: str) -> Iterator[None]:
    """Makes the project public again and again, as another client."""
    enough = threading.Event()

    def change() -> None:
        while not enough.wait(0.3):
            world.change_project(project, public="true")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
