"""The API server fails, watches break, objects change while Harbor is slow: the same process continues and loses
nothing.

These tests have a separate cluster, Harbor and operator, since they break them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import QUICK
from harness.api_proxy import ApiProxy
from harness.control_plane import ControlPlane
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.operator_process import OperatorProcess
from harness.trail_of_the_run import shipped
from harness.world import FINALIZER, World, condition, eventually, http_target, ready_condition

REFUSED = dict.fromkeys(shipped(), "an API server that has just started again does not know the roles yet")
"""Any right that the operator has may be refused to it for a moment."""
SOON = 60.0
"""Seconds within which everything recovers after a fault, on a busy machine too; the slow fallbacks take minutes."""


@pytest.fixture
def proxy(own_cluster: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(own_cluster) as running:
        yield running


@pytest.fixture
def own_operator(own_cluster: ControlPlane, proxy: ApiProxy, tmp_path: Path) -> Iterator[OperatorProcess]:
    """It reaches the API server through the proxy, and lists again only after 15 minutes."""
    with OperatorProcess(own_cluster, tmp_path, dict(QUICK), proxy.url) as running:
        running.restart()
        yield running
        print(running.log.read_text()[-6000:])


@pytest.fixture
def faulty(own_world: World) -> World:
    return own_world


def soon(attempt: Any, complaint: str) -> None:
    eventually(attempt, lambda: complaint, SOON)


def reason(world: World, kind: str, name: str) -> str:
    return str(ready_condition(world.get(kind, name)).get("reason", ""))


# The API server


def test_after_an_outage_of_the_api_server_the_same_process_goes_on(faulty: World) -> None:
    project = faulty.project_name()
    faulty.project(project, public=False)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")
    api_server, pid = faulty.control_plane.api_server, faulty.operator.pid

    api_server.kill()
    faulty.api.put(f"/projects/{project}", json={"metadata": {"public": "true"}}).raise_for_status()
    time.sleep(20)
    api_server.start()

    soon(lambda: (faulty.harbor_project(project) or {})["metadata"]["public"] == "false", "drift is not corrected")
    faulty.project(project, public=True)
    soon(lambda: (faulty.harbor_project(project) or {})["metadata"]["public"] == "true", "a change is not seen")
    soon(lambda: reason(faulty, "HarborProject", project) == "Reconciled", "not ready again")
    assert (faulty.operator.pid, faulty.operator.running) == (pid, True)


def test_what_could_not_be_written_is_written_when_the_api_server_takes_it(faulty: World, proxy: ApiProxy) -> None:
    project = faulty.project_name()
    proxy.fail("PATCH", "/harborhook.io/", 503)
    faulty.project(project)
    faulty.policy("hook", project)
    time.sleep(12)
    assert "status" not in faulty.get("HarborProject", project)

    proxy.heal()

    soon(lambda: reason(faulty, "HarborProject", project) == "Reconciled", "the project's status is not written")
    soon(lambda: reason(faulty, "WebhookPolicy", "hook") == "Reconciled", "the policy's status is not written")
    assert faulty.get("HarborProject", project)["status"]["origin"] == "Created"


def test_a_status_that_is_refused_ends_neither_the_visits_nor_the_polls(
    faulty: World, proxy: ApiProxy, stand_in: StandIn
) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")
    proxy.fail("PATCH", "/webhookpolicies/hook/status", 422)

    faulty.policy("hook", project, description="changed")

    soon(lambda: faulty.harbor_policy(project, "hook").get("description") == "changed", "the policy is not changed")
    stand_in.clear_requests()
    polls = f"/projects/{project}/webhook/lasttrigger"
    soon(lambda: sum(polls in one.path for one in stand_in.requests()) >= 3, "the polls have ended")
    proxy.heal()
    faulty.ready("WebhookPolicy", "hook")


def test_resources_hear_of_their_connection_though_its_first_status_could_not_be_written(
    faulty: World, proxy: ApiProxy
) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.ready("HarborProject", project)
    faulty.operator.stop()
    faulty.project(project, public=True)
    # The write of the connection's first visit after the start is refused once.
    faulty.patch("ClusterHarborConnection", faulty.connection, {"status": {"harborVersion": "v0"}}, status=True)
    proxy.fail("PATCH", f"/{faulty.connection}(/status)?$", 503, times=1)

    faulty.operator.restart()

    soon(lambda: (faulty.harbor_project(project) or {})["metadata"]["public"] == "true", "the project waits for ever")


def test_what_is_made_while_etcds_disk_is_full_is_made_once_and_recorded_afterwards(
    faulty: World, own_cluster: ControlPlane
) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("ci", project)
    old = faulty.ready("WebhookPolicy", "ci")["status"]["policyID"]

    with own_cluster.full_disk():
        faulty.api.delete(f"/projects/{project}/webhook/policies/{old}").raise_for_status()
        soon(lambda: faulty.harbor_policies(project), "it is not made again")
        time.sleep(3)  # for several visits whose status is refused
        (made,) = faulty.harbor_policies(project)
        assert made["id"] != old
        assert faulty.get("WebhookPolicy", "ci")["status"]["policyID"] == old

    soon(lambda: faulty.get("WebhookPolicy", "ci")["status"]["policyID"] == made["id"], "it is not recorded")
    assert [policy["id"] for policy in faulty.harbor_policies(project)] == [made["id"]]


def test_a_stretch_of_401_costs_few_requests_and_is_survived(faulty: World, proxy: ApiProxy) -> None:
    project, pid = faulty.project_name(), faulty.operator.pid
    before = len(proxy.requests)
    proxy.fail("*", ".", 401)
    proxy.cut_watches()
    time.sleep(15)
    asked = len(proxy.requests) - before
    proxy.heal()

    faulty.project(project)

    eventually(lambda: reason(faulty, "HarborProject", project) == "Reconciled", lambda: "it does not recover", 45)
    assert (faulty.operator.pid, faulty.operator.running) == (pid, True)
    assert asked < 300


def test_kinds_that_are_not_served_yet_are_waited_for(faulty: World, proxy: ApiProxy) -> None:
    faulty.operator.stop()
    proxy.fail("GET", "/webhookpolicies", 404)
    faulty.operator.restart(wait=False)
    time.sleep(6)
    assert faulty.operator.running

    proxy.heal()
    project = faulty.project_name()
    faulty.project(project)

    soon(lambda: reason(faulty, "HarborProject", project) == "Reconciled", "it does not start")


def test_what_was_deleted_while_the_watch_was_cut_is_forgotten(faulty: World, proxy: ApiProxy) -> None:
    project = faulty.project_name()
    faulty.project("first", projectName=project, deletionPolicy="Retain")
    faulty.ready("HarborProject", "first")
    faulty.project("second", projectName=project, creationPolicy="CreateOrAdopt", deletionPolicy="Retain")
    faulty.reason("HarborProject", "second", "OwnedByOther")
    proxy.fail("GET", "/harborprojects", 503)
    proxy.cut_watches()
    time.sleep(1)
    faulty.delete("HarborProject", "first")
    # The position of the watch is too old meanwhile: kopf lists again and does not report missing objects.
    proxy.heal()
    proxy.fail("GET", "/harborprojects.*watch=true", 410, times=1)

    soon(lambda: reason(faulty, "HarborProject", "second") == "Reconciled", "the deleted one still owns the project")


def test_after_etcd_is_restored_from_a_backup_the_operator_begins_again_with_the_restored_resources(
    faulty: World, own_cluster: ControlPlane, stand_in: StandIn, tmp_path: Path
) -> None:
    kept, later = faulty.project_name("kept"), faulty.project_name("later")
    faulty.project(kept, public=False)
    faulty.policy("edited", kept, description="of the backup")
    faulty.policy("deleted", kept)
    for name in ("edited", "deleted"):
        faulty.ready("WebhookPolicy", name)
    own_cluster.back_up(tmp_path / "backup")
    for number in range(200):  # more than the servers write when they start after the restore
        faulty.config_map("unrelated", faulty.namespace, number=str(number))
    faulty.project(kept, public=True)
    faulty.policy("edited", kept, description="of later")
    faulty.project(later)
    faulty.policy("later", later)
    faulty.delete("WebhookPolicy", "deleted")
    for kind, name in (("HarborProject", kept), ("HarborProject", later), ("WebhookPolicy", "edited")):
        faulty.ready(kind, name)

    own_cluster.restore(tmp_path / "backup")

    assert faulty.operator.wait() == 1
    faulty.operator.restart()  # as Kubernetes does
    soon(lambda: (faulty.harbor_project(kept) or {})["metadata"]["public"] == "false", "the former spec is ignored")
    soon(lambda: faulty.harbor_policy(kept, "edited")["description"] == "of the backup", "the former spec is ignored")
    soon(lambda: len(faulty.harbor_policies(kept)) == 2, "the policy deleted later is not recreated")
    stand_in.clear_requests()
    faulty.reconcile_all()
    assert [one.path for one in stand_in.requests() if later in one.path] == []
    assert [policy["name"] for policy in faulty.harbor_policies(later)] == ["later"]


# Meanwhile


def test_a_deletion_during_a_slow_request_is_done_after_it(faulty: World, stand_in: StandIn) -> None:
    project = faulty.project_name()
    faulty.project(project, public=False)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")
    stand_in.set_fault({"method": "PUT", "path": "/webhook/policies/"}, times=1, delay=6)
    faulty.policy("hook", project, description="slow")
    time.sleep(2)

    faulty.delete("WebhookPolicy", "hook")

    assert faulty.harbor_policies(project) == []


def test_an_object_made_anew_during_a_slow_request_does_not_inherit(faulty: World, stand_in: StandIn) -> None:
    project = faulty.project_name()
    stand_in.set_fault({"method": "POST", "path": "/projects$"}, times=1, delay=5)
    faulty.project(project, deletionPolicy="Retain")
    time.sleep(2)
    faulty.delete("HarborProject", project)
    faulty.project(project, deletionPolicy="Retain")

    faulty.reason("HarborProject", project, "AlreadyExists")

    time.sleep(4)
    found = faulty.get("HarborProject", project)
    assert "origin" not in found["status"]
    assert "projectID" not in found["status"]


def test_what_was_made_again_but_could_not_be_recorded_is_deleted_too(faulty: World, proxy: ApiProxy) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("hook", project)
    first = faulty.ready("WebhookPolicy", "hook")["status"]["policyID"]
    proxy.fail("PATCH", "/webhookpolicies/hook", 503)
    faulty.api.delete(f"/projects/{project}/webhook/policies/{first}").raise_for_status()
    soon(lambda: faulty.harbor_policies(project), "the policy is not made again")
    assert faulty.harbor_policy(project, "hook")["id"] != first

    faulty.delete("WebhookPolicy", "hook", wait=False)
    proxy.heal()

    faulty.gone("WebhookPolicy", "hook")
    assert faulty.harbor_policies(project) == []


def test_a_restart_while_everything_is_being_deleted_lets_everything_go(faulty: World) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")
    faulty.delete("ClusterHarborConnection", faulty.connection, wait=False)
    faulty.reason("ClusterHarborConnection", faulty.connection, "InUse")
    faulty.operator.kill()
    for kind, name in (("WebhookPolicy", "hook"), ("HarborProject", project)):
        faulty.delete(kind, name, wait=False)

    faulty.operator.restart()

    for kind, name in (("WebhookPolicy", "hook"), ("HarborProject", project)):
        soon(lambda kind=kind, name=name: not faulty.exists(kind, name), f"{kind} stays")
    soon(lambda: not faulty.exists("ClusterHarborConnection", faulty.connection), "the connection stays")
    assert faulty.harbor_project(project) is None


def test_a_connection_that_is_being_deleted_notices_that_its_harbor_is_back(faulty: World, stand_in: StandIn) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.ready("HarborProject", project)
    stand_in.kill()
    faulty.until(
        "ClusterHarborConnection",
        faulty.connection,
        lambda found: ready_condition(found)["reason"] == "HarborUnreachable",
    )
    faulty.delete("ClusterHarborConnection", faulty.connection, wait=False)
    faulty.delete("HarborProject", project, wait=False)
    time.sleep(3)

    stand_in.restart()

    soon(lambda: not faulty.exists("HarborProject", project), "the project waits for ever")
    soon(lambda: not faulty.exists("ClusterHarborConnection", faulty.connection), "the connection stays")


def test_a_deletion_never_reaches_another_harbor(faulty: World, stand_in: StandIn) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")
    with StandIn.start() as sibling:
        harbor = HarborUnderTest(sibling.url, *sibling.admin, "2.16", False, sibling, None)
        other = World(faulty.control_plane, harbor, faulty.operator, faulty.namespace)
        assert other.make_project(project) == (faulty.harbor_project(project) or {})["project_id"]
        assert other.make_policy(project, "hook") == faulty.harbor_policy(project, "hook")["id"]
        # The API server's rule about url applies to each single change.
        faulty.connect(faulty.connection, url=sibling.url, aliases=[stand_in.url], suspend=True)
        faulty.connect(faulty.connection, url=sibling.url, aliases=[])
        faulty.reason("WebhookPolicy", "hook", "ConnectionChanged")

        faulty.delete("WebhookPolicy", "hook", wait=False)
        faulty.delete("HarborProject", project, wait=False)

        faulty.reason("WebhookPolicy", "hook", "ConnectionChanged")
        time.sleep(6)
        assert [policy["name"] for policy in other.harbor_policies(project)] == ["hook"]
        assert other.harbor_project(project) is not None
        for kind, name in (("WebhookPolicy", "hook"), ("HarborProject", project)):
            if faulty.exists(kind, name):
                faulty.annotate(kind, name, release="true")
                faulty.gone(kind, name)
        other.api.close()


# Ownership


def test_a_suspended_claim_keeps_nobody_from_the_name(faulty: World) -> None:
    project = faulty.project_name()
    faulty.project("squatter", projectName=project, suspend=True)
    faulty.reason("HarborProject", "squatter", "Suspended")
    time.sleep(1.1)

    faulty.project("owner", projectName=project)

    soon(lambda: reason(faulty, "HarborProject", "owner") == "Reconciled", "a suspended claim wins")


# Traces, and the end


def test_nothing_of_kopf_is_left_on_anything(faulty: World) -> None:
    project = faulty.project_name()
    faulty.secret("source", header="Bearer x")
    faulty.project(project)
    target = http_target(authHeaderFrom={"secretKeyRef": {"name": "source", "key": "header"}})
    faulty.policy("hook", project, targets=[target])
    faulty.ready("WebhookPolicy", "hook")

    things = [
        faulty.get("Secret", "source"),
        faulty.get("HarborProject", project),
        faulty.get("WebhookPolicy", "hook"),
        faulty.get("ClusterHarborConnection", faulty.connection),
    ]

    for thing in things:
        metadata = thing["metadata"]
        assert set(metadata.get("finalizers", ())) <= {FINALIZER}
        assert [name for name in metadata.get("annotations", ()) if name.startswith("kopf")] == []
        assert all(name == "harborhook.io/create-pending" for name in metadata.get("annotations", ()))
    assert condition(things[2], "Ready")["status"] == "True"


def test_taken_away_in_order_nothing_is_left_that_waits_for_the_operator(faulty: World) -> None:
    project = faulty.project_name()
    faulty.project(project)
    faulty.policy("hook", project)
    faulty.ready("WebhookPolicy", "hook")

    # First the resources, in any order, then the connections, then the operator.
    for kind, name in (("HarborProject", project), ("WebhookPolicy", "hook")):
        faulty.delete(kind, name, wait=False)
    for kind, name in (("HarborProject", project), ("WebhookPolicy", "hook")):
        faulty.gone(kind, name)
    faulty.delete("ClusterHarborConnection", faulty.connection)
    faulty.operator.stop()

    faulty.control_plane.delete_namespace(faulty.namespace)
    namespace = f"/api/v1/namespaces/{faulty.namespace}"
    eventually(lambda: not faulty.control_plane.admin.exists(namespace), lambda: "the namespace hangs")
    assert faulty.harbor_project(project) is None
    faulty.operator.restart()


PENDING = "harborhook.io/create-pending"
GRACE = 25.0
"""Less than the 30 seconds after which Kubernetes ends a pod by force."""


@pytest.mark.parametrize(
    "trouble", ["none", "slow Harbor", "Harbor hangs at the logout", "no API server", "401", "the API server hangs"]
)
def test_it_ends_in_order_within_the_grace_period(
    faulty: World, proxy: ApiProxy, stand_in: StandIn, trouble: str
) -> None:
    project = faulty.project_name()
    faulty.project(project, public=False)
    faulty.ready("HarborProject", project)
    if trouble == "slow Harbor":
        stand_in.set_fault({"path": "/projects"}, delay=25)
        faulty.project(project, public=True)
        time.sleep(1)
    if trouble == "Harbor hangs at the logout":
        stand_in.set_fault({"path": "/c/log_out"}, delay=25)
    if trouble == "no API server":
        faulty.control_plane.api_server.kill()
        time.sleep(2)
    if trouble == "401":
        proxy.fail("*", ".", 401)
        proxy.cut_watches()
        time.sleep(4)
    if trouble == "the API server hangs":
        proxy.hang()
        faulty.change_project(project, public="true")  # drift, which causes an Event
        time.sleep(3)
    started = time.monotonic()

    code = faulty.operator.end(signal.SIGTERM)

    took = time.monotonic() - started
    stand_in.clear_faults()
    proxy.heal()
    if not faulty.control_plane.api_server.running:
        faulty.control_plane.api_server.start()
    faulty.operator.restart()
    assert code == 0
    assert took < GRACE


def test_what_is_in_hand_at_the_end_is_finished_and_recorded(faulty: World, stand_in: StandIn) -> None:
    project = faulty.project_name()
    stand_in.set_fault({"method": "POST", "path": "/projects$"}, times=1, delay=3)
    faulty.project(project)
    # It is set right before the request.
    faulty.until("HarborProject", project, lambda found: PENDING in found["metadata"].get("annotations", {}))

    code = faulty.operator.end(signal.SIGTERM)

    assert code == 0
    found = faulty.get("HarborProject", project)
    assert found["status"]["projectID"] == (faulty.harbor_project(project) or {})["project_id"]
    assert ready_condition(found)["reason"] == "Reconciled"
    faulty.operator.restart()
