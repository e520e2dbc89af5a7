"""`/users`, `/robots`, `/permissions` and `/projects/{p}/members`."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

from .core import Core
from .errors import HarborError, bad_request, conflict, forbidden, not_found, unauthorized
from .gojson import Model
from .http import JSON, Request, Response, Routes, created, ok, show, show_page
from .permission_tables import PROJECT_GRANTABLE, SYSTEM_GRANTABLE
from .principals import Principal
from .query import arrange, select
from .state import Record, now

_USER = Model("UserCreationReq", {"username": str, "email": str, "realname": str, "password": str, "comment": str})
_PASSWORD = Model("PasswordReq", {"old_password": str, "new_password": str})
_SYSADMIN = Model("UserSysAdminFlag", {"sysadmin_flag": bool})
_ACCESS = Model("Access", {"resource": str, "action": str, "effect": str})
_PERMISSION = Model("RobotPermission", {"kind": str, "namespace": str, "access": [_ACCESS]})
_ROBOT = Model(
    "RobotCreate",
    {
        "name": str,
        "description": str,
        "secret": str,
        "level": str,
        "disable": bool,
        "duration": int,
        "permissions": [_PERMISSION],
        "editable": bool,
        "expires_at": int,
        "id": int,
        "creation_time": str,
        "update_time": str,
    },
)
_SECRET = Model("RobotSec", {"secret": str})
_MEMBER = Model(
    "ProjectMember",
    {"role_id": int, "member_user": Model("UserEntity", {"user_id": int, "username": str})},
)
_ROLE_NAMES = {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}
_STRONG = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9]).{8,128}")


class UsersApi:
    """Users of the local database."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/users/current", self.current)
        routes.add("GET", "/users/current/permissions", self.permissions)
        routes.add("POST", "/users", self.create)
        routes.add("GET", "/users", self.list)
        routes.add("GET", "/users/{user_id}", self.get)
        routes.add("DELETE", "/users/{user_id}", self.delete)
        routes.add("PUT", "/users/{user_id}/sysadmin", self.set_sysadmin)
        routes.add("PUT", "/users/{user_id}/password", self.set_password)

    def current(self, request: Request) -> Response:
        """The caller: 401 for anonymous, 412 for a robot, 404 for a session whose user was deleted."""
        principal = request.principal
        if not principal.authenticated:
            raise unauthorized()
        if principal.kind == "robot":
            raise HarborError(412, "get current user not available for security context: robot")
        user = self._core.state.table("users").get(principal.user_id)
        if user is None:
            raise not_found(f"user {principal.user_id} not found")
        return show(_shown_user(user))

    def permissions(self, request: Request) -> Response:
        """The rights in the project of `scope=/project/<id>`."""
        if not request.principal.authenticated:
            raise unauthorized()
        scope = request.query.get("scope") or ""
        match = re.fullmatch(r"/project/(\d+)", scope)
        if not match:
            return show([])
        project = self._core.state.table("projects").get(int(match[1]))
        rows = self._core.permissions.of_project(request.principal, project)
        if not request.query.boolean("relative"):
            for row in rows:
                row["resource"] = scope if row["resource"] == "." else f"{scope}/{row['resource']}"
        return show(rows)

    def create(self, request: Request) -> Response:
        """Creates an ordinary user."""
        core = self._core
        body = request.decode("userReq", _USER)
        core.require_system(request.principal, "user", "create")
        name = body.get("username", "")
        if not _STRONG.fullmatch(body.get("password", "")):
            raise bad_request(
                "the password or secret must be longer than 8 chars with at least 1 uppercase letter, "
                "1 lowercase letter and 1 number"
            )
        if core.user_named(name) is not None:
            raise conflict(f"User {name} or email {body.get('email', '')} already exists")
        key = core.state.next_id("users")
        moment = now()
        user = {**body, "user_id": key, "sysadmin_flag": False, "admin_role_in_auth": False}
        core.state.put("users", key, user | {"creation_time": moment, "update_time": moment})
        return created(f"{request.path.rstrip('/')}/{key}")

    def list(self, request: Request) -> Response:
        """All users, newest first."""
        request.query.check_page()
        self._core.require_system(request.principal, "user", "list")
        rows = select(self._core.state.table("users").values(), request.query.filters(), ("username", "user_id"))
        rows = arrange(rows, request.query.get("sort"), ("user_id", "username"), lambda user: -user["user_id"])
        page = request.query.page([_shown_user(dict(user)) for user in rows])
        return show_page(page)

    def get(self, request: Request) -> Response:
        """One user."""
        return show(_shown_user(self._user(request, "read")))

    def delete(self, request: Request) -> Response:
        """Sessions of the user stay valid, without a user behind them."""
        user = self._user(request, "delete")
        self._core.state.delete("users", user["user_id"])
        return ok()

    def set_sysadmin(self, request: Request) -> Response:
        """Grants or revokes administration."""
        body = request.decode("sysadminFlag", _SYSADMIN)
        user = self._user(request, "update")
        flag = body.get("sysadmin_flag", False)
        self._core.state.put("users", user["user_id"], {**user, "sysadmin_flag": flag, "update_time": now()})
        return ok()

    def set_password(self, request: Request) -> Response:
        """Sessions survive it."""
        body = request.decode("password", _PASSWORD)
        key = request.integer("user_id")
        if request.principal.user_id != key:
            self._core.require_system(request.principal, "user", "update")
        user = self._existing(key)
        if not request.principal.admin and body.get("old_password") != user["password"]:
            raise forbidden("Current password is incorrect")
        changed = {**user, "password": body.get("new_password", ""), "update_time": now()}
        self._core.state.put("users", key, changed)
        return ok()

    def _user(self, request: Request, action: str) -> Record:
        key = request.integer("user_id")
        self._core.require_system(request.principal, "user", action)
        return self._existing(key)

    def _existing(self, key: int) -> Record:
        user: Record | None = self._core.state.table("users").get(key)
        if user is None:
            raise not_found(f"user {key} not found")
        return user


class RobotsApi:
    """Robots of the system and of projects."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/permissions", self.grantable)
        routes.add("POST", "/robots", self.create)
        routes.add("GET", "/robots", self.list)
        routes.add("GET", "/robots/{robot_id}", self.get)
        routes.add("PUT", "/robots/{robot_id}", self.put)
        routes.add("PATCH", "/robots/{robot_id}", self.refresh)
        routes.add("DELETE", "/robots/{robot_id}", self.delete)

    def grantable(self, request: Request) -> Response:
        """The permissions that robots can have; only administrators see the system's part."""
        if not request.principal.authenticated:
            raise unauthorized()
        offered = self._core.permissions.system_grantable()
        system = [pair for pair in SYSTEM_GRANTABLE if pair in offered]
        admin = request.principal.admin
        return show({"project": _pairs(PROJECT_GRANTABLE), "system": _pairs(tuple(system)) if admin else None})

    def create(self, request: Request) -> Response:
        """Creates a robot. Only this answer shows its secret."""
        core = self._core
        body = request.decode("robot", _ROBOT)
        self._require(request.principal, "create", body)
        self._check(body)
        name = self._full_name(body)
        if any(robot["name"] == name for robot in core.state.table("robots").values()):
            raise conflict(f"robot account {name} already exists")
        key = core.state.next_id("robots")
        moment = now()
        duration = body.get("duration", -1)
        robot: Record = {
            "creation_time": moment,
            "disable": body.get("disable", False),
            "duration": duration,
            "editable": True,
            "expires_at": -1 if duration < 0 else int(time.time()) + duration * 86400,
            "id": key,
            "level": body.get("level", ""),
            "name": name,
            "permissions": body.get("permissions", []),
            "project_id": self._project_id(body),
            "secret": body.get("secret") or secrets.token_urlsafe(24),
            "update_time": moment,
        }
        if body.get("description"):
            robot["description"] = body["description"]
        core.state.put("robots", key, robot)
        shown = {field: robot[field] for field in ("creation_time", "expires_at", "id", "name", "secret")}
        answer = show(shown)
        return Response(201, JSON, answer.body, [("Location", f"{request.path.rstrip('/')}/{key}")])

    def list(self, request: Request) -> Response:
        """Lists system robots; with `q=Level=project,ProjectID=n` those of a project."""
        core = self._core
        request.query.check_page()
        filters = request.query.filters()
        level = "project" if "Level" in filters and filters["Level"]("project") else "system"
        rows = [robot for robot in core.state.table("robots").values() if robot["level"] == level]
        if level == "project":
            rows = [robot for robot in rows if "ProjectID" not in filters or filters["ProjectID"](robot["project_id"])]
            project = _asked_project(core, filters)
            core.require(request.principal, project, "list", "robot")
        else:
            core.require_system(request.principal, "robot", "list")
        rows = select(rows, filters, ("name", "id"))
        rows = arrange(rows, request.query.get("sort"), ("id", "name", "creation_time"), lambda robot: robot["name"])
        return show_page(request.query.page([_shown_robot(dict(robot)) for robot in rows]))

    def get(self, request: Request) -> Response:
        """One robot, without its secret."""
        return show(_shown_robot(self._robot(request, "read")))

    def put(self, request: Request) -> Response:
        """Replaces description, state, duration and permissions."""
        body = request.decode("robot", _ROBOT)
        robot = self._robot(request, "update")
        self._check({**robot, **body})
        changed = {**robot, "disable": body.get("disable", False), "update_time": now()}
        for field in ("description", "duration", "permissions"):
            if field in body:
                changed[field] = body[field]
        self._core.state.put("robots", robot["id"], changed)
        return ok()

    def refresh(self, request: Request) -> Response:
        """Sets a new secret, the given one or a generated one."""
        body = request.decode("robotSec", _SECRET)
        robot = self._robot(request, "update")
        secret = body.get("secret") or secrets.token_urlsafe(24)
        self._core.state.put("robots", robot["id"], {**robot, "secret": secret, "update_time": now()})
        return show({"secret": "" if body.get("secret") else secret})

    def delete(self, request: Request) -> Response:
        """Deletes a robot."""
        robot = self._robot(request, "delete")
        self._core.state.delete("robots", robot["id"])
        return ok()

    def _robot(self, request: Request, action: str) -> Record:
        key = request.integer("robot_id")
        robot: Record | None = self._core.state.table("robots").get(key)
        if robot is None:
            if not request.principal.authenticated:
                raise unauthorized()
            raise not_found(f"robot {key} not found")
        self._require(request.principal, action, robot)
        return robot

    def _require(self, principal: Principal, action: str, body: Record) -> None:
        if body.get("level") == "project" and not principal.admin:
            project = self._core.state.table("projects").get(self._project_id(body))
            self._core.require(principal, project, action, "robot")
        else:
            self._core.require_system(principal, "robot", action)

    def _project_id(self, body: Record) -> int:
        if body.get("level") != "project" or not body.get("permissions"):
            return 0
        project = self._core.state.project_named(body["permissions"][0].get("namespace", ""))
        return int(project["project_id"]) if project else 0

    def _full_name(self, body: Record) -> str:
        prefix = self._core.configuration("robot_name_prefix")
        if body.get("level") == "project":
            return f"{prefix}{body['permissions'][0]['namespace']}+{body.get('name', '')}"
        return f"{prefix}{body.get('name', '')}"

    def _check(self, body: Record) -> None:
        if body.get("level") not in ("system", "project"):
            raise bad_request(f"bad request error level input: {body.get('level', '')}")
        if not body.get("permissions"):
            raise bad_request("bad request empty permission")
        for grant in body["permissions"]:
            for access in grant.get("access", []):
                resource, action = access.setdefault("resource", ""), access.setdefault("action", "")
                if not self._core.permissions.grantable(grant.get("kind", ""), resource, action):
                    raise bad_request(f"bad request permission: {resource}:{action}")


class MembersApi:
    """Members of projects."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        base = "/projects/{project_name_or_id}/members"
        routes.add("GET", base, self.list)
        routes.add("POST", base, self.create)
        routes.add("GET", f"{base}/{{mid}}", self.get)
        routes.add("PUT", f"{base}/{{mid}}", self.put)
        routes.add("DELETE", f"{base}/{{mid}}", self.delete)

    def list(self, request: Request) -> Response:
        """All members."""
        request.query.check_page()
        project = self._core.project(request, "list", "member")
        members = self._core.state.table("members").values()
        rows = [self._shown(row) for row in members if row["project_id"] == project["project_id"]]
        return show_page(request.query.page(rows))

    def create(self, request: Request) -> Response:
        """Adds a user with a role."""
        body = request.decode("projectMember", _MEMBER)
        project = self._core.project(request, "create", "member")
        named = body.get("member_user", {})
        user = self._core.user_named(named.get("username", "")) or self._core.state.table("users").get(
            named.get("user_id", 0)
        )
        if user is None:
            raise not_found(f"user {named.get('username', '')} not found")
        if self._core.state.role(project["project_id"], user["user_id"]) is not None:
            raise conflict(f"project member already exist with {user['username']}")
        key = self._core.add_member(project["project_id"], user["user_id"], body.get("role_id", 0))
        return created(f"{request.path.rstrip('/')}/{key}")

    def get(self, request: Request) -> Response:
        """One member."""
        return show(self._shown(self._member(request, "read")))

    def put(self, request: Request) -> Response:
        """Changes the role."""
        body = request.decode("role", Model("RoleRequest", {"role_id": int}))
        member = self._member(request, "update")
        self._core.state.put("members", member["id"], {**member, "role_id": body.get("role_id", 0)})
        return ok()

    def delete(self, request: Request) -> Response:
        """Removes a member."""
        member = self._member(request, "delete")
        self._core.state.delete("members", member["id"])
        return ok()

    def _member(self, request: Request, action: str) -> Record:
        key = request.integer("mid")
        project = self._core.project(request, action, "member")
        member: Record | None = self._core.state.table("members").get(key)
        if member is None or member["project_id"] != project["project_id"]:
            raise not_found(f"project member {key} not found")
        return member

    def _shown(self, member: Record) -> Record:
        user = self._core.state.table("users").get(member["entity_id"], {})
        return {
            "entity_id": member["entity_id"],
            "entity_name": user.get("username", ""),
            "entity_type": "u",
            "id": member["id"],
            "project_id": member["project_id"],
            "role_id": member["role_id"],
            "role_name": _ROLE_NAMES.get(member["role_id"], ""),
        }


def _shown_user(user: Record) -> Record:
    found = {key: value for key, value in user.items() if key != "password" and value != ""}
    return dict(sorted(found.items()))


def _shown_robot(robot: Record) -> Record:
    found = {key: value for key, value in robot.items() if key not in ("secret", "project_id")}
    return dict(sorted(found.items()))


def _pairs(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"action": action, "resource": resource} for resource, action in pairs]


def _asked_project(core: Core, filters: dict[str, Any]) -> Record | None:
    wanted = filters.get("ProjectID")
    for key, project in core.state.table("projects").items():
        if wanted is not None and wanted(key):
            return dict(project)
    return None
