"""Upgrades from version 0.1.0 and rollbacks to it, with the charts and the operators of both.

tests/data/releases has the files of 0.1.0. Neither direction writes to Harbor, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.chart import NAMESPACE, RELEASE, Object
from harness.chart_files import REPOSITORY
from harness.harbor.process import StandIn
from harness.installed_chart import Cluster
from harness.operator_process import SOURCE
from harness.push import push_artifact
from harness.receiver import Receiver
from harness.world import PLURALS, World, condition, header_from, http_target

OLD_CHART = REPOSITORY / "tests/data/releases/0.1.0/harborhook-0.1.0.tgz"
OLD_PACKAGE = REPOSITORY / "tests/data/releases/0.1.0/harborhook-0.1.0-py3-none-any.whl"

Resource = tuple[str, str]
"""Kind and name."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def old(cluster: Cluster, receiver: Receiver) -> World:
    """Version 0.1.0, installed and running, with every kind, all sorts of policies, and a successful and a failed
    delivery."""
    cluster.credentials()
    cluster.install(cluster.connection(), chart=OLD_CHART)
    cluster.install(cluster.connection(), "upgrade", chart=OLD_CHART)
    world = cluster.world(cluster.operate(package=OLD_PACKAGE), "team-a")
    world.ready("ClusterHarborConnection", "default")
    declare(world, receiver)
    everything = resources(world)
    assert {kind for kind, _ in everything} == set(PLURALS)
    for kind, name in everything:
        world.ready(kind, name)
    notify(world)
    world.reconcile_all()
    for name in (name for kind, name in everything if kind == "HarborProject"):
        world.until("HarborProject", name, has_all_declared, "the project's own list of policies is not up to date")
    return world


def has_all_declared(project: Object) -> bool:
    """Whether an adopted policy is no longer listed as undeclared: that is written once a minute."""
    return bool(project["status"]["webhooks"]["unmanaged"] == [])


def declare(world: World, receiver: Receiver) -> None:
    world.secret("ci", header="Bearer s3cret", url=f"{receiver.url}/slack")
    world.secret("harbor", username=world.harbor.username, password=world.harbor.password)
    connection = {
        "url": world.harbor.url,
        "allowInsecureHTTP": True,
        "credentialsSecretRef": {"name": "harbor"},
        "limits": {"requestsPerSecond": 20},
    }
    world.apply({"kind": "HarborConnection", "metadata": {"name": "own"}, "spec": connection})

    full, plain, adopted, unmanaged = (world.project_name(base) for base in ("full", "plain", "adopted", "unmanaged"))
    world.project(
        full,
        public=True,
        storageQuota="1.5Gi",
        vulnerability={"autoScan": True, "preventPull": {"enabled": True, "severity": "high"}},
        cveAllowlist={"items": ["CVE-2024-2", "CVE-2024-1"], "expiresAt": "2031-01-01T00:00:00+01:00"},
    )
    world.project(plain, connectionRef={"kind": "HarborConnection", "name": "own"})
    world.make_project(adopted)
    world.make_policy(adopted, "by-hand")
    world.make_project(unmanaged)
    world.project(adopted, creationPolicy="Adopt", deletionPolicy="Retain", driftPolicy="Report")

    targets = [
        http_target(f"{receiver.url}/ok", authHeaderFrom=header_from("ci")),
        http_target(f"{receiver.url}/ok/cloud", payloadFormat="CloudEvents"),
        {"type": "slack", "addressFrom": header_from("ci", "url")},
    ]
    world.policy("arrives", full, targets=targets, eventTypes=["PUSH_ARTIFACT", "DELETE_ARTIFACT"])
    world.policy("fails", full, targets=[http_target(f"{receiver.url}/status/500")])
    world.policy("off", full, enabled=False)
    world.policy("of-plain", plain, deletionPolicy="Retain")
    world.policy("by-hand", adopted, creationPolicy="Adopt")
    world.policy("of-unmanaged", projectName=unmanaged, connectionRef={"name": "default"})


def notify(world: World) -> None:
    project = next(name for kind, name in resources(world) if kind == "HarborProject" and name.startswith("full"))
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{project}/app")
    for name, reason in (("arrives", "LastDeliverySucceeded"), ("fails", "LastDeliveryFailed")):

        def has_ended(found: Object, reason: str = reason) -> bool:
            return condition(found, "Delivering").get("reason") == reason

        world.until("WebhookPolicy", name, has_ended, reason)
    world.counted(project, repositories=1)


def resources(world: World) -> list[Resource]:
    of_namespace = [
        (kind, item["metadata"]["name"])
        for kind in PLURALS
        if kind != "ClusterHarborConnection"
        for item in world.all(kind)
    ]
    return [("ClusterHarborConnection", "default"), *of_namespace]


def state(world: World) -> dict[Resource, Object]:
    return {(kind, name): world.get(kind, name) for kind, name in resources(world)}


def lost(was: Any, found: Any, path: str = "") -> list[str]:
    """Returns what has changed or is missing, by its path; a field may be added."""
    if isinstance(was, dict) and isinstance(found, dict):
        return [line for key, value in was.items() for line in lost(value, found.get(key), f"{path}.{key}")]
    if isinstance(was, list) and isinstance(found, list) and len(was) == len(found):
        pairs = enumerate(zip(was, found, strict=True))
        return [line for number, (one, other) in pairs for line in lost(one, other, f"{path}[{number}]")]
    return [] if was == found else [f"{path}: {was} is now {found}"]


def what_must_stay(found: Object) -> Object:
    """Drops what every requested reconcile changes, the labels, which contain the chart's version, and the messages of
    conditions, which versions word differently."""
    metadata = {key: found["metadata"].get(key) for key in ("uid", "generation", "finalizers")}
    status = {key: value for key, value in found["status"].items() if key != "lastHandledReconcileAt"}
    status["conditions"] = [
        {key: value for key, value in one.items() if key != "message"} for one in found["status"]["conditions"]
    ]
    return {"metadata": metadata, "spec": found["spec"], "status": status}


@contextmanager
def without_a_write_to_harbor(world: World) -> Iterator[None]:
    stand_in: StandIn = world.harbor.stand_in  # type: ignore[assignment]
    before = len(stand_in.requests())
    yield
    writes = [r for r in stand_in.requests()[before:] if r.writes and r.path.startswith("/api/")]
    assert [f"{request.method} {request.path}" for request in writes] == []


def reconciled(world: World) -> dict[Resource, Object]:
    """Returns the state after each resource has been compared with Harbor."""
    for kind, name in resources(world):
        world.ready(kind, name)
    world.reconcile_all()
    return state(world)


def assert_nothing_is_lost(before: dict[Resource, Object], after: dict[Resource, Object]) -> None:
    assert after.keys() == before.keys()
    assert [
        f"{kind} {name} {line}"
        for (kind, name), was in before.items()
        for line in lost(what_must_stay(was), what_must_stay(after[kind, name]))
    ] == []


def change_operator(cluster: Cluster, world: World, package: Path = SOURCE) -> None:
    """Starts the operator of the release that Helm has just installed, like a Deployment with one replica."""
    world.operator.stop()
    world.operator = cluster.operate(package=package)


def test_an_upgrade_from_0_1_0_and_the_way_back_write_nothing_to_harbor_and_lose_nothing(
    cluster: Cluster, old: World
) -> None:
    world = old
    before = state(world)
    in_harbor = {name: world.harbor_policies(name) for name in world._projects}

    with without_a_write_to_harbor(world):
        cluster.install(cluster.connection(), "upgrade")
        change_operator(cluster, world)
        upgraded = reconciled(world)
    assert_nothing_is_lost(before, upgraded)
    assert upgraded["WebhookPolicy", "arrives"]["status"]["clusterName"]

    with without_a_write_to_harbor(world):
        cluster.helm("rollback", RELEASE, "2", "--namespace", NAMESPACE)
        change_operator(cluster, world, package=OLD_PACKAGE)
        back = reconciled(world)
    assert_nothing_is_lost(before, back)
    assert_nothing_is_lost(back, before)

    with without_a_write_to_harbor(world):
        cluster.install(cluster.connection(), "upgrade")
        change_operator(cluster, world)
        assert_nothing_is_lost(before, reconciled(world))
    assert {name: world.harbor_policies(name) for name in world._projects} == in_harbor


def test_the_way_back_drops_what_0_1_0_does_not_know_and_the_resources_go_on(cluster: Cluster, old: World) -> None:
    world = old
    before = world.get("HarborConnection", "own")["spec"]
    cluster.install(cluster.connection(), "upgrade")
    change_operator(cluster, world)
    headers = [{"name": "X-Gateway-Token", **header_from("ci")}]
    world.patch("HarborConnection", "own", {"spec": {"headersFrom": headers}})
    world.ready("HarborConnection", "own")

    cluster.helm("rollback", RELEASE, "2", "--namespace", NAMESPACE)
    change_operator(cluster, world, package=OLD_PACKAGE)
    assert reconciled(world)["HarborConnection", "own"]["spec"] == before
    project = next(name for name in world._projects if name.startswith("full"))
    world.patch("WebhookPolicy", "arrives", {"spec": {"eventTypes": ["PUSH_ARTIFACT"]}})
    world.ready("WebhookPolicy", "arrives")
    assert world.harbor_policy(project, "arrives")["event_types"] == ["PUSH_ARTIFACT"]
    world.delete("WebhookPolicy", "fails")
    assert {policy["name"] for policy in world.harbor_policies(project)} == {"arrives", "off"}
