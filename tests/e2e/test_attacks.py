"""Attacks by a tenant and their effect on others: a flood of changes, a fight for a name, and terminal escapes from its
Harbor.

docs/security.md lists all attacks with their tests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness import console
from harness.control_plane import RefusedError
from harness.own import standing
from harness.world import World, condition, eventually, http_target, ready_condition

Object = dict[str, Any]
CHANGES = 200
LATENCY = 0.5
"""Seconds that Harbor takes for each request about the attacker's project."""
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\x9b31mgone\u202egnp.exe"
"""Clears the screen, renames the window, returns the carriage, changes the colour, and reverses the text direction."""


@pytest.fixture
def attacker(own: World) -> Iterator[World]:
    """Yields another tenant's namespace, over the same connection."""
    found = own.elsewhere(f"attacker-{own._unique}")
    own.control_plane.create_namespace(found.namespace)
    yield found
    for kind in ("WebhookPolicy", "HarborProject"):
        for item in found.all(kind):
            found.delete(kind, item["metadata"]["name"])
    own.control_plane.delete_namespace(found.namespace)


def declare(world: World, name: str) -> str:
    project = world.project_name(name)
    world.project(project)
    world.policy("ci", project)
    world.ready("WebhookPolicy", "ci")
    return project


def about(world: World, project: str) -> list[str]:
    """Returns the requests to Harbor about a project, without polls, which never stop."""
    requests = standing(world).requests()
    asked = [f"{one.method} {one.path}" for one in requests if f"/projects/{project}" in one.path]
    return [one for one in asked if "/lasttrigger" not in one]


@contextmanager
def meanwhile(attack: Any) -> Iterator[None]:
    """Runs the attack in a thread during the block, and waits for its end."""
    thread = threading.Thread(target=attack)
    thread.start()
    yield
    thread.join()


def test_an_annotation_that_changes_without_end_costs_few_requests_and_delays_nobody(
    own: World, attacker: World
) -> None:
    flooded, project = declare(attacker, "flooded"), declare(own, "quiet")
    standing(own).set_fault({"path": f"/projects/{flooded}"}, delay=LATENCY)
    standing(own).clear_requests()

    def flood() -> None:
        for number in range(CHANGES):
            attacker.annotate("WebhookPolicy", "ci", reconcile_at=str(number))

    with meanwhile(flood):
        own.policy("ci", project, description="changed")
        own.ready("WebhookPolicy", "ci")
        assert own.harbor_policy(project, "ci")["description"] == "changed"

    last = str(CHANGES - 1)
    attacker.until("WebhookPolicy", "ci", lambda found: found["status"].get("lastHandledReconcileAt") == last)
    asked = about(own, flooded)
    assert len(asked) < CHANGES / 2, f"{len(asked)} requests for {CHANGES} changes"
    assert not [one for one in asked if not one.startswith("GET ")]


def test_two_tenants_that_fight_over_a_name_leave_it_to_its_owner(own: World, attacker: World) -> None:
    project = own.project_name("wanted")
    own.project("owner", projectName=project, public=False)
    owner = own.ready("HarborProject", "owner")
    own.policy("hook", "owner", description="the owner's")
    own.ready("WebhookPolicy", "hook")
    standing(own).clear_requests()

    for number in range(20):
        claim = {"projectName": project, "creationPolicy": "CreateOrAdopt", "public": bool(number % 2)}
        if number % 5 == 0:
            attacker.delete("HarborProject", "thief")
        attacker.project("thief", **claim)
        targets = [http_target(f"https://evil.example.com/{number}")]
        attacker.policy(
            "hook", projectName=project, policyName="hook", connectionRef={"name": own.connection}, targets=targets
        )
        attacker.reason("HarborProject", "thief", "OwnedByOther")
        attacker.reason("WebhookPolicy", "hook", "OwnedByOther")

    writes = [one for one in about(own, project) if not one.startswith("GET ")]
    assert writes == []
    assert (own.harbor_project(project) or {})["metadata"]["public"] == "false"
    assert own.harbor_policy(project, "hook")["description"] == "the owner's"
    found = own.get("HarborProject", "owner")
    assert ready_condition(found)["lastTransitionTime"] == ready_condition(owner)["lastTransitionTime"]
    assert not [event for event in own.events("owner") if event["type"] == "Warning"]


def test_a_description_of_a_megabyte_gets_into_neither_cluster_nor_status(own: World) -> None:
    project = own.project_name()
    with pytest.raises(RefusedError, match="Too long"):
        own.policy("huge", project, description="x" * 2**20)
    assert not own.exists("WebhookPolicy", "huge")

    own.project(project)
    own.policy("ci", project, description="short")
    own.ready("WebhookPolicy", "ci")
    in_harbor = own.harbor_policy(project, "ci")
    path = f"/projects/{project}/webhook/policies/{in_harbor['id']}"
    own.api.put(path, json={**in_harbor, "description": "x" * 2**20}).raise_for_status()
    own.until("WebhookPolicy", "ci", lambda _: own.harbor_policy(project, "ci")["description"] == "short")

    shown = [own.get("WebhookPolicy", "ci")["status"], *own.events("ci"), own.operator.log.read_text()]
    assert "x" * 5000 not in str(shown)


def test_nothing_that_a_harbor_says_commands_a_terminal(own: World) -> None:
    """The texts are shown by kubectl in each output format, and by our own commands in a terminal."""
    own.secret("login", username=own.harbor.username, password=own.harbor.password)
    standing(own).set_fault({"path": "/systeminfo$"}, status=200, body=f'{{"harbor_version": "v2.16.0{escaped()}"}}')
    refusal = f'{{"errors":[{{"code":"CONFLICT{escaped()}","message":"no{escaped()}"}}]}}'
    standing(own).set_fault({"method": "POST", "path": "/projects$"}, status=400, body=refusal)
    spec = {"url": own.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "login"}}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "own"}, "spec": spec})
    own.until("HarborConnection", "own", lambda found: condition(found, "Ready"), "was not looked at")
    project = own.project_name()
    own.project(project)
    own.until(
        "HarborProject", project, lambda found: ready_condition(found).get("status") == "False", "was not refused"
    )
    eventually(lambda: own.events(project), lambda: "no Event about the refusal")

    outputs = [
        own.control_plane.kubectl(*command, "--namespace", own.namespace).stdout
        for command in (
            ("get", "hconn,hproj"),
            ("get", "hconn,hproj", "--output=wide"),
            ("get", "hconn,hproj", "--output=yaml"),
            ("get", "hconn,hproj", "--output=jsonpath={.items[*].status}"),
            ("get", "hconn,hproj", "--output=custom-columns=A:.status.harborVersion,B:.status.conditions[*].message"),
            ("get", "events", "--output=jsonpath={.items[*].note} {.items[*].message}"),
            ("describe", "hconn,hproj"),
        )
    ]
    outputs += [
        console.run(own.control_plane.kubeconfig, *command, "--namespace", own.namespace).output
        for command in (("status",), ("status", "--output", "json"), ("doctor", "--connection", "own"))
    ]
    for output in outputs:
        assert [char for char in output if not char.isprintable() and char not in "\n\t"] == []
    assert "gone" in "".join(outputs), "what it said is shown, cleaned"


def escaped() -> str:
    """Returns the escapes as JSON encodes them."""
    return "".join(f"\\u{ord(char):04x}" for char in ESCAPES)
