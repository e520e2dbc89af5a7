"""Callers and their rights: users with roles, robots with permissions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .capabilities import Capabilities
from .permission_tables import (
    MEMBER_ROLES,
    PROJECT_GRANTABLE,
    PROJECT_PERMISSIONS,
    PROJECT_PERMISSIONS_BEFORE_2_8,
    PUBLIC_PERMISSIONS,
    SYSTEM_GRANTABLE,
)
from .state import Record, State

PROJECT_ADMIN = 1
SELF = "."


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request."""

    kind: str
    """anonymous, user or robot."""
    name: str = ""
    user_id: int = 0
    admin: bool = False
    robot: Record = field(default_factory=dict)
    how: str = "anonymous"
    """anonymous, basic or session."""

    @property
    def authenticated(self) -> bool:
        """Whether the caller has presented valid credentials."""
        return self.kind != "anonymous"


ANONYMOUS = Principal("anonymous")


class Permissions:
    """Decides by roles, grants of robots and peculiarities of the version."""

    def __init__(self, state: State, capabilities: Capabilities) -> None:
        self._state = state
        self._capabilities = capabilities

    def system(self, principal: Principal, resource: str, action: str) -> bool:
        """Whether the caller has a right on `/`. Administrators have all, robots those granted."""
        if principal.kind == "robot":
            return any(
                _matches(access, resource, action)
                for grant in principal.robot["permissions"]
                if grant["kind"] == "system"
                for access in grant["access"]
            )
        return principal.admin

    def project(self, principal: Principal, project: Record | None, resource: str, action: str) -> bool:
        """Whether the caller has a right in a project; if that does not exist, only administrators do."""
        if principal.admin:
            return True
        if project is None:
            return False
        if principal.kind == "robot":
            return self._robot(principal.robot, project, resource, action)
        pair = (resource, action)
        if principal.kind == "user":
            role = self._state.role(project["project_id"], principal.user_id)
            if role is not None and pair in self._role(role):
                return True
        return project["metadata"].get("public") == "true" and pair in PUBLIC_PERMISSIONS

    def of_project(self, principal: Principal, project: Record | None) -> list[dict[str, str]]:
        """Returns all rights in a project, in Harbor's order: `GET /users/current/permissions`."""
        rows = PROJECT_PERMISSIONS_BEFORE_2_8 if self._capabilities.charts else PROJECT_PERMISSIONS
        return [
            {"action": action, "resource": resource}
            for resource, action in rows
            if self.project(principal, project, resource, action)
        ]

    def covers(self, robot: Record, project: Record) -> bool:
        """Whether a robot has any right on a project, and so sees it in lists."""
        return any(grant["namespace"] in ("*", project["name"]) for grant in _project_grants(robot))

    def grantable(self, kind: str, resource: str, action: str) -> bool:
        """Whether this right can be granted to a robot; up to 2.9 every one can."""
        if not self._capabilities.robot_permissions_checked:
            return True
        if kind == "system":
            return (resource, action) in self.system_grantable()
        return (resource, action) in PROJECT_GRANTABLE

    def system_grantable(self) -> frozenset[tuple[str, str]]:
        """Returns the permissions grantable on `/` in this version: quota:read came with 2.11, quota:update with
        2.12."""
        minor = self._capabilities.number[:2]
        late = {("quota", "read"): (2, 11), ("quota", "update"): (2, 12)}
        return frozenset(pair for pair in SYSTEM_GRANTABLE if minor >= late.get(pair, (0, 0)))

    def _role(self, role: int) -> frozenset[tuple[str, str]]:
        pairs = MEMBER_ROLES[role]
        if role == 4 and not self._capabilities.maintainer_reads_policies:
            return pairs - {("notification-policy", "read")}
        return pairs

    def _robot(self, robot: Record, project: Record, resource: str, action: str) -> bool:
        if self._capabilities.system_rights_void_project_rights and _has_system_rights(robot):
            return False
        if resource == SELF and not self._capabilities.robot_project_self:
            return False
        grants = [grant for grant in _project_grants(robot) if grant["namespace"] in ("*", project["name"])]
        named = "project" if resource == SELF else resource
        if any(_matches(access, named, action) for grant in grants for access in grant["access"]):
            return True
        return self._leaks(grants, action)

    def _leaks(self, grants: list[dict[str, Any]], action: str) -> bool:
        """On namespace `*` a project right matches every resource below the project as well."""
        return self._capabilities.robot_project_self and any(
            grant["namespace"] == "*" and access["resource"] == "project" and access["action"] == action
            for grant in grants
            for access in grant["access"]
        )


def _project_grants(robot: Record) -> list[dict[str, Any]]:
    return [grant for grant in robot["permissions"] if grant["kind"] == "project"]


def _has_system_rights(robot: Record) -> bool:
    return any(grant["kind"] == "system" for grant in robot["permissions"])


def _matches(access: dict[str, str], resource: str, action: str) -> bool:
    return access["resource"] in (resource, "*") and access["action"] in (action, "*")
