"""Permissions of roles and robots, and wrong credentials."""

from __future__ import annotations

import httpx
import pytest

from contract.conftest import TARGET, Api, error_of, grant, unique

BODY = {"name": "w", "event_types": ["PUSH_ARTIFACT"], "targets": [TARGET]}
PROJECT_ADMIN, DEVELOPER, MAINTAINER = 1, 2, 4


def _statuses(*answers: httpx.Response) -> list[int]:
    return [answer.status_code for answer in answers]


def _member(api: Api, project: str, role: int) -> Api:
    user = api.user()
    api.post(f"/projects/{project}/members", {"role_id": role, "member_user": {"username": user[0]}})
    return api.as_(user)


def test_wrong_credentials_are_told_by_some_requests_only(api: Api) -> None:
    name_of_user, _ = api.user()  # after a wrong password Harbor refuses the right one too, for all tests of the moment
    wrong = api.as_((name_of_user, "Wrong12345"))
    name = api.project()

    answers = [
        wrong.request("GET", path) for path in ("/users/current", f"/projects/{name}", "/projects", "/systeminfo")
    ]

    assert _statuses(*answers) == [401, 401, 200, 200]
    assert name not in [project["name"] for project in answers[2].json()]
    assert "notification_enable" not in answers[3].json()


def test_a_robot_has_no_current_user(api: Api) -> None:
    robot = api.as_(api.robot(grant("*", "project:read")))

    answer = robot.request("GET", "/users/current")

    message = "get current user not available for security context: robot"
    assert error_of(answer) == (412, "PRECONDITION", message)


@pytest.mark.parametrize(
    ("role", "expected"), [(PROJECT_ADMIN, [200, 201]), (MAINTAINER, [200, 403]), (DEVELOPER, [403, 403])]
)
def test_roles_decide_about_policies(api: Api, role: int, expected: list[int]) -> None:
    project = api.project()
    user = _member(api, project, role)
    path = f"/projects/{project}/webhook/policies"

    assert _statuses(user.request("GET", path), user.request("POST", path, BODY)) == expected


def test_system_resources_are_refused_by_name(api: Api) -> None:
    user = api.user()

    answers = [api.as_(user).request("GET", path) for path in ("/quotas", "/configurations", "/registries")]

    assert [error_of(answer) for answer in answers] == [(403, "FORBIDDEN", user[0])] * 3


def test_a_robot_may_what_it_was_given_and_no_more(api: Api) -> None:
    project = api.project()
    key = api.policy(project)
    reader = api.as_(api.robot(grant(project, "notification-policy:read")))
    path = f"/projects/{project}/webhook/policies"

    answers = _statuses(
        reader.request("GET", f"{path}/{key}"),
        reader.request("GET", f"/projects/{project}/webhook/lasttrigger"),
        reader.request("GET", f"/projects/{project}/webhook/events"),
        reader.request("GET", path),
        reader.request("POST", path, BODY),
        reader.request("DELETE", f"{path}/{key}"),
        reader.request("GET", f"/projects/{project}"),
    )

    assert answers == [200, 200, 200, 403, 403, 403, 403]


def test_a_project_right_on_every_project_leaks_to_what_is_below(api: Api) -> None:
    project = api.project()
    key = api.policy(project)
    robot = api.as_(api.robot(grant("*", "project:read", "project:update", "project:delete")))
    path = f"/projects/{project}/webhook/policies"

    answers = _statuses(
        robot.request("GET", f"{path}/{key}"), robot.request("GET", path), robot.request("DELETE", f"{path}/{key}")
    )

    assert answers == [200, 403, 200]


def test_a_robot_learns_its_rights_in_a_project(api: Api) -> None:
    project = api.project()
    project_id = api.get(f"/projects/{project}")["project_id"]
    robot = api.as_(api.robot(grant(project, "notification-policy:list", "project:read")))

    rights = robot.get(f"/users/current/permissions?scope=/project/{project_id}&relative=true")

    assert {(right["resource"], right["action"]) for right in rights} == {
        (".", "read"),
        ("notification-policy", "list"),
    }


def test_a_project_right_is_enough_for_metadata_but_not_for_the_quota(api: Api) -> None:
    project = api.project()
    project_id = api.get(f"/projects/{project}")["project_id"]
    (quota,) = api.get(f"/quotas?reference=project&reference_id={project_id}")
    credentials = api.robot(grant("*", "project:read", "project:update"))
    robot = api.as_(credentials)

    robot.put(f"/projects/{project}", {"metadata": {"auto_scan": "true"}})

    answer = robot.request("PUT", f"/quotas/{quota['id']}", {"hard": {"storage": 4096}})
    assert error_of(answer) == (403, "FORBIDDEN", credentials[0])


@pytest.mark.parametrize(
    "permission",
    [grant("/", "configuration:update", kind="system"), grant("*", "notification-policy:*"), grant("*", "nosuch:read")],
)
def test_what_is_not_offered_cannot_be_granted(api: Api, permission: dict[str, object]) -> None:
    body = {"name": unique("r"), "level": "system", "duration": -1, "permissions": [permission]}

    assert api.request("POST", "/robots", body).status_code == 400


def test_a_project_robot_makes_no_projects(api: Api) -> None:
    project = api.project()
    robot = api.as_(api.robot(grant(project, "notification-policy:list"), level="project"))

    answer = robot.request("POST", "/projects", {"project_name": unique("p")})

    assert answer.status_code == 403


def test_a_robot_of_a_project_that_is_gone_is_refused(api: Api) -> None:
    project = api.project()
    robot = api.as_(api.robot(grant("*", "project:read", "notification-policy:read", "notification-policy:delete")))
    assert api.request("DELETE", f"/projects/{project}").status_code == 200

    answers = _statuses(
        robot.request("GET", f"/projects/{project}"), robot.request("DELETE", f"/projects/{project}/webhook/policies/1")
    )

    assert answers == [403, 403]
