"""The commands that send requests to a running operator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import console
from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.push import push_artifact
from harness.receiver import Receiver
from harness.world import Object, World, eventually, http_target


@pytest.fixture
def connection_fields() -> Object:
    return {"allowEndpointTests": True, "allowedTargetHosts": ["127.0.0.1"]}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def kubeconfig(world: World) -> Path:
    return console.in_namespace(world.control_plane.kubeconfig, world.namespace)


def harborhook(world: World, *arguments: str) -> console.Ended:
    return console.run(kubeconfig(world), *arguments)


def declare(world: World, *addresses: str) -> str:
    project = world.project_name()
    world.project(project)
    world.policy("ci", project, targets=[http_target(address) for address in addresses or ("https://ci.example.com",)])
    return project


def test_reconcile_waits_for_each_resource_and_says_how_it_is(world: World) -> None:
    project = declare(world)
    world.ready("WebhookPolicy", "ci")
    world.change_project(project, public="true")
    world.patch("HarborProject", project, {"spec": {"public": False, "suspend": False}})
    ended = harborhook(world, "reconcile", f"hproj/{project}", "whp/ci", "whp/ci")
    assert (ended.code, ended.errors) == (0, "")
    first, second = ended.output.splitlines()
    assert first.startswith(f"HarborProject {world.namespace}/{project}: Reconciled. Ready: ")
    assert second.startswith(f"WebhookPolicy {world.namespace}/ci: Reconciled. Ready: ")
    assert world.get("WebhookPolicy", "ci")["status"]["lastHandledReconcileAt"].startswith("20")
    assert world.harbor_project(project)["metadata"]["public"] == "false"  # type: ignore[index]


def test_reconcile_ends_with_1_where_a_resource_is_not_ready_or_not_there(world: World) -> None:
    declare(world)
    world.ready("WebhookPolicy", "ci")
    world.patch("WebhookPolicy", "ci", {"spec": {"eventTypes": ["NO_SUCH_TYPE"]}})
    ended = harborhook(world, "reconcile", "whp/ci", "whp/cii")
    assert ended.code == 1
    assert f"Error: WebhookPolicy {world.namespace}/ci: Reconciled. Stalled: Harbor " in ended.errors
    assert f"There is no WebhookPolicy cii in namespace {world.namespace}. Did you mean ci?" in ended.errors
    results = json.loads(harborhook(world, "reconcile", "whp/ci", "-o", "json").output)["results"]
    assert [(one["name"], one["ok"], one["reason"]) for one in results] == [("ci", False, "UnsupportedEventType")]


def test_test_shows_how_each_target_answered(own: World, receiver: Receiver) -> None:
    declare(own, f"{receiver.url}/ok", "http://127.0.0.1:9/c4nary")
    own.ready("WebhookPolicy", "ci")
    ended = harborhook(own, "test", "ci")
    assert ended.code == 1
    header, first, second = ended.output.splitlines()
    assert header.split() == ["TARGET", "ADDRESS", "STATUS", "RESULT"]
    assert first.split()[:3] == ["0", f"{receiver.url}/…", "200"]
    assert "It cannot be reached" in second
    assert "c4nary" not in ended.output + ended.errors
    assert "1 of 2 targets answered." in ended.errors
    own.patch("WebhookPolicy", "ci", {"spec": {"targets": [http_target(f"{receiver.url}/ok")]}})
    own.ready("WebhookPolicy", "ci")
    ended = harborhook(own, "test", "whp/ci")
    assert (ended.code, ended.errors) == (0, "")


def test_a_test_that_the_operator_may_not_make_is_not_waited_for(own: World, receiver: Receiver) -> None:
    declare(own, "http://elsewhere.example.com/")
    own.reason("WebhookPolicy", "ci", "TargetHostNotAllowed")
    ended = harborhook(own, "test", "ci", "--timeout", "50")
    assert ended.code == 1
    assert "Not tested. Stalled: " in ended.errors
    assert "elsewhere.example.com" in ended.errors
    own.patch("WebhookPolicy", "ci", {"spec": {"suspend": True}})
    ended = harborhook(own, "test", "ci")
    assert ended.code == 1
    assert "is suspended, so nothing is sent for it. First: kubectl harborhook resume whp/ci" in ended.errors


def test_a_receiver_that_was_down_gets_what_it_missed(world: World, stand_in: StandIn, receiver: Receiver) -> None:
    """A new user's path: find the fault, find the missing notifications, send them again."""
    with own_harbor(world, stand_in, allowRedelivery=True, allowedTargetHosts=["127.0.0.1"]) as own:
        project = declare(own, f"{receiver.url}/c4nary")
        own.ready("WebhookPolicy", "ci")
        receiver.down(503)
        for tag in ("v1", "v2"):
            push_artifact(own.harbor.url, own.harbor.username, own.harbor.password, f"{project}/app", tag)
        own.until("WebhookPolicy", "ci", lambda found: _undelivered(found) == 2)
        refused = harborhook(own, "redeliver", "ci")
        assert refused.code == 1
        assert f"WebhookPolicy {own.namespace}/ci: " in refused.errors
        assert " failed. " in refused.errors
        receiver.up()

        status = harborhook(own, "status", "ci")
        assert "  receiver: " in status.output.splitlines()[1]
        assert "answered with status 503" in status.output.splitlines()[1]
        assert "2 events were not delivered and can be sent again: kubectl harborhook redeliver ci" in status.output
        rows = harborhook(own, "deliveries", "ci", "--failed").output.splitlines()[1:]
        assert [row.split()[3] for row in rows] == [f"{project}/app:v2", f"{project}/app:v1"]
        ended = harborhook(own, "redeliver", "ci", "--failed")
        assert (ended.code, ended.errors) == (0, "")
        assert "2 delivered, 0 failed." in ended.output
        newest = rows[0].split()[0]
        assert "1 delivered, 0 failed." in harborhook(own, "redeliver", "ci", newest).output
        assert "No failed deliveries" in harborhook(own, "deliveries", "ci", "--failed").output
        print(status.output, ended.output)


def _undelivered(found: Object) -> int:
    count: int = (found["status"].get("deliveries") or {}).get("undelivered", 0)
    return count


def test_suspend_and_resume_set_one_field(world: World) -> None:
    project = declare(world)
    world.ready("WebhookPolicy", "ci")
    before = world.get("WebhookPolicy", "ci")["spec"]
    ended = harborhook(world, "suspend", "whp/ci", f"hproj/{project}")
    assert (ended.code, len(ended.output.splitlines())) == (0, 2)
    assert world.get("WebhookPolicy", "ci")["spec"] == {**before, "suspend": True}
    assert "It is already suspended." in harborhook(world, "suspend", "whp/ci").output
    assert harborhook(world, "resume", "whp/ci", "-o", "name").output == "webhookpolicy.harborhook.io/ci\n"
    assert world.get("WebhookPolicy", "ci")["spec"] == before


@pytest.mark.parametrize("manager", ["argocd-controller", "kustomize-controller"])
def test_suspend_refuses_where_a_gitops_tool_owns_the_field(world: World, manager: str) -> None:
    declare(world)
    found = world.ready("WebhookPolicy", "ci")
    path = f"/apis/harborhook.io/v1alpha1/namespaces/{world.namespace}/webhookpolicies/ci"
    body = {key: found[key] for key in ("apiVersion", "kind", "spec")}
    body |= {"metadata": {"name": "ci", "namespace": world.namespace}, "spec": {**body["spec"], "suspend": False}}
    world.control_plane.admin.request(
        "PATCH", f"{path}?fieldManager={manager}&force=true", body, content_type="application/apply-patch+yaml"
    )
    ended = harborhook(world, "suspend", "whp/ci")
    assert ended.code == 1
    assert f"spec.suspend of WebhookPolicy {world.namespace}/ci is set by {manager}" in ended.errors
    assert "--force" in ended.errors
    assert harborhook(world, "suspend", "whp/ci", "--force").code == 0
    assert world.get("WebhookPolicy", "ci")["spec"]["suspend"] is True


def test_release_asks_and_releases_what_cannot_be_deleted(own: World) -> None:
    project = declare(own, "http://127.0.0.1:9/")
    own.ready("WebhookPolicy", "ci")
    standing(own).set_fault({"method": "DELETE"}, status=500)
    own.delete("WebhookPolicy", "ci", wait=False)
    ended = harborhook(own, "release", "whp/ci")
    assert ended.code == 2
    assert "use --yes" in ended.errors
    refused = console.in_terminal(kubeconfig(own), "release", "whp/ci", typed="n\n")
    assert refused.code == 1
    assert "stays there, unmanaged. Continue? [y/N]" in refused.output
    assert own.exists("WebhookPolicy", "ci")
    ended = harborhook(own, "release", "whp/ci", "--yes")
    assert (ended.code, ended.errors) == (0, "")
    assert "Released: the resource is deleted" in ended.output
    assert not own.exists("WebhookPolicy", "ci")
    assert (
        "will be released without touching Harbor when"
        in harborhook(own, "release", f"hproj/{project}", "--yes").output
    )
    standing(own).clear_faults()


def test_without_waiting_the_request_is_made_and_no_more(world: World) -> None:
    declare(world)
    world.ready("WebhookPolicy", "ci")
    ended = harborhook(world, "reconcile", "whp/ci", "--no-wait")
    assert (ended.code, ended.errors) == (0, "")
    assert "Requested." in ended.output
    asked = world.get("WebhookPolicy", "ci")["metadata"]["annotations"]["harborhook.io/reconcile-at"]
    eventually(
        lambda: world.get("WebhookPolicy", "ci")["status"].get("lastHandledReconcileAt") == asked,
        lambda: "the request was not answered",
    )
