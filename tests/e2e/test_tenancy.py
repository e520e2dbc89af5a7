"""One tenant attacks another by objects in its own namespace: connections, claims, annotations."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.control_plane import ControlPlane
from harness.harbor.process import StandIn
from harness.own import make_user, own_harbor
from harness.receiver import Receiver
from harness.world import World, http_target, ready_condition

Object = dict[str, Any]
OWN_CONNECTION = {"kind": "HarborConnection", "name": "own"}
POLICIES = 40


@pytest.fixture
def victim(world: World, stand_in: StandIn) -> Iterator[World]:
    """A tenant over a ClusterHarborConnection that allows it everything."""
    with own_harbor(world, stand_in) as found:
        yield found


@pytest.fixture
def attacker(victim: World, crds_installed: ControlPlane) -> Iterator[World]:
    """Another namespace, whose users have a Harbor user without any membership."""
    namespace = f"attacker-{victim._unique}"
    crds_installed.create_namespace(namespace)
    found = victim.elsewhere(namespace)
    name = f"outsider-{victim._unique}"
    make_user(victim, name, "Harbor12345")
    found.secret("own", username=name, password="Harbor12345")
    yield found
    for kind in ("WebhookPolicy", "HarborProject", "HarborConnection"):
        for item in found.all(kind):
            found.delete(kind, item["metadata"]["name"])


def connect(world: World, **spec: Any) -> None:
    stated = {"url": world.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "own"}, **spec}
    world.apply({"kind": "HarborConnection", "metadata": {"name": "own"}, "spec": stated})


def over_own_connection(world: World, name: str, **spec: Any) -> None:
    world.project(name, connectionRef=OWN_CONNECTION, deletionPolicy="Retain", **spec)


def test_who_may_only_look_at_a_public_project_cannot_adopt_it(victim: World, attacker: World) -> None:
    project = victim.project_name()
    victim.make_project(project, public="true")
    connect(attacker)
    attacker.ready("HarborConnection", "own")

    over_own_connection(attacker, "squatter", projectName=project, creationPolicy="Adopt")
    found = attacker.reason("HarborProject", "squatter", "Forbidden")
    assert "project:update" in ready_condition(found)["message"]
    assert "origin" not in found["status"]

    victim.policy("hook", projectName=project, connectionRef={"name": victim.connection})
    victim.ready("WebhookPolicy", "hook")


def test_what_a_team_owns_over_its_own_connection_gives_way_to_what_an_administrator_grants(
    victim: World, attacker: World
) -> None:
    project = victim.project_name()
    victim.make_project(project)
    attacker.secret("own", username=victim.harbor.username, password=victim.harbor.password)
    connect(attacker)
    over_own_connection(attacker, "first", projectName=project, creationPolicy="Adopt")
    attacker.ready("HarborProject", "first")

    victim.project(project, creationPolicy="Adopt", deletionPolicy="Retain")

    victim.ready("HarborProject", project)
    attacker.reason("HarborProject", "first", "OwnedByOther")


def test_a_policy_over_a_cluster_connection_works_in_a_project_that_a_team_manages_over_its_own(
    victim: World, attacker: World
) -> None:
    project = victim.project_name()
    victim.make_project(project)
    attacker.secret("own", username=victim.harbor.username, password=victim.harbor.password)
    connect(attacker)
    over_own_connection(attacker, "managed", projectName=project, creationPolicy="Adopt")
    attacker.ready("HarborProject", "managed")

    victim.policy("hook", projectName=project, connectionRef={"name": victim.connection})

    victim.ready("WebhookPolicy", "hook")


@pytest.mark.parametrize("field", ["url", "aliases"])
def test_a_team_names_no_address_that_the_cluster_does_not_know(victim: World, attacker: World, field: str) -> None:
    elsewhere = "http://127.0.0.1:9"  # another port of the Harbor's host
    connect(attacker, **{field: elsewhere if field == "url" else [elsewhere]})

    found = attacker.reason("HarborConnection", "own", "NotAllowedByConnection")
    assert elsewhere in ready_condition(found)["message"]


def test_a_resource_that_no_operator_works_on_keeps_nobody_from_the_name(victim: World, attacker: World) -> None:
    project = victim.project_name()
    attacker.connection = victim.connection
    attacker.apply(
        {
            "kind": "HarborProject",
            "metadata": {"name": "squatter", "annotations": {"harborhook.io/shard": "nobody"}},
            "spec": {"projectName": project, "connectionRef": {"name": victim.connection}},
        }
    )
    time.sleep(1.1)  # so that it is the older one

    victim.project(project)

    victim.ready("HarborProject", project)


def test_a_server_that_asks_for_patience_makes_only_its_own_connection_wait(victim: World, attacker: World) -> None:
    project = victim.project_name()
    victim.project(project, public=False)
    victim.ready("HarborProject", project)
    with StandIn.start() as fake:
        victim.connect("fake", url=fake.url, access=[{"namespaces": ["nobody"], "projects": ["nothing"]}])
        attacker.secret("own", username=fake.admin[0], password=fake.admin[1])
        connect(attacker, url=fake.url)
        attacker.ready("HarborConnection", "own")
        fake.set_fault({"path": "/projects"}, status=429, headers={"Retry-After": "600"}, body="slow down")
        over_own_connection(attacker, "trap")
        time.sleep(2)
        assert any(request.status == 429 for request in fake.requests())

        victim.project(project, public=True)
        victim.until("HarborProject", project, lambda found: found["status"]["observedGeneration"] == 2)

        assert sum(request.status == 429 for request in fake.requests()) == 1, "the pause has ended"
        assert (victim.harbor_project(project) or {})["metadata"]["public"] == "true"
        attacker.delete("HarborProject", "trap")
        attacker.delete("HarborConnection", "own")
        victim.delete("ClusterHarborConnection", "fake")


def test_receivers_that_never_answer_keep_nobody_elses_tests_and_changes_waiting(
    victim: World, attacker: World
) -> None:
    victim.connect(victim.connection, allowEndpointTests=True, allowedTargetHosts=["127.0.0.1"])
    attacker.connection = victim.connection
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent, Receiver() as receiver:
        trap, project = victim.project_name("trap"), victim.project_name()
        attacker.project(trap)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        names = [f"hook-{number}" for number in range(POLICIES)]
        for name in names:
            attacker.policy(name, trap, targets=[http_target(address)])
        victim.project(project)
        victim.policy("ci", project, targets=[http_target(f"{receiver.url}/ok")])
        victim.ready("WebhookPolicy", "ci")
        for name in names:
            attacker.ready("WebhookPolicy", name)
        for name in names:
            attacker.annotate("WebhookPolicy", name, test_endpoint="now")

        victim.annotate("WebhookPolicy", "ci", test_endpoint="now")
        victim.policy("ci", project, targets=[http_target(f"{receiver.url}/ok")], description="changed")
        victim.until("WebhookPolicy", "ci", lambda found: "endpointTest" in found["status"], "no answer")
        victim.ready("WebhookPolicy", "ci")

        tested = [policy for policy in attacker.all("WebhookPolicy") if "endpointTest" in policy["status"]]
        assert len(tested) < POLICIES, "the attacker's tests came first"
        assert victim.harbor_policy(project, "ci")["description"] == "changed"
