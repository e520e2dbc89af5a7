"""Related objects are deleted in any order, with any of them lost in between.

These tests have a separate cluster, Harbor and operator, which is killed and may not watch Secrets.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.conftest import QUICK
from harness.control_plane import ControlPlane
from harness.operator_process import OperatorProcess
from harness.own import standing
from harness.world import World, eventually, header_from, http_target, ready_condition

PARTS = ("WebhookPolicy", "HarborProject", "HarborConnection", "Secret")
ORDERS = list(itertools.permutations(PARTS))
POLICIES = ("ci", "chat")


@pytest.fixture(scope="module")
def own_operator(own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    directory = tmp_path_factory.mktemp("operator")
    with OperatorProcess(own_cluster, directory, {**QUICK, "watch_secrets": False, "release_after": 3}) as running:
        running.restart()
        yield running


@dataclass
class Team:
    """A namespace with its own connection, its Secret, a project and two policies with headers."""

    world: World
    project: str

    def declare(self) -> None:
        world, harbor = self.world, self.world.harbor
        world.secret("login", username=harbor.username, password=harbor.password)
        world.secret("headers", header="Bearer x")
        spec = {"url": harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "login"}}
        world.apply({"kind": "HarborConnection", "metadata": {"name": "ours"}, "spec": spec})
        ref = {"kind": "HarborConnection", "name": "ours"}
        world.apply(
            {
                "kind": "HarborProject",
                "metadata": {"name": self.project},
                "spec": {"deletionPolicy": "Delete", "connectionRef": ref},
            }
        )
        for name in POLICIES:
            world.policy(name, self.project, targets=[http_target(authHeaderFrom=header_from("headers"))])

    def ready(self) -> None:
        for name in POLICIES:
            self.world.ready("WebhookPolicy", name)

    def delete(self, part: str) -> None:
        if part == "Namespace":
            self.world.control_plane.delete_namespace(self.world.namespace)
        elif part == "Secret":
            for name in ("login", "headers"):
                self.world.delete("Secret", name, wait=False)
        else:
            for name in {"WebhookPolicy": POLICIES, "HarborProject": (self.project,)}.get(part, ("ours",)):
                self.world.delete(part, name, wait=False)

    def rest(self) -> list[str]:
        """Returns the remaining objects in the cluster and in Harbor."""
        kinds = ("WebhookPolicy", "HarborProject", "HarborConnection")
        left = [f"{kind} {one['metadata']['name']}: {reason(one)}" for kind in kinds for one in self.world.all(kind)]
        return left + ([f"Harbor's {self.project}"] if self.world.harbor_project(self.project) else [])


def reason(found: dict[str, Any]) -> str:
    return f"{found['metadata'].get('deletionTimestamp', 'not deleted')} {ready_condition(found).get('message')}"


def exists(world: World, namespace: str) -> bool:
    return world.control_plane.admin.exists(f"/api/v1/namespaces/{namespace}")


def teams(own_world: World) -> Iterator[Team]:
    for number in range(len(ORDERS)):
        name = f"{own_world.namespace}-{number}"
        own_world.control_plane.create_namespace(name)
        team = Team(own_world.elsewhere(name), own_world.project_name(f"team{number}"))
        team.declare()
        yield team


@pytest.mark.parametrize("pause", [0.0, 1.5])
def test_everything_goes_in_every_order_and_with_its_namespace_at_any_time(own_world: World, pause: float) -> None:
    """The namespace is deleted after none, some or all of the objects were deleted one by one."""
    made = list(teams(own_world))
    for team in made:
        team.ready()
    steps = [[*order[: number % 5], "Namespace"] for number, order in enumerate(ORDERS)]
    for number in range(max(map(len, steps))):
        for team, parts in zip(made, steps, strict=True):
            if number < len(parts):
                team.delete(parts[number])
        time.sleep(pause)
    eventually(lambda: not any(team.rest() for team in made), lambda: f"{[team.rest() for team in made]}", 120)


@pytest.mark.parametrize("pause", [0.0, 1.5])
def test_everything_goes_in_every_order_from_a_namespace_that_stays(own_world: World, pause: float) -> None:
    made = list(teams(own_world))
    for team in made:
        team.ready()
    for number in range(len(PARTS)):
        for team, parts in zip(made, ORDERS, strict=True):
            team.delete(parts[number])
        time.sleep(pause)
    eventually(lambda: not any(team.rest() for team in made), lambda: f"{[team.rest() for team in made]}", 120)
    for team in made:
        own_world.control_plane.delete_namespace(team.world.namespace)


def test_without_credentials_a_terminating_namespace_is_let_go_and_the_connection_tells_what_stays(
    own_world: World,
) -> None:
    """The operator was restarted after the deletion of the Secret: the password is lost."""
    name = f"{own_world.namespace}-lost"
    own_world.control_plane.create_namespace(name)
    team = Team(own_world.elsewhere(name), own_world.project_name("lost"))
    team.declare()
    team.ready()
    kept = team.world.get("WebhookPolicy", "ci")["status"]["policyID"]
    released = "harborhook_released_total"
    own_world.operator.kill()
    team.delete("Secret")
    own_world.operator.restart()
    for part in ("WebhookPolicy", "HarborProject"):
        team.delete(part)
    team.world.reason("WebhookPolicy", "ci", "ConnectionNotReady")
    time.sleep(4)
    assert team.world.exists("WebhookPolicy", "ci"), "only in a namespace that goes is it hopeless"
    team.delete("Namespace")
    eventually(lambda: not exists(own_world, name), lambda: f"{team.rest()}", 90)
    assert own_world.harbor_policy(team.project, "ci")["id"] == kept
    metrics = own_world.operator.metrics()
    assert metrics[f'{released}{{kind="WebhookPolicy"}}'] == 2
    assert metrics[f'{released}{{kind="HarborProject"}}'] == 1
    assert f"Webhook policy 'ci' of project {team.project} stays in Harbor" in own_world.operator.log.read_text()


def test_a_cluster_connection_whose_secret_is_lost_has_events_that_name_what_stays(own_world: World) -> None:
    name = f"{own_world.namespace}-lost"
    own_world.control_plane.create_namespace(name)
    world = own_world.elsewhere(name)
    project = own_world.project_name("lost")
    world.project(project)
    world.policy("ci", project)
    world.ready("WebhookPolicy", "ci")
    own_world.operator.kill()
    own_world.control_plane.admin.request(
        "DELETE", f"/api/v1/namespaces/harborhook/secrets/{own_world.connection}-credentials"
    )
    own_world.operator.restart()
    own_world.control_plane.delete_namespace(name)
    eventually(lambda: not exists(own_world, name), lambda: f"{name} stays", 90)
    told = own_world.elsewhere("default").events(own_world.connection)
    notes = [event["note"] for event in told if event["reason"] == "Released"]
    assert any(note.startswith(f"Webhook policy 'ci' of project {project} stays in Harbor") for note in notes)
    assert any(note.startswith(f"Project {project} stays in Harbor") for note in notes)


def test_without_watching_secrets_a_rotation_is_noticed_at_the_next_look(own_world: World) -> None:
    own_world.secret("headers", header="Bearer one", url="https://ci.example.com/one")
    project = own_world.project_name()
    own_world.project(project)
    source = {"addressFrom": header_from("headers", "url"), "authHeaderFrom": header_from("headers")}
    own_world.policy("ci", project, targets=[{"type": "http", **source}])
    own_world.ready("WebhookPolicy", "ci")
    own_world.secret("headers", header="Bearer two", url="https://ci.example.com/two")

    def target() -> dict[str, Any]:
        return dict(own_world.harbor_policy(project, "ci")["targets"][0])

    eventually(lambda: target()["auth_header"] == "Bearer two", lambda: "the rotation was not noticed")
    assert target()["address"] == "https://ci.example.com/two"


def test_a_policy_with_open_notifications_is_disabled_at_once_and_tells_their_number(own_world: World) -> None:
    project = own_world.project_name()
    own_world.project(project)
    own_world.policy("ci", project)
    own_world.ready("WebhookPolicy", "ci")
    standing(own_world).settings(jobservice="stopped")
    for tag in ("v1", "v2"):
        standing(own_world).happen("PUSH_ARTIFACT", project, tag=tag)
    own_world.delete("WebhookPolicy", "ci", wait=False)
    found = own_world.reason("WebhookPolicy", "ci", "DeliveriesPending")
    assert "executions that aren't in final status" in ready_condition(found)["message"], "Harbor's own words"
    assert "). 2 notifications are still in progress. " in ready_condition(found)["message"]
    assert not own_world.harbor_policy(project, "ci").get("enabled")
    # A notification that met a stopped job service never settles, so only a user can resolve this.
    own_world.annotate("WebhookPolicy", "ci", release="true")
    own_world.gone("WebhookPolicy", "ci")
    assert len(own_world.harbor_policies(project)) == 1
    standing(own_world).settings(jobservice="running")


def test_a_policy_that_is_gone_already_is_let_go(own_world: World) -> None:
    project = own_world.project_name()
    own_world.project(project)
    own_world.policy("ci", project)
    policy = own_world.ready("WebhookPolicy", "ci")["status"]["policyID"]
    own_world.policy("ci", project, suspend=True)
    own_world.api.delete(f"/projects/{project}/webhook/policies/{policy}").raise_for_status()
    own_world.delete("WebhookPolicy", "ci")
    assert own_world.harbor_policies(project) == []
