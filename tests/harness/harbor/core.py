"""Shared by all handlers: the state, the version, the permissions and helpers for them."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .capabilities import Capabilities
from .configuration_defaults import DEFAULTS
from .errors import bad_request, forbidden, internal, not_found, unauthorized
from .interfaces import Deliveries, NoDeliveries, Registry
from .principals import PROJECT_ADMIN, SELF, Permissions, Principal
from .query import int64
from .sessions import Csrf, Sessions
from .settings import Settings
from .state import Record, State, now

if TYPE_CHECKING:
    from .http import Request

NAME_ASKED = re.compile(r"[A-Za-z0-9._-]+")
_LARGEST_SERIAL = 2**31 - 1
"""Ids of projects and policies are integers in PostgreSQL: a query for a larger number fails (Harbor 2.16)."""


class Core:
    """One Harbor."""

    def __init__(self, directory: Path, capabilities: Capabilities, settings: Settings, admin_password: str) -> None:
        self.capabilities = capabilities
        self.settings = settings
        self.state = State(directory)
        self.permissions = Permissions(self.state, capabilities)
        self.sessions = Sessions(self.state)
        self.csrf = Csrf(self.state, capabilities)
        self.deliveries: Deliveries = NoDeliveries()
        self.registry: Registry | None = None
        self.external_url = ""
        self.password_hashes = 0
        self._locked: dict[str, int] = {}
        self._hashing = asyncio.Semaphore(2)
        self._seed(admin_password)
        self._upgrade()
        self.sessions.timeout = self.configuration("session_timeout") * 60.0

    # configuration

    def configuration(self, key: str) -> Any:
        """One value of the system configuration."""
        return self.state.table("configurations").get(key, DEFAULTS[key])

    # projects

    def find_project(self, request: Request) -> tuple[Record | None, int | str]:
        """Returns the project that a path names, and its identifier: digits are an id unless `X-Is-Resource-Name` is
        set."""
        text = request.params["project_name_or_id"]
        project_id = int64(text) if text.isdigit() else None
        if project_id is not None and not request.flag("x-is-resource-name"):
            return self.state.table("projects").get(project_id), project_id
        if not NAME_ASKED.fullmatch(text):
            raise bad_request(f"invalid project name: '{text}'")
        return self.state.project_named(text), text

    def project(self, request: Request, action: str, resource: str = SELF) -> Record:
        """Returns the project of a path if the caller has that right.

        A missing project is 404 for administrators, 403 for all others.
        """
        project, asked = self.find_project(request)
        self.require(request.principal, project, action, resource)
        if project is None:
            check_serial(asked)
            raise not_found(f"project {asked} not found")
        return project

    def project_id(self, request: Request, action: str, resource: str) -> int:
        """Returns the id of the project of a path. A number is returned unchecked, even if no project has it."""
        project, asked = self.find_project(request)
        self.require(request.principal, project, action, resource)
        if project is not None:
            return int(project["project_id"])
        if isinstance(asked, str):
            raise not_found(f"project {asked} not found")
        check_serial(asked)
        return asked

    def require(self, principal: Principal, project: Record | None, action: str, resource: str) -> None:
        """401 for anonymous callers, 403 for others without the right."""
        if self.permissions.project(principal, project, resource, action):
            return
        raise forbidden() if principal.authenticated else unauthorized()

    def require_system(self, principal: Principal, resource: str, action: str) -> None:
        """Like `require`, for system resources; the message of the 403 is the caller's name."""
        if not principal.authenticated:
            raise unauthorized()
        if not self.permissions.system(principal, resource, action):
            raise forbidden(principal.name)

    def repo_count(self, project: Record) -> int:
        """How many repositories a project has."""
        return self.registry.repo_count(project["name"]) if self.registry else 0

    def make_project(self, values: Record, storage_limit: int | None) -> Record:
        """Stores a project, its owner's membership and, if quotas are enabled, its quota."""
        state = self.state
        state.put("projects", values["project_id"], values)
        self.add_member(values["project_id"], values["owner_id"], PROJECT_ADMIN)
        if storage_limit is not None:
            self.make_quota(values, storage_limit)
        return values

    def make_quota(self, project: Record, storage: int) -> None:
        """A quota row; its id is not the project's."""
        key = self.state.next_id("quotas")
        moment = now()
        record = {
            "creation_time": moment,
            "hard": {"storage": storage},
            "id": key,
            "ref": {"id": project["project_id"], "name": project["name"], "owner_name": ""},
            "update_time": moment,
            "used": {"storage": 0},
        }
        self.state.put("quotas", key, record)

    def add_member(self, project_id: int, user_id: int, role: int) -> int:
        """Make a user a member of a project."""
        key = self.state.next_id("members")
        record = {"id": key, "project_id": project_id, "entity_id": user_id, "role_id": role}
        self.state.put("members", key, record)
        return key

    def charge(self, project_id: int, size: int) -> bool:
        """Counts bytes against a project's quota; returns False if they do not fit."""
        quota = self.state.quota_of(project_id)
        if quota is None:
            return True
        hard, used = quota["hard"]["storage"], quota["used"]["storage"] + size
        if size > 0 and hard >= 0 and used > hard:
            return False
        changed = {**quota, "used": {"storage": max(used, 0)}, "update_time": now()}
        self.state.put("quotas", quota["id"], changed)
        return True

    # users and robots

    def user_named(self, name: str) -> Record | None:
        """The user of that name."""
        for user in self.state.table("users").values():
            if user["username"] == name:
                return dict(user)
        return None

    async def check_password(self, name: str, password: str) -> Record | None:
        """Returns the user if the password is right.

        A wrong password takes 1.5 s; meanwhile the right one of the same user fails too.
        """
        if self._locked.get(name):
            return None
        user = self.user_named(name)
        if user is not None and self._has_password(user):
            await self._hash()
            if user["password"] == password:
                return user
        self._locked[name] = self._locked.get(name, 0) + 1
        try:
            await asyncio.sleep(self.settings.wrong_password_seconds * self.settings.time_scale)
        finally:
            self._locked[name] -= 1
        return None

    def _has_password(self, user: Record) -> bool:
        """With OIDC only the built-in administrator has a password for the API."""
        return bool(self.configuration("auth_mode") == "db_auth" or user["user_id"] == 1)

    def check_password_now(self, name: str, password: str) -> Record | None:
        """Does the same for the registry's token service, without waiting."""
        user = self.user_named(name)
        if user is None or not self._has_password(user):
            return None
        self.password_hashes += 1
        return user if user["password"] == password else None

    def robot(self, name: str, secret: str) -> Record | None:
        """Returns the robot if the secret is right and it is neither disabled nor expired."""
        for robot in self.state.table("robots").values():
            if robot["name"] == name:
                expired = 0 <= robot["expires_at"] < time.time()
                return None if robot["disable"] or expired or robot["secret"] != secret else dict(robot)
        return None

    async def _hash(self) -> None:
        self.password_hashes += 1
        if self.settings.hash_cost_ms <= 0 or not self.capabilities.slow_password_hash:
            return
        async with self._hashing:
            await asyncio.sleep(self.settings.hash_cost_ms / 1000)

    async def spend(self, milliseconds: float) -> None:
        """Waits as long as Harbor would take, if tests have enabled that."""
        if self.settings.row_costs:
            await asyncio.sleep(milliseconds / 1000)

    def _upgrade(self) -> None:
        """2.8 removed the chart events from all policies, and disabled those without other events."""
        known = set(self.capabilities.event_types)
        for policy in list(self.state.table("policies").values()):
            kept = [event_type for event_type in policy["event_types"] if event_type in known]
            if kept != policy["event_types"]:
                enabled = policy["enabled"] and bool(kept)
                self.state.put("policies", policy["id"], {**policy, "event_types": kept, "enabled": enabled})

    def _seed(self, admin_password: str) -> None:
        state = self.state
        if state.table("users"):
            return
        moment = now()
        state.reserve_id("users", 2)
        admin = {
            "admin_role_in_auth": False,
            "comment": "admin user",
            "creation_time": moment,
            "password": admin_password,
            "realname": "system admin",
            "sysadmin_flag": True,
            "update_time": moment,
            "user_id": 1,
            "username": "admin",
        }
        state.put("users", 1, admin)
        self.make_project(new_project(self, "library", 1, {"public": "true"}), -1)


def check_serial(asked: int | str) -> None:
    """Raises 500 for a number that exceeds the ids of projects and policies."""
    if isinstance(asked, int) and asked > _LARGEST_SERIAL:
        raise internal()


def new_project(core: Core, name: str, owner_id: int, metadata: dict[str, str]) -> Record:
    """A project record with the next id."""
    moment = now()
    return {
        "allowlist_id": core.state.next_id("allowlists"),
        "cve_allowlist": {"items": []},
        "creation_time": moment,
        "metadata": metadata,
        "name": name,
        "owner_id": owner_id,
        "project_id": core.state.next_id("projects"),
        "update_time": moment,
    }
