"""Several operators in one cluster: by labels, by namespaces, and when their selectors overlap by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.conftest import QUICK
from harness.control_plane import ControlPlane
from harness.operator_process import OperatorProcess
from harness.readme import blocks
from harness.world import FINALIZER, OPERATOR_USER, Object, World, eventually, ready_condition

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/harborhook/leases"
MARK = "harborhook.io/shard"


@pytest.fixture(scope="module")
def shards(own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OperatorProcess]]:
    """Operators a and b, for resources labelled team=a and team=b; a manages the connections."""
    with (
        operator(own_cluster, tmp_path_factory, "a", resource_selector="team=a") as a,
        operator(own_cluster, tmp_path_factory, "b", resource_selector="team in (b)", manage_connections=False) as b,
    ):
        yield {"a": a, "b": b}
        print(*(shard.log.read_text()[-6000:] for shard in (a, b)))


def operator(
    own_cluster: ControlPlane, directories: pytest.TempPathFactory, name: str, **settings: Any
) -> OperatorProcess:
    election = {"leader_election": True, "shard": name, **settings}
    return OperatorProcess.start(own_cluster, directories.mktemp(f"operator-{name}"), **QUICK, **election)


@pytest.fixture
def own_operator(shards: dict[str, OperatorProcess]) -> OperatorProcess:
    """The one that manages the connections."""
    return shards["a"]


@pytest.fixture
def world(own_world: World) -> World:
    return own_world


def declare(world: World, team: str, name: str, **spec: Any) -> Object:
    """A HarborProject with the label of a team."""
    return world.apply(
        {
            "kind": "HarborProject",
            "metadata": {"name": name, "labels": {"team": team}},
            "spec": {"deletionPolicy": "Delete", "connectionRef": {"name": world.connection}, **spec},
        }
    )


def makers(world: World, project: str) -> set[str]:
    """Returns the shards that have created or written to a Harbor project."""
    assert world.harbor.stand_in is not None
    identities = {shard: identity_of(world, shard) for shard in ("a", "b")}
    writes = [request for request in world.harbor.stand_in.requests() if request.writes]
    agents = {request.agent for request in writes if request.path.endswith(f"/projects/{project}")}
    return {shard for shard, identity in identities.items() if any(identity in agent for agent in agents)}


def identity_of(world: World, shard: str) -> str:
    lease = world.control_plane.admin.request("GET", f"{LEASES}/harborhook-{shard}")
    return str(lease["spec"]["holderIdentity"])


def mark(found: Object) -> str | None:
    value = found["metadata"].get("annotations", {}).get(MARK)
    return str(value).removeprefix("harborhook/") if value is not None else None


def test_each_operator_works_on_what_it_selects(world: World) -> None:
    ours, theirs, nobodys = (world.project_name(base) for base in ("ours", "theirs", "nobodys"))
    for team, name in (("a", ours), ("b", theirs), ("c", nobodys)):
        declare(world, team, name, public=True)
    for name in (ours, theirs):
        world.ready("HarborProject", name)
        declare(world, "a" if name == ours else "b", name, public=False)
        world.ready("HarborProject", name)

    assert (makers(world, ours), makers(world, theirs)) == ({"a"}, {"b"})
    assert [mark(world.get("HarborProject", name)) for name in (ours, theirs, nobodys)] == ["a", "b", None]
    assert world.harbor_project(nobodys) is None
    with world.counting() as writes:
        world.annotate("HarborProject", ours, reconcile_at="now")
        world.annotate("HarborProject", theirs, reconcile_at="now")
        for name in (ours, theirs):
            world.until("HarborProject", name, lambda found: found["status"].get("lastHandledReconcileAt") == "now")
    assert writes.harbor == []


def test_a_project_that_another_operators_resource_has_belongs_to_that_one(world: World) -> None:
    project = world.project_name()
    declare(world, "a", "first", projectName=project)
    world.ready("HarborProject", "first")

    declare(world, "b", "second", projectName=project, creationPolicy="CreateOrAdopt", public=True)

    found = world.reason("HarborProject", "second", "OwnedByOther")
    assert "first" in ready_condition(found)["message"]


def test_of_two_that_claim_a_project_at_once_one_gets_it(world: World) -> None:
    projects = [world.project_name(f"team{number}") for number in range(8)]
    for number, project in enumerate(projects):
        for team in ("a", "b"):
            declare(world, team, f"{team}{number}", projectName=project, creationPolicy="CreateOrAdopt")

    for number in range(len(projects)):
        outcomes = [settled(world, f"{team}{number}") for team in ("a", "b")]
        assert outcomes.count("Reconciled") == 1


def settled(world: World, name: str) -> str:
    found = world.until(
        "HarborProject",
        name,
        lambda found: ready_condition(found).get("reason") in ("Reconciled", "OwnedByOther", "AlreadyExists"),
    )
    return str(ready_condition(found)["reason"])


def test_a_resource_with_another_label_changes_hands(world: World) -> None:
    project = world.project_name()
    declare(world, "a", project, public=True)
    world.ready("HarborProject", project)

    declare(world, "b", project, public=False)

    found = world.until("HarborProject", project, lambda found: mark(found) == "b")
    world.ready("HarborProject", project)
    harbor = world.harbor_project(project)
    assert harbor is not None
    assert harbor["metadata"]["public"] == "false"
    assert found["status"]["origin"] == "Created"
    assert makers(world, project) == {"b"}


def test_selectors_that_overlap_do_no_harm(
    world: World, own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = world.project_name()
    declare(world, "a", project, public=True)
    world.ready("HarborProject", project)

    with operator(own_cluster, tmp_path_factory, "c", resource_selector="team", manage_connections=False):
        eventually(lambda: "LeftToAnother" in reasons(world, project), lambda: "the third operator says nothing")
        declare(world, "a", project, public=False)
        world.ready("HarborProject", project)

    assert makers(world, project) == {"a"}
    assert mark(world.get("HarborProject", project)) == "a"


def reasons(world: World, name: str) -> list[str]:
    return [str(event["reason"]) for event in world.events(name)]


def test_a_connection_stays_until_no_operator_needs_it(world: World) -> None:
    ours, theirs = world.project_name("ours"), world.project_name("theirs")
    declare(world, "a", ours)
    declare(world, "b", theirs)
    for name in (ours, theirs):
        world.ready("HarborProject", name)
    connection = world.get("ClusterHarborConnection", world.connection)
    assert sorted(connection["metadata"]["finalizers"]) == [FINALIZER, f"{FINALIZER}-b"]

    world.delete("ClusterHarborConnection", world.connection, wait=False)
    world.delete("HarborProject", ours)
    world.until(
        "ClusterHarborConnection",
        world.connection,
        lambda found: found["metadata"]["finalizers"] == [f"{FINALIZER}-b"],
    )
    world.delete("HarborProject", theirs)

    world.gone("ClusterHarborConnection", world.connection)
    assert world.harbor_project(theirs) is None


def test_the_status_of_a_connection_is_written_by_one(world: World, own_cluster: ControlPlane) -> None:
    assert world.harbor.stand_in is not None
    theirs = world.project_name("theirs")
    declare(world, "b", theirs)
    world.ready("HarborProject", theirs)
    position = own_cluster.audit_position()
    world.harbor.stand_in.settings(read_only=True)
    world.until("ClusterHarborConnection", world.connection, lambda found: found["status"].get("readOnly"))
    world.harbor.stand_in.settings(read_only=False)
    world.until("ClusterHarborConnection", world.connection, lambda found: not found["status"].get("readOnly"))

    writers = {
        entry.agent
        for entry in own_cluster.writes(OPERATOR_USER, since=position)
        if (entry.resource, entry.subresource) == ("clusterharborconnections", "status")
    }
    assert [identity_of(world, "a") in agent for agent in writers] == [True]


# By namespaces


def test_operators_for_different_namespaces_do_not_both_get_a_project(
    world: World, own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = world.elsewhere(f"{world.namespace}-2")
    own_cluster.create_namespace(elsewhere.namespace)
    projects = [world.project_name(f"team{number}") for number in range(4)]
    places = {"x": world, "y": elsewhere}
    with (
        operator_for(own_cluster, tmp_path_factory, "x", world.namespace),
        operator_for(own_cluster, tmp_path_factory, "y", elsewhere.namespace),
    ):
        for number, project in enumerate(projects):
            for shard, place in places.items():
                declare(place, shard, f"{shard}{number}", projectName=project, creationPolicy="CreateOrAdopt")

        for number in range(len(projects)):
            outcomes = [settled(place, f"{shard}{number}") for shard, place in places.items()]
            assert outcomes.count("Reconciled") == 1
        for place in (elsewhere, world):
            for found in place.all("HarborProject"):
                place.delete("HarborProject", found["metadata"]["name"])


def operator_for(
    own_cluster: ControlPlane, directories: pytest.TempPathFactory, name: str, namespace: str
) -> OperatorProcess:
    """With the rights that docs/operations.md grants an operator for this namespace."""
    account = f"for-{namespace}"
    own_cluster.apply(yaml.safe_dump_all(rights(account, namespace)))
    settings = {
        **QUICK,
        "watch_namespaces": namespace,
        "shard": name,
        "manage_connections": False,
        "leader_election": True,
        "global_config_map": f"switch-{name}",
    }
    found = OperatorProcess(own_cluster, directories.mktemp(f"operator-{name}"), settings, account=account)
    found.restart()
    return found


def test_an_operator_for_some_namespaces_needs_few_rights_elsewhere(
    world: World, own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = world.project_name()
    with operator_for(own_cluster, tmp_path_factory, "n", world.namespace) as operator:
        world.project(project)
        world.policy("hook", project)
        world.ready("WebhookPolicy", "hook")
        world.config_map("switch-n", "harborhook", enabled="false")
        eventually(lambda: not world.harbor_policy(project, "hook")["enabled"], lambda: "the switch does nothing")
        world.delete("WebhookPolicy", "hook")
        world.delete("HarborProject", project)
        log = operator.log.read_text()

    world.delete("ConfigMap", "switch-n", wait=False)
    assert "403" not in log
    user = f"--as=system:serviceaccount:harborhook:for-{world.namespace}"
    for right in ("list secrets", "list leases", "get whp", "watch hproj", "patch hproj"):
        asked = own_cluster.kubectl("auth", "can-i", *right.split(), "--all-namespaces", user, check=False)
        assert asked.stdout.strip() == "no", right


def rights(account: str, watched: str) -> Iterator[Object]:
    """Returns the objects of docs/operations.md for the namespace team-a, adapted to this account and namespace."""
    (text,) = (block for block in blocks(OPERATIONS.read_text(), "yaml") if "kind: RoleBinding" in block)
    leases = Path(__file__).parents[2] / "manifests/base/rbac-leader-election.yaml"
    for manifest in [*yaml.safe_load_all(text), *yaml.safe_load_all(leases.read_text())]:
        for subject in manifest.get("subjects", ()):
            subject["name"] = account
        metadata = manifest["metadata"]
        if metadata.get("namespace") == "team-a":
            metadata["namespace"] = watched
        if manifest["kind"].endswith("Binding"):
            metadata["name"] = f"{metadata['name']}-{account}"
        yield manifest
