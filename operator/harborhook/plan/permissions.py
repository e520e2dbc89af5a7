"""The permissions that an account needs in Harbor: their purpose, and the evidence on whether the account has them.

An account can read its rights in a project from Harbor, but not its system-wide rights. Some of those can be inferred
from a list that is not refused; others only from a write, which the operator does not try.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from harborhook.api.connections import Principal
from harborhook.harbor.capabilities import FLOOR, Version, short

BOTH_LEVELS: Version = (2, 10, 0)
"""Before this version, a robot with any system permission has no project permissions."""
PROJECTS_OF_ROBOTS: Version = (2, 8, 0)
"""Before this version, no robot can read, change or delete a project, regardless of its permissions."""


@dataclass(frozen=True)
class Permission:
    name: str
    """Harbor's name for it: resource and action."""
    scope: Literal["system", "project"]
    purpose: str
    needed: bool = True
    """False: only an optional feature needs it."""
    robots_since: Version = FLOOR
    """The first Harbor that can grant it to a robot."""

    def since(self) -> str:
        """Ends a sentence that asks the user to grant it to a robot."""
        return f", which robots can have since Harbor {short(self.robots_since)}" if self.robots_since > FLOOR else ""


PERMISSIONS = {
    permission.name: permission
    for permission in (
        Permission("project:list", "system", "finding projects"),
        Permission("project:create", "system", "creating projects", needed=False),
        Permission("quota:list", "system", "changing storageQuota", needed=False, robots_since=(2, 12, 0)),
        Permission("quota:update", "system", "changing storageQuota", needed=False, robots_since=(2, 12, 0)),
        Permission("registry:list", "system", "proxyCache", needed=False),
        Permission("project:read", "project", "reading settings", robots_since=PROJECTS_OF_ROBOTS),
        Permission("project:update", "project", "changing settings", robots_since=PROJECTS_OF_ROBOTS),
        Permission(
            "project:delete",
            "project",
            "deletionPolicy Delete of projects",
            needed=False,
            robots_since=PROJECTS_OF_ROBOTS,
        ),
        Permission(
            "quota:read", "project", "the quota and the number of repositories", needed=False, robots_since=(2, 11, 0)
        ),
        Permission("notification-policy:list", "project", "finding webhook policies"),
        Permission("notification-policy:read", "project", "reading webhook policies and the results of notifications"),
        Permission("notification-policy:create", "project", "creating webhook policies"),
        Permission("notification-policy:update", "project", "changing webhook policies"),
        Permission("notification-policy:delete", "project", "deleting webhook policies"),
    )
}


class Presence(Enum):
    THERE = "there"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Known:
    """The finding on one permission, and its evidence."""

    permission: Permission
    presence: Presence
    how: str
    """The end of a sentence."""


@dataclass(frozen=True)
class Evidence:
    """The results of reading an account's rights; None: they could not be read."""

    principal: Principal
    version: Version | None
    creation: str | None = None
    """Harbor's setting for who may create projects: everyone or adminonly."""
    project: str | None = None
    """The project whose rights were read."""
    rights: frozenset[str] | None = None
    is_named: bool = False
    """Whether the user asked about this project by name."""
    lists: Collection[str] = ()
    """The lists among quota:list and registry:list that Harbor did not refuse."""

    @property
    def has_projects_of_its_own(self) -> bool:
        """A user who creates a project becomes its administrator; a robot does not."""
        return self.principal.kind == "User" and self.creation == "everyone"


def known_permissions(evidence: Evidence) -> Iterator[Known]:
    """Yields all permissions, in the order of the table."""
    for permission in PERMISSIONS.values():
        if evidence.principal.kind == "SystemAdmin":
            yield Known(permission, Presence.THERE, "a system administrator may do everything")
        elif permission.scope == "project":
            yield _in_project(permission, evidence)
        else:
            yield Known(permission, *_on_system(permission.name, evidence))


def _in_project(permission: Permission, evidence: Evidence) -> Known:
    if evidence.project is None or evidence.rights is None:
        return Known(permission, Presence.UNKNOWN, "Harbor reports it by project, and no project is visible")
    if permission.name in evidence.rights:
        return Known(permission, Presence.THERE, f"Harbor lists it among the rights in project {evidence.project}")
    how = f"Harbor does not list it among the rights in project {evidence.project}"
    if evidence.has_projects_of_its_own and not evidence.is_named:
        return Known(permission, Presence.UNKNOWN, f"{how}, but a user has every right in a project that it creates")
    return Known(permission, Presence.MISSING, how)


def _on_system(name: str, evidence: Evidence) -> tuple[Presence, str]:
    is_robot = evidence.principal.kind == "Robot"
    if name in ("quota:list", "registry:list"):
        has_it = name in evidence.lists
        return (Presence.THERE, "the list was returned") if has_it else (Presence.MISSING, "the list was refused")
    if name == "project:list" and not is_robot:
        return Presence.THERE, "a user sees the projects it is a member of, and public ones"
    if name == "project:create" and not is_robot and evidence.creation is not None:
        everybody = evidence.creation == "everyone"
        return (
            Presence.THERE if everybody else Presence.MISSING,
            f"Harbor lets {'everybody' if everybody else 'only administrators'} create projects",
        )
    if name == "quota:update" and not is_robot:
        return Presence.MISSING, "among users, only system administrators have it"
    return Presence.UNKNOWN, "only a write to Harbor would show it"


def advice(known: Known, evidence: Evidence) -> str:
    """Returns how to grant a missing permission."""
    permission = known.permission
    if evidence.principal.kind != "Robot":
        if permission.scope == "project":
            return f"Make {evidence.principal.name} a project administrator, or a system administrator of Harbor."
        return "This needs a system administrator or, since Harbor 2.10, a robot."
    if evidence.version is not None and evidence.version < max(BOTH_LEVELS, permission.robots_since):
        return (
            f"Before Harbor {short(max(BOTH_LEVELS, permission.robots_since))} no robot can have it together with the "
            "others: use a user."
        )
    level = f"for project {evidence.project}" if permission.scope == "project" else "on the system"
    return f"Give the robot {permission.name} {level}{permission.since()}."
