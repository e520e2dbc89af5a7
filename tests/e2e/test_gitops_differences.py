"""Argo CD shows no differences caused by the operator, in any state of a resource."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from harness.control_plane import RefusedError
from harness.gitops import TRACKING, Application, three_way
from harness.harbor.process import StandIn
from harness.own import leave, world_of
from harness.push import push_artifact
from harness.receiver import Receiver
from harness.world import Object, World, condition, header_from


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def bare(world: World, stand_in: StandIn) -> Iterator[World]:
    """A Harbor for one test, whose notifications will be switched off. Git declares the connection."""
    found = world_of(world, stand_in)
    found.secret("gitops-credentials", "harborhook", username=found.harbor.username, password=found.harbor.password)
    yield found
    with suppress(RefusedError):
        found.control_plane.admin.request("DELETE", "/api/v1/namespaces/harborhook/configmaps/harborhook-global")
    leave(found)


def connection(world: World) -> Object:
    return {
        "kind": "ClusterHarborConnection",
        "metadata": {"name": world.connection},
        "spec": {
            "url": world.harbor.url,
            "allowInsecureHTTP": True,
            "credentialsSecretRef": {"namespace": "harborhook", "name": "gitops-credentials"},
            "access": [{"namespaces": ["*"], "projects": ["{namespace}", "*"]}],
        },
    }


def project(world: World, name: str, **spec: object) -> Object:
    """With values that the operator or Harbor might normalise."""
    stated = {
        "connectionRef": {"name": world.connection},
        "creationPolicy": "CreateOrAdopt",
        "deletionPolicy": "Delete",
        "public": False,
        "storageQuota": "1.5Gi",
        "vulnerability": {"autoScan": True, "preventPull": {"enabled": True, "severity": "high"}},
        "cveAllowlist": {"items": ["CVE-2024-2", "CVE-2024-1"], "expiresAt": "2031-01-01T00:00:00+01:00"},
        **spec,
    }
    return {"kind": "HarborProject", "metadata": {"name": name}, "spec": stated}


def policy(name: str, of: str, address: str, **spec: object) -> Object:
    """With a list of targets, which is compared as a whole: no field may be defaulted there."""
    targets = [
        {"type": "http", "address": address, "authHeaderFrom": header_from("ci")},
        {"type": "http", "address": f"{address}/cloud", "payloadFormat": "CloudEvents"},
        {"type": "slack", "address": f"{address}/slack"},
    ]
    stated = {"projectRef": {"name": of}, "eventTypes": ["SCANNING_COMPLETED", "PUSH_ARTIFACT"], "targets": targets}
    return {"kind": "WebhookPolicy", "metadata": {"name": name}, "spec": {**stated, **spec}}


def policies_are_off(world: World) -> None:
    world.until("WebhookPolicy", "ci", lambda found: found["status"].get("enabled") is False, "not switched off")
    reason = "GloballyDisabled"
    world.until("WebhookPolicy", "ci", lambda found: condition(found, "Delivering").get("reason") == reason, reason)


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
def test_argo_cd_sees_no_difference_in_any_state(bare: World, receiver: Receiver, server_side: bool) -> None:
    application = Application(bare, server_side)
    name = bare.project_name()
    bare.secret("ci", header="Bearer s3cret")
    to_harbor, of_team = connection(bare), project(bare, name)
    ci = policy("ci", name, f"{receiver.url}/status/500")
    broken = policy("broken", name, receiver.url, eventTypes=["NO_SUCH_EVENT"])
    everything = [to_harbor, of_team, ci, broken]
    application.sync(*everything)
    bare.ready("ClusterHarborConnection", bare.connection)
    bare.ready("HarborProject", name)
    bare.ready("WebhookPolicy", "ci")
    bare.reason("WebhookPolicy", "broken", "UnsupportedEventType")
    assert application.differences(*everything) == []

    # A receiver that fails.
    push_artifact(bare.harbor.url, bare.harbor.username, bare.harbor.password, f"{name}/app")
    failed = "LastDeliveryFailed"
    bare.until("WebhookPolicy", "ci", lambda found: condition(found, "Delivering").get("reason") == failed, failed)
    assert application.differences(*everything) == []

    # Notifications switched off for the whole Harbor.
    bare.config_map("harborhook-global", "harborhook", **{f"enabled.{bare.connection}": "false"})
    policies_are_off(bare)
    assert application.differences(*everything) == []

    # A change in Harbor, which is reverted.
    bare.change_project(name, public="true")
    bare.reconcile_all()
    assert (bare.harbor_project(name) or {})["metadata"]["public"] == "false"
    assert application.differences(*everything) == []

    # A change in Git is the only difference, until it is applied.
    suspended = policy("ci", name, f"{receiver.url}/status/500", suspend=True)
    assert application.differences(suspended) == ["spec.suspend"]
    application.sync(suspended)
    bare.until("WebhookPolicy", "ci", lambda found: found["status"]["observedGeneration"] == 2, "not seen as suspended")
    everything[2] = suspended
    assert application.differences(*everything) == []

    # The same for a field removed from Git.
    fewer = project(bare, name)
    del fewer["spec"]["vulnerability"]
    assert application.differences(fewer) == ["spec.vulnerability"]
    application.sync(fewer)
    bare.ready("HarborProject", name)
    assert application.differences(fewer) == []


def test_marks_of_argo_cd_cause_no_write(bare: World) -> None:
    name = bare.project_name()
    bare.secret("ci", header="Bearer s3cret")
    everything = [connection(bare), project(bare, name), policy("ci", name, "https://ci.example.com/hook")]
    Application(bare, server_side=True).sync(*everything)
    bare.ready("WebhookPolicy", "ci")
    bare.ready("HarborProject", name)
    bare.reconcile_all()  # writes its answer
    bare.counted(name)
    with bare.counting() as writes:
        Application(bare, server_side=True, name="other").sync(*everything)
        bare.annotate("WebhookPolicy", "ci", note="by a person")
        again = bare.get("WebhookPolicy", "ci")
        assert again["metadata"]["annotations"][TRACKING].startswith("other:")
        bare.reconciled_since_restart(name)
    assert writes.harbor == []
    assert writes.kubernetes == []


# The comparison itself


def test_what_only_the_cluster_knows_is_no_difference() -> None:
    live = {"metadata": {"uid": "1"}, "spec": {"a": 1, "defaulted": True}}
    assert three_way(live, {"spec": {"a": 1}}) == live


def test_what_was_applied_and_is_wanted_no_more_is_a_difference() -> None:
    applied = '{"spec": {"a": 1, "b": 2}}'
    live = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
        "spec": {"a": 1, "b": 2, "c": 3},
    }
    assert three_way(live, {"spec": {"a": 1}})["spec"] == {"a": 1, "c": 3}


def test_a_list_with_something_filled_in_is_a_difference() -> None:
    live = {"metadata": {}, "spec": {"targets": [{"address": "a", "verify": True}]}}
    assert three_way(live, {"spec": {"targets": [{"address": "a"}]}}) != live
