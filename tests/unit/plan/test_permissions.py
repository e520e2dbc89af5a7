"""The evidence on an account's permissions, without a write."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.connections import Principal
from harborhook.plan.permissions import PERMISSIONS, Evidence, Known, Presence, advice, known_permissions
from harness.paths import REPOSITORY

ROBOT = Principal(name="robot$ci", kind="Robot")
USER = Principal(name="dev", kind="User")
ADMIN = Principal(name="admin", kind="SystemAdmin")
NEW, OLD = (2, 16, 0), (2, 7, 4)
IN_PROJECT = frozenset(name for name, one in PERMISSIONS.items() if one.scope == "project")
DOCUMENTATION = (REPOSITORY / "docs" / "permissions.md").read_text()


def found(principal: Principal, **facts: Any) -> dict[str, Known]:
    evidence = Evidence(**{"principal": principal, "version": NEW, **facts})
    return {known.permission.name: known for known in known_permissions(evidence)}


def named(known: dict[str, Known], presence: Presence) -> set[str]:
    return {name for name, one in known.items() if one.presence is presence}


def test_a_system_administrator_has_all() -> None:
    assert named(found(ADMIN), Presence.THERE) == set(PERMISSIONS)


def test_what_harbor_lists_for_a_project_is_there_and_the_rest_is_missing() -> None:
    rights = IN_PROJECT - {"project:delete"}
    known = found(ROBOT, project="team-a", rights=rights)
    assert named(known, Presence.THERE) == rights
    assert "project:delete" in named(known, Presence.MISSING)
    assert known["project:delete"].how == "Harbor does not list it among the rights in project team-a"


def test_without_a_project_nothing_is_known_of_rights_in_projects() -> None:
    assert named(found(ROBOT), Presence.UNKNOWN) >= IN_PROJECT


def test_what_only_a_write_would_tell_of_a_robot_is_not_known() -> None:
    known = found(ROBOT, lists=["quota:list"], creation="adminonly")
    assert named(known, Presence.UNKNOWN) - IN_PROJECT == {"project:list", "project:create", "quota:update"}
    assert known["quota:list"].presence is Presence.THERE
    assert known["registry:list"].presence is Presence.MISSING


@pytest.mark.parametrize(
    ("creation", "presence"),
    [("everyone", Presence.THERE), ("adminonly", Presence.MISSING), (None, Presence.UNKNOWN)],
)
def test_who_may_make_projects_is_a_setting_for_users(creation: str | None, presence: Presence) -> None:
    assert found(USER, creation=creation)["project:create"].presence is presence


def test_a_user_who_may_make_projects_lacks_nothing_there() -> None:
    facts: dict[str, Any] = {"creation": "everyone", "project": "library", "rights": frozenset()}
    assert found(USER, **facts)["project:read"].presence is Presence.UNKNOWN
    assert found(USER, **facts, is_named=True)["project:read"].presence is Presence.MISSING


@pytest.mark.parametrize(
    ("principal", "version", "name", "said"),
    [
        (
            ROBOT,
            NEW,
            "project:read",
            "Give the robot project:read for project p, which robots can have since Harbor 2.8.",
        ),
        (ROBOT, NEW, "quota:list", "Give the robot quota:list on the system, which robots can have since Harbor 2.12."),
        (ROBOT, NEW, "notification-policy:list", "Give the robot notification-policy:list for project p."),
        (ROBOT, OLD, "project:read", "Before Harbor 2.10 no robot can have it together with the others: use a user."),
        (USER, NEW, "project:read", "Make dev a project administrator, or a system administrator of Harbor."),
        (USER, NEW, "registry:list", "This needs a system administrator or, since Harbor 2.10, a robot."),
    ],
)
def test_what_to_do_depends_on_who_it_is_and_on_the_harbor(
    principal: Principal, version: Any, name: str, said: str
) -> None:
    evidence = Evidence(principal, version, project="p", rights=frozenset())
    known = next(one for one in known_permissions(evidence) if one.permission.name == name)
    assert advice(known, evidence) == said


@pytest.mark.parametrize("name", PERMISSIONS)
def test_each_permission_is_documented(name: str) -> None:
    resource, action = name.split(":")
    lines = [line.lower() for line in DOCUMENTATION.splitlines() if line.startswith("| ")]
    assert [line for line in lines if line.startswith(f"| {resource.replace('-', ' ')}: ") and action in line]
