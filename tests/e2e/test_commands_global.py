"""`harborhook global`: one switch over all notifications, by the ConfigMap that the operator watches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness import console
from harness.control_plane import RefusedError
from harness.world import Object, World

MAP = "/api/v1/namespaces/harborhook/configmaps/harborhook-global"


@pytest.fixture(autouse=True)
def policies(own: World) -> Iterator[None]:
    """With a separate Harbor: the other tests share the ConfigMap."""
    project = own.project_name()
    own.project(project)
    for name in ("ci", "events"):
        own.policy(name, project)
        own.ready("WebhookPolicy", name)
    yield
    with suppress(RefusedError):
        own.control_plane.admin.request("DELETE", MAP)


def switch(world: World, value: str, *arguments: str) -> console.Ended:
    return console.run(kubeconfig(world), "global", value, "--connection", world.connection, *arguments)


def kubeconfig(world: World) -> Path:
    return world.control_plane.kubeconfig


def config_map(world: World) -> Object:
    return world.control_plane.admin.request("GET", MAP)


def shown(world: World) -> Object:
    found = json.loads(console.run(kubeconfig(world), "global", "show", "-o", "json").output)
    (one,) = (one for one in found["connections"] if one["name"] == world.connection)
    return dict(one)


def test_off_and_on_change_the_map_and_wait_for_harbor(own: World) -> None:
    assert shown(own)["enabled"] is True
    ended = switch(own, "off", "--yes")
    assert (ended.code, ended.errors) == (0, "")
    key = f"enabled.{own.connection}"
    assert ended.output.splitlines() == [
        f'ConfigMap harborhook/harborhook-global: {key} is "false".',
        "1 of 1 connections have switched off.",
    ]
    assert config_map(own)["data"][key] == "false"
    assert own.api.get("/systeminfo").json()["notification_enable"] is False
    assert {"asked": False, "enabled": False, "source": "ConfigMap", "policies": 2}.items() <= shown(own).items()
    text = console.run(kubeconfig(own), "global", "show").output
    assert f"{key}: 'false'" in text
    own.until("WebhookPolicy", "ci", lambda found: found["status"].get("enabled") is False)
    status = console.run(console.in_namespace(kubeconfig(own), own.namespace), "status", "ci").output
    assert "connection: Notifications are switched off by the ConfigMap." in status
    assert switch(own, "on", "-y").code == 0
    assert own.api.get("/systeminfo").json()["notification_enable"] is True


def test_the_confirmation_says_how_many_policies_it_concerns(own: World) -> None:
    ended = switch(own, "off")
    assert (ended.code, "use --yes" in ended.errors) == (2, True)
    arguments = ("global", "off", "--connection", own.connection)
    ended = console.in_terminal(kubeconfig(own), *arguments, typed="n\n", columns=300)
    assert ended.code == 1
    assert "the notifications of 2 webhook policies in 1 namespace off, by enabled." in ended.output
    assert "Harbor drops every event for ever. Continue? [y/N]" in ended.output
    with pytest.raises(RefusedError):
        config_map(own)
    ended = console.in_terminal(kubeconfig(own), *arguments, typed="y\n", columns=300)
    assert ended.code == 0


def test_a_value_that_git_owns_and_an_immutable_map_are_refused(own: World) -> None:
    name = f"enabled.{own.connection}"
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "harborhook-global"}, "data": {name: "true"}}
    applied = f"{MAP}?fieldManager=argocd-controller&force=true"
    own.control_plane.admin.request("PATCH", applied, body, content_type="application/apply-patch+yaml")
    ended = switch(own, "off", "--yes")
    assert ended.code == 1
    assert f"data.{name} of ConfigMap harborhook/harborhook-global is set by argocd-controller" in ended.errors
    immutable = {"immutable": True}
    own.control_plane.admin.request("PATCH", MAP, immutable, content_type="application/merge-patch+json")
    ended = switch(own, "off", "--yes", "--force")
    assert ended.code == 1
    assert "is immutable: replace it" in ended.errors


def test_a_connection_that_cannot_follow_is_said(own: World) -> None:
    own.connect(own.connection, suspend=True)
    own.reason("ClusterHarborConnection", own.connection, "Suspended")
    ended = switch(own, "off", "--yes")
    own.connect(own.connection, suspend=False)
    own.ready("ClusterHarborConnection", own.connection)
    assert ended.code == 1
    assert f"ClusterHarborConnection {own.connection} does not follow yet. Suspended: " in ended.errors
    ended = console.run(kubeconfig(own), "global", "off", "--connection", "no-such", "--yes")
    assert (ended.code, ended.errors) == (1, "Error: There is no ClusterHarborConnection no-such.\n")
