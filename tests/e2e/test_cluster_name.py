"""The operator's setting clusterName is changed: policies stay with their resources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import QUICK
from e2e.test_policies import change_in_ui, declare, notes
from harness.control_plane import ControlPlane
from harness.operator_process import OperatorProcess
from harness.own import standing
from harness.world import World, eventually, ready_condition


class Renamed:
    """The module's operator, which can be restarted under another name of the cluster."""

    def __init__(self, control_plane: ControlPlane, directory: Path) -> None:
        self._control_plane, self._directory = control_plane, directory
        self.running = self._start({})

    def restart(self, world: World, cluster_name: str | None, **settings: object) -> None:
        """None: the name that a cluster without the setting has, the UID of namespace kube-system."""
        self.running.stop()
        named = {} if cluster_name is None else {"cluster_name": cluster_name}
        world.operator = self.running = self._start({**named, **settings})

    def _start(self, settings: dict[str, object]) -> OperatorProcess:
        return OperatorProcess.start(self._control_plane, self._directory, **{**QUICK, **settings})


@pytest.fixture(scope="module")
def renamed(own_cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renamed]:
    found = Renamed(own_cluster, tmp_path_factory.mktemp("operator"))
    yield found
    found.running.stop()


@pytest.fixture(scope="module")
def own_operator(renamed: Renamed) -> OperatorProcess:
    return renamed.running


@pytest.fixture
def named(own_world: World, renamed: Renamed) -> World:
    """A world whose operator starts without the setting."""
    own_world.operator = renamed.running
    renamed.restart(own_world, None)
    return own_world


def creator(world: World, project: str, name: str = "ci") -> str:
    return str(world.harbor_policy(project, name)["creator"])


def until_created_by(world: World, project: str, cluster: str, name: str = "ci") -> None:
    wanted = f"harborhook/{cluster}/{world.namespace}/{name}"
    eventually(lambda: creator(world, project, name) == wanted, lambda: f"it says {creator(world, project, name)}")


def test_a_policy_stays_with_its_resource_when_the_cluster_gets_a_name_and_another_one(
    named: World, renamed: Renamed
) -> None:
    project = declare(named)
    before = named.harbor_policy(project, "ci")
    for cluster in ("west", "west-1"):
        with named.counting() as writes:
            renamed.restart(named, cluster)
            until_created_by(named, project, cluster)
            named.reconciled_since_restart(project)
        assert len(writes.harbor) == 1, "the name is written once"
        found = named.ready("WebhookPolicy", "ci")["status"]
        assert (found["policyID"], found["origin"], found["clusterName"]) == (before["id"], "Created", cluster)
    after = named.harbor_policy(project, "ci")
    assert {**after, "creator": None} == {**before, "creator": None}
    assert "Wrote the cluster's present name west-1 into webhook policy ci." in notes(named, "Updated")
    named.delete("WebhookPolicy", "ci")
    assert named.harbor_policies(project) == []


def test_a_policy_that_is_deleted_right_after_the_change_of_name_goes_from_harbor(
    named: World, renamed: Renamed
) -> None:
    project = declare(named)
    named.policy("ci", project, suspend=True)
    named.reason("WebhookPolicy", "ci", "Suspended")
    renamed.restart(named, "west")
    named.delete("WebhookPolicy", "ci")
    assert named.harbor_policies(project) == []


def test_a_policy_that_could_not_be_written_yet_keeps_its_former_name_and_its_resource(
    named: World, renamed: Renamed
) -> None:
    project = declare(named)
    before = named.harbor_policy(project, "ci")
    refusal = '{"errors":[{"code":"FORBIDDEN","message":"no"}]}'
    standing(named).set_fault({"method": "PUT", "path": "/webhook/policies/"}, status=403, body=refusal)
    renamed.restart(named, "west")
    found = named.reason("WebhookPolicy", "ci", "Forbidden")
    assert found["status"]["clusterName"] == before["creator"].split("/")[1]
    standing(named).clear_faults()
    named.ready("WebhookPolicy", "ci")
    until_created_by(named, project, "west")


def test_a_policy_made_again_in_a_crash_before_the_change_of_name_is_found(named: World, renamed: Renamed) -> None:
    project = declare(named)
    policy = named.harbor_policy(project, "ci")
    named.operator.stop()
    named.api.delete(f"/projects/{project}/webhook/policies/{policy['id']}").raise_for_status()
    again = named.make_policy(project, "ci", creator=policy["creator"])
    renamed.restart(named, "west")
    named.until("WebhookPolicy", "ci", lambda found: found["status"]["policyID"] == again, "it is not found")
    named.ready("WebhookPolicy", "ci")
    until_created_by(named, project, "west")
    assert len(named.harbor_policies(project)) == 1


@pytest.mark.parametrize("end", ["goes on", "is deleted"])
def test_what_another_cluster_has_taken_over_with_the_same_manifest_stays_with_it(
    named: World, renamed: Renamed, end: str
) -> None:
    project = declare(named)
    named.policy("ci", project, suspend=end == "is deleted")
    named.reason("WebhookPolicy", "ci", "Suspended" if end == "is deleted" else "Reconciled")
    theirs = change_in_ui(named, project, "ci", creator=f"harborhook/elsewhere/{named.namespace}/ci", enabled=False)
    renamed.restart(named, "west")
    if end == "goes on":
        found = named.reason("WebhookPolicy", "ci", "OwnedByOther")
        assert "another cluster (elsewhere)" in ready_condition(found)["message"]
    named.delete("WebhookPolicy", "ci")
    assert named.harbor_policy(project, "ci") == theirs
    (note,) = notes(named, "Released")
    assert "managed from another cluster (elsewhere)" in note


def test_a_take_over_that_was_refused_goes_on_when_harbor_takes_it(named: World) -> None:
    project = named.project_name()
    named.make_project(project)
    named.make_policy(project, "ci", creator="harborhook/elsewhere/team/ci")
    refusal = '{"errors":[{"code":"FORBIDDEN","message":"no"}]}'
    standing(named).set_fault({"method": "PUT", "path": "/webhook/policies/"}, status=403, body=refusal)
    named.policy("ci", None, projectName=project, connectionRef={"name": named.connection}, creationPolicy="Adopt")
    named.reason("WebhookPolicy", "ci", "Forbidden")
    named.annotate("WebhookPolicy", "ci", reconcile_at="again")
    named.until("WebhookPolicy", "ci", lambda found: found["status"].get("lastHandledReconcileAt") == "again")
    standing(named).clear_faults()
    named.ready("WebhookPolicy", "ci")
    assert creator(named, project).endswith(f"/{named.namespace}/ci")
