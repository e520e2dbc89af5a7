"""One kind of request fails while the connection works: the failure is reported on the resource and affects no
other."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from harness.own import connection, standing, until_connection
from harness.world import OPERATOR_USER, World, eventually, http_target, ready_condition

BLOCKED: dict[str, Any] = {"status": 403, "html": True, "body": "<html>Request blocked. Support ID: 4711</html>"}
PROJECTS = 4


def is_private(world: World, project: str) -> bool:
    return bool((world.harbor_project(project) or {})["metadata"]["public"] == "false")


def warnings(world: World, name: str) -> list[str]:
    return [event["reason"] for event in world.events(name) if event["type"] == "Warning"]


def test_a_firewall_that_blocks_one_body_is_reported_by_that_policy_alone(own: World) -> None:
    project = own.project_name()
    own.project(project)
    own.ready("HarborProject", project)
    before = ready_condition(connection(own))
    standing(own).set_fault({"method": "POST|PUT", "body": r"http://10\."}, **BLOCKED)

    own.policy("inside", project, targets=[http_target("http://10.1.2.3/hook")])
    own.policy("outside", project)

    found = own.reason("WebhookPolicy", "inside", "RequestFailed")
    message = ready_condition(found)["message"]
    assert "POST /api/v2.0/projects/{project}/webhook/policies was answered with 403 and text/html" in message
    assert "firewall" in message
    eventually(lambda: "RequestFailed" in warnings(own, "inside"), lambda: "no Event")
    own.ready("WebhookPolicy", "outside")
    assert ready_condition(connection(own)) == before
    standing(own).clear_faults()
    own.annotate("WebhookPolicy", "inside", reconcile_at="now")
    own.ready("WebhookPolicy", "inside")


def test_a_gateway_that_blocks_changes_and_deletions_is_reported_by_each_resource_that_needs_one(own: World) -> None:
    project, quiet = own.project_name(), own.project_name("quiet")
    for name in (project, quiet):
        own.project(name, public=False)
        own.ready("HarborProject", name)
    standing(own).set_fault({"method": "PUT|DELETE"}, **BLOCKED)

    own.project(project, public=True)

    found = own.reason("HarborProject", project, "RequestFailed")
    assert "PUT /api/v2.0/projects/{project} was answered with 403" in ready_condition(found)["message"]
    own.delete("HarborProject", project, wait=False)
    own.until("HarborProject", project, lambda item: "DELETE" in ready_condition(item)["message"], "no detail")
    assert ready_condition(own.get("HarborProject", quiet))["reason"] == "Reconciled"
    until_connection(own, "Reconciled")
    standing(own).clear_faults()
    own.gone("HarborProject", project)


@pytest.mark.parametrize("fault", [{"status": 504, "html": True}, {"close": True}])
def test_one_endpoint_without_an_answer_is_the_resources_trouble(own: World, fault: dict[str, Any]) -> None:
    project = own.project_name()
    own.project(project)
    own.ready("HarborProject", project)
    before = ready_condition(connection(own))
    standing(own).set_fault({"method": "POST", "path": "/webhook/policies"}, **fault)

    own.policy("hook", project)

    found = own.reason("WebhookPolicy", "hook", "RequestFailed")
    assert "/webhook/policies" in ready_condition(found)["message"]
    assert "The connection works otherwise" in ready_condition(found)["message"]
    eventually(lambda: "RequestFailed" in warnings(own, "hook"), lambda: "no Event")
    assert ready_condition(connection(own)) == before
    standing(own).clear_faults()


def test_a_single_request_without_an_answer_is_repeated_before_anything_is_written(own: World) -> None:
    project = own.project_name()
    own.project(project)
    own.policy("hook", project)
    own.ready("WebhookPolicy", "hook")
    position = own.control_plane.audit_position()
    standing(own).set_fault({"method": "PUT", "path": "/webhook/policies/"}, times=1, status=504, html=True)

    own.policy("hook", project, description="changed")

    own.ready("WebhookPolicy", "hook")
    assert own.harbor_policy(project, "hook")["description"] == "changed"
    written = [entry for entry in own.control_plane.writes(OPERATOR_USER, since=position) if entry.name == "hook"]
    assert [entry.subresource for entry in written if entry.resource == "webhookpolicies"] == ["status"]


@pytest.mark.parametrize("fault", [{"status": 504, "html": True}, {"close": True}])
def test_where_harbor_does_not_give_the_list_projects_are_compared_one_by_one(
    own: World, fault: dict[str, Any]
) -> None:
    names = [own.project_name(f"team{number}") for number in range(PROJECTS)]
    for name in names:
        own.project(name, public=False)
        own.ready("HarborProject", name)
        own.counted(name)
    before = ready_condition(connection(own))
    standing(own).set_fault({"method": "GET", "path": r"/projects\?page"}, **fault)
    position = own.control_plane.audit_position()

    time.sleep(6)  # three drift checks
    assert [entry for entry in own.control_plane.writes(OPERATOR_USER, since=position) if entry.name in names] == []
    for name in names:
        own.change_project(name, public="true")

    for name in names:
        eventually(partial(is_private, own, name), lambda: "the drift is not corrected")
    assert ready_condition(connection(own)) == before
    lists = [request for request in standing(own).requests() if request.path == "/api/v2.0/projects"]
    assert sum(request.method == "GET" for request in lists) < PROJECTS


def test_a_harbor_that_answers_nothing_but_the_check_is_lost_until_it_answers_again(own: World) -> None:
    names = [own.project_name(f"team{number}") for number in range(PROJECTS)]
    for name in names:
        own.project(name, public=False)
        own.ready("HarborProject", name)
    standing(own).set_fault({"path": "/api/v2.0/projects"}, close=True)
    for name in names:
        own.project(name, public=True)

    found = until_connection(own, "HarborUnreachable")
    assert "no other request" in ready_condition(found)["message"]
    for name in names:
        own.reason("HarborProject", name, "HarborUnreachable")

    standing(own).clear_faults()
    for name in names:
        own.ready("HarborProject", name)
    until_connection(own, "Reconciled")
