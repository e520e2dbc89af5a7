"""Differences between versions, each on a stand-in of that version."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from contract.conftest import TARGET, Api, Browser, error_of, grant, unique
from harness.harbor.process import StandIn

EVENTS = ["PUSH_ARTIFACT"]
Start = Callable[[str], Api]


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, StandIn]]:
    """The stand-ins so far, by version."""
    found: dict[str, StandIn] = {}
    yield found
    for stand_in in found.values():
        stand_in.stop()


@pytest.fixture
def start(api_of: Callable[..., Api], running: dict[str, StandIn]) -> Start:
    """The administrator of a Harbor of some version."""

    def begin(version: str) -> Api:
        if version not in running:
            running[version] = StandIn.start(version=version)
        return api_of(running[version], version)

    return begin


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("2.16", "v2.16.0-c50c7ddd"),
        ("2.7", "v2.7.4-8693b25a"),
        ("2.2", "v2.2.0-0000abcd"),
        ("2.12.3", "v2.12.3-0000abcd"),
    ],
)
def test_a_version_is_shown_to_those_who_log_in(start: Start, version: str, shown: str) -> None:
    assert start(version).get("/systeminfo")["harbor_version"] == shown


@pytest.mark.parametrize(("version", "visible"), [("2.12.3", True), ("2.13", False)])
def test_up_to_2_12_anybody_sees_the_version(start: Start, version: str, visible: bool) -> None:
    assert ("harbor_version" in start(version).as_(None).get("/systeminfo")) is visible


@pytest.mark.parametrize(("version", "charts"), [("2.7", True), ("2.8", False)])
def test_chart_events_went_with_2_8(start: Start, version: str, charts: bool) -> None:
    api = start(version)
    events = api.get("/projects/library/webhook/events")

    body = {"name": "w", "event_types": ["UPLOAD_CHART"], "targets": [TARGET]}
    answer = api.request("POST", f"/projects/{api.project()}/webhook/policies", body)

    assert ("UPLOAD_CHART" in events["event_type"], answer.status_code == 201) == (charts, charts)
    assert ("payload_formats" in events) is not charts


def test_an_upgrade_to_2_8_takes_chart_events_out_of_policies(api_of: Callable[..., Api]) -> None:
    with StandIn.start(version="2.7") as stand_in:
        api = api_of(stand_in, "2.7")
        only = api.policy("library", name="only", event_types=["UPLOAD_CHART"])
        mixed = api.policy("library", name="mixed", event_types=["UPLOAD_CHART", "PUSH_ARTIFACT"])

        stand_in.restart(version="2.8")

        found = {policy["id"]: policy for policy in api.get("/projects/library/webhook/policies")}
    assert (found[only]["event_types"], found[only]["enabled"]) == ([], False)
    assert (found[mixed]["event_types"], found[mixed]["enabled"]) == (["PUSH_ARTIFACT"], True)


@pytest.mark.parametrize("version", ["2.3.0", "2.4.2", "2.5.1"])
def test_early_versions_take_the_id_from_the_body_and_check_no_project(start: Start, version: str) -> None:
    api = start(version)
    project = api.project()
    first, second = api.policy(project, name="one"), api.policy(project, name="two")
    other = api.project()
    path = f"/projects/{other}/webhook/policies/{first}"
    body = {"name": "changed", "event_types": EVENTS, "targets": [TARGET]}

    assert api.get(path)["name"] == "one"
    api.put(path, body)
    assert api.get(path)["name"] == "one"
    api.put(path, {**body, "id": second})
    found = {policy["id"]: policy["name"] for policy in api.get(f"/projects/{project}/webhook/policies")}
    assert found == {first: "one", second: "changed"}


@pytest.mark.parametrize("version", ["2.4.3", "2.5.2", "2.16"])
def test_others_take_it_from_the_path(start: Start, version: str) -> None:
    api = start(version)
    project = api.project()
    first, second = api.policy(project, name="one"), api.policy(project, name="two")
    body = {"id": second, "name": "changed", "event_types": EVENTS, "targets": [TARGET]}

    api.put(f"/projects/{project}/webhook/policies/{first}", body)

    found = {policy["id"]: policy["name"] for policy in api.get(f"/projects/{project}/webhook/policies")}
    assert found == {first: "changed", second: "two"}


@pytest.mark.parametrize(("version", "expected"), [("2.9", 403), ("2.10", 200)])
def test_before_2_10_a_right_on_the_system_takes_a_robot_its_projects(
    start: Start, version: str, expected: int
) -> None:
    api = start(version)
    system = grant("/", "project:list", kind="system")
    robot = api.as_(api.robot(system, grant("*", "notification-policy:list")))

    assert robot.request("GET", "/projects/library/webhook/policies").status_code == expected
    rights = robot.get("/users/current/permissions?scope=/project/1&relative=true")
    assert bool(rights) is (expected == 200)


@pytest.mark.parametrize(("version", "expected"), [("2.7", 403), ("2.8", 200)])
def test_before_2_8_no_robot_sees_a_private_project(start: Start, version: str, expected: int) -> None:
    api = start(version)
    project = api.project()
    robot = api.as_(api.robot(grant("*", "project:read", "project:update")))

    assert robot.request("GET", f"/projects/{project}").status_code == expected


@pytest.mark.parametrize(("version", "right"), [("2.10", "quota:read"), ("2.11", "quota:update")])
def test_quota_rights_came_one_by_one(start: Start, version: str, right: str) -> None:
    body = {"name": "r", "level": "system", "duration": -1, "permissions": [grant("/", right, kind="system")]}

    answer = start(version).request("POST", "/robots", body)

    assert error_of(answer) == (400, "BAD_REQUEST", f"bad request permission: {right}")


def test_executions_came_with_2_8(start: Start) -> None:
    key = (old := start("2.7")).policy("library")
    path = f"/projects/library/webhook/policies/{key}/executions"

    message = f"path /api/v2.0{path} was not found"
    assert error_of(old.request("GET", path)) == (404, "NOT_FOUND", message)
    new = start("2.8")
    assert new.get(f"/projects/library/webhook/policies/{new.policy('library')}/executions") == []


@pytest.mark.parametrize(("version", "expected"), [("2.12.3", 403), ("2.12.4", 201)])
def test_no_session_writes_in_2_12_3(start: Start, version: str, expected: int) -> None:
    api = start(version)
    with Browser(api.harbor) as browser:
        browser.login(*api.harbor.auth)
        answer = browser.request("POST", "/api/v2.0/projects", browser.token, json={"project_name": unique("p")})

    assert answer.status_code == expected
