"""`/projects`: the projects themselves, their summary, deletability and metadata."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from . import metadata as rules
from .capabilities import Capabilities
from .core import Core, new_project
from .errors import HarborError, bad_request, conflict, forbidden, internal, invalid, not_found, unauthorized
from .gojson import Model
from .http import Request, Response, Routes, created, ok, show, show_page
from .principals import PROJECT_ADMIN, Principal
from .query import Predicate, arrange, select
from .quota_rules import refusal
from .state import NEVER, Record

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_MAX_NAME = 255
_FILTER_KEYS = ("name", "project_id", "owner_id", "creation_time")
_SORT_KEYS = ("project_id", "name", "creation_time", "update_time", "owner_id")
_ROW_COST = 1.2
_FIRST_WRITE_SECONDS = 0.001
_SUMMARY_COST = 4.0
_CONTAINS_REPOSITORIES = "the project contains repositories, can not be deleted"
_ALLOWLIST = Model(
    "CVEAllowlist",
    {
        "id": int,
        "project_id": int,
        "expires_at": int,
        "items": [Model("CVEAllowlistItem", {"cve_id": str})],
        "creation_time": str,
        "update_time": str,
    },
)


def _body_model(capabilities: Capabilities) -> Model:
    metadata = Model("ProjectMetadata", dict.fromkeys(capabilities.metadata_keys, str))
    return Model(
        "ProjectReq",
        {
            "project_name": str,
            "public": bool,
            "metadata": metadata,
            "cve_allowlist": _ALLOWLIST,
            "storage_limit": int,
            "registry_id": int,
        },
    )


class ProjectsApi:
    """Projects."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        self._model = _body_model(core.capabilities)
        self._first_writes: set[int] = set()
        self._collisions = 0
        routes.add("POST", "/projects", self.create)
        routes.add("GET", "/projects", self.list)
        routes.add("HEAD", "/projects", self.head)
        routes.add("GET", "/projects/{project_name_or_id}", self.get)
        routes.add("PUT", "/projects/{project_name_or_id}", self.put)
        routes.add("DELETE", "/projects/{project_name_or_id}", self.delete)
        routes.add("GET", "/projects/{project_name_or_id}/summary", self.summary)
        routes.add("GET", "/projects/{project_name_or_id}/_deletable", self.deletable)
        routes.add("GET", "/projects/{project_name_or_id}/metadatas", self.metadatas)
        routes.add("POST", "/projects/{project_name_or_id}/metadatas", self.add_metadata)
        routes.add("GET", "/projects/{project_name_or_id}/metadatas/{meta_name}", self.metadata)
        routes.add("PUT", "/projects/{project_name_or_id}/metadatas/{meta_name}", self.set_metadata)
        routes.add("DELETE", "/projects/{project_name_or_id}/metadatas/{meta_name}", self.delete_metadata)

    # the collection

    def create(self, request: Request) -> Response:
        """POST checks values that PUT does not, honours `storage_limit` for some callers and ignores
        `cve_allowlist`."""
        core = self._core
        body = request.decode("project", self._model)
        name = body.get("project_name", "")
        if len(name) > _MAX_NAME:
            raise invalid("validation failure list:\nproject_name in body should be at most 255 chars long")
        self._check_creator(request.principal, body)
        storage = self._storage_limit(request.principal, body)
        metadata = self._creation_metadata(body, storage)
        _check_name(name)
        if core.state.project_named(name) is not None:
            core.state.next_id("projects")
            raise conflict(f"The project named {name} already exists")
        project = new_project(core, name, request.principal.user_id or 1, metadata)
        if "registry_id" in body:
            project["registry_id"] = body["registry_id"]
            project["metadata"] = {**metadata, "retention_id": str(core.state.next_id("retentions"))}
        core.make_project(project, storage)
        asked = name if request.flag("x-resource-name-in-location") else project["project_id"]
        return created(f"{request.path.rstrip('/')}/{asked}")

    async def list(self, request: Request) -> Response:
        """Lists by name; callers see the public projects and their own, administrators and covering robots all."""
        request.query.check_page()
        rows = [row for row in self._core.state.table("projects").values() if self._visible(request.principal, row)]
        rows = select(rows, self._filters(request), _FILTER_KEYS)
        rows = arrange(rows, request.query.get("sort"), _SORT_KEYS, lambda row: row["name"])
        page = request.query.page(rows)
        await self._core.spend(_ROW_COST * len(page.rows))
        shown = [self._shown(request.principal, row) for row in page.rows]
        return show_page(type(page)(shown, page.total, page.link))

    def head(self, request: Request) -> Response:
        """Any logged-in caller gets a true answer: 200 or 404."""
        name = request.query.last("project_name")
        if not name:
            raise invalid("project_name in query is required")
        if not request.principal.authenticated:
            raise unauthorized()
        if self._core.state.project_named(name) is None:
            raise not_found(f"project {name} not found")
        return ok()

    # one project

    def get(self, request: Request) -> Response:
        """One project."""
        project = self._core.project(request, "read")
        self._need_charts()
        return show(self._shown(request.principal, project))

    async def put(self, request: Request) -> Response:
        """Changes metadata key by key, and the CVE allowlist as a whole. Other fields of the body are ignored.

        If several requests write a project's metadata for the first time at once, some fail with 500 or 409.
        """
        body = request.decode("project", self._model)
        project = self._core.project(request, "update")
        changed = dict(project)
        if "cve_allowlist" in body:
            changed["cve_allowlist"] = _allowlist(body["cve_allowlist"], project["project_id"])
        proxy = "registry_id" in project
        given = rules.applicable(body.get("metadata", {}), proxy)
        if proxy:
            rules.check_filter(given)
        rules.check_retention(given, project["metadata"])
        if given.keys() - project["metadata"].keys():
            await self._first_write(project["project_id"])
            project = self._core.project(request, "update")
        changed["metadata"] = {**project["metadata"], **given}
        self._core.state.put("projects", project["project_id"], changed)
        return ok()

    async def _first_write(self, project_id: int) -> None:
        if project_id in self._first_writes:
            self._collisions += 1
            if self._collisions % 2:
                raise internal()
            raise conflict(f"metadata of project {project_id} already exists")
        self._first_writes.add(project_id)
        await asyncio.sleep(_FIRST_WRITE_SECONDS)
        self._first_writes.discard(project_id)

    def delete(self, request: Request) -> Response:
        """412 if it has repositories. Its webhook policies are left behind, orphaned."""
        core = self._core
        project = core.project(request, "delete")
        self._need_charts()
        if core.repo_count(project):
            raise HarborError(412, f"precondition failed: {_CONTAINS_REPOSITORIES}")
        key = project["project_id"]
        core.state.delete("projects", key)
        quota = core.state.quota_of(key)
        if quota is not None:
            core.state.delete("quotas", quota["id"])
        for table in ("members", "robots"):
            for row in [row for row in core.state.table(table).values() if row.get("project_id") == key]:
                core.state.delete(table, row["id"])
        return ok()

    async def summary(self, request: Request) -> Response:
        """Quota, administrators and repositories, as far as the caller may see them."""
        core = self._core
        project = core.project(request, "read")
        self._need_charts()
        await core.spend(_SUMMARY_COST)
        found: dict[str, Any] = {"repo_count": core.repo_count(project)}
        if core.capabilities.charts:
            found["chart_count"] = 0
        quota = core.state.quota_of(project["project_id"])
        if quota is not None and core.permissions.project(request.principal, project, "quota", "read"):
            found["quota"] = {"hard": quota["hard"], "used": quota["used"]}
        if core.permissions.project(request.principal, project, "member", "list"):
            found["project_admin_count"] = self._admins(project["project_id"])
        if "registry_id" in project:
            found["registry"] = _without_secret(core.state.table("registries").get(project["registry_id"], {}))
        return show(dict(sorted(found.items())))

    def deletable(self, request: Request) -> Response:
        """`deletable` is absent when it is false."""
        project = self._core.project(request, "delete")
        self._need_charts()
        return show({"message": _CONTAINS_REPOSITORIES} if self._core.repo_count(project) else {"deletable": True})

    # metadata

    def metadatas(self, request: Request) -> Response:
        """All metadata as stored."""
        project = self._core.project(request, "list", "metadata")
        return show(dict(sorted(project["metadata"].items())))

    def metadata(self, request: Request) -> Response:
        """One key."""
        project = self._core.project(request, "read", "metadata")
        key = request.params["meta_name"]
        return show({key: project["metadata"][key]} if key in project["metadata"] else {})

    def add_metadata(self, request: Request) -> Response:
        """Adds a key that does not exist yet."""
        body = request.decode("metadata", {str: str})
        project = self._core.project(request, "create", "metadata")
        key, value = rules.check_single(body)
        if key in project["metadata"]:
            raise conflict(f"metadata {key} already exists for project {project['project_id']}")
        return self._write_metadata(project, {**project["metadata"], key: value})

    def set_metadata(self, request: Request) -> Response:
        """Changes the key in the path."""
        body = request.decode("metadata", {str: str})
        project = self._core.project(request, "update", "metadata")
        name = request.params["meta_name"]
        key, value = rules.check_single({name: body.get(name, "")})
        return self._write_metadata(project, {**project["metadata"], key: value})

    def delete_metadata(self, request: Request) -> Response:
        """Remove a key, even `public`."""
        project = self._core.project(request, "delete", "metadata")
        name = request.params["meta_name"]
        return self._write_metadata(project, {key: value for key, value in project["metadata"].items() if key != name})

    # helpers

    def _write_metadata(self, project: Record, metadata: dict[str, str]) -> Response:
        self._core.state.put("projects", project["project_id"], {**project, "metadata": metadata})
        return ok()

    def _check_creator(self, principal: Principal, body: dict[str, Any]) -> None:
        if not principal.authenticated:
            raise unauthorized()
        if principal.kind == "robot" and principal.robot["level"] != "system":
            raise forbidden("Only system level robot can create project")
        may = self._core.permissions.system(principal, "project", "create")
        if not may and self._core.configuration("project_creation_restriction") == "adminonly":
            raise forbidden("Only system admin can create project")
        if not may and "registry_id" in body:
            raise forbidden("Only system admin can create proxy cache project")

    def _storage_limit(self, principal: Principal, body: dict[str, Any]) -> int | None:
        if not self._core.configuration("quota_per_project_enable"):
            return None
        default = int(self._core.configuration("storage_per_project"))
        if not self._core.permissions.system(principal, "project", "create"):
            return default
        return body.get("storage_limit") or default

    def _creation_metadata(self, body: dict[str, Any], storage: int | None) -> dict[str, str]:
        proxy = "registry_id" in body
        metadata = rules.applicable(body.get("metadata", {}), proxy)
        if "public" not in metadata:
            metadata["public"] = "true" if body.get("public") else "false"
        rules.check_creation({**body.get("metadata", {}), "public": metadata["public"]}, proxy=False)
        if proxy:
            self._check_registry(body["registry_id"])
            rules.check_creation(metadata, proxy=True)
        reason = None if storage is None else refusal(storage)
        if reason:
            raise bad_request(f"bad request: {reason}")
        metadata.pop("retention_id", None)
        return metadata

    def _check_registry(self, key: int) -> None:
        if key <= 0:
            raise bad_request(f"bad request: {key} is invalid value of registry_id, it should be geater than 0")
        if key not in self._core.state.table("registries"):
            raise internal()

    def _visible(self, principal: Principal, project: Record) -> bool:
        if project["metadata"].get("public") == "true" or principal.admin:
            return True
        if principal.kind == "robot":
            listed = self._core.permissions.system(principal, "project", "list")
            return listed or self._core.permissions.covers(principal.robot, project)
        return self._core.state.role(project["project_id"], principal.user_id) is not None

    def _filters(self, request: Request) -> dict[str, Predicate]:
        filters = request.query.filters()
        name, owner, public = (request.query.get(key) for key in ("name", "owner", "public"))
        if name:
            filters["name"] = lambda value: name in value
        if owner:
            user = self._core.user_named(owner)
            filters["owner_id"] = lambda value: user is not None and value == user["user_id"]
        if public:
            wanted = bool(request.query.boolean("public"))
            ids = {
                row["project_id"]
                for row in self._core.state.table("projects").values()
                if (row["metadata"].get("public") == "true") == wanted
            }
            filters["project_id"] = lambda value: value in ids
        return filters

    def _shown(self, principal: Principal, project: Record) -> Record:
        owner = self._core.state.table("users").get(project["owner_id"], {})
        found: Record = {"chart_count": 0} if self._core.capabilities.charts else {}
        found["creation_time"] = project["creation_time"]
        role = self._role(principal, project)
        if role:
            found["current_user_role_id"] = role
        found |= {
            "current_user_role_ids": [role] if role else None,
            "cve_allowlist": {
                "creation_time": NEVER,
                "id": project["allowlist_id"],
                **project["cve_allowlist"],
                "project_id": project["project_id"],
                "update_time": NEVER,
            },
            "metadata": rules.shown(project["metadata"]),
            "name": project["name"],
            "owner_id": project["owner_id"],
            "owner_name": owner.get("username", ""),
            "project_id": project["project_id"],
        }
        if "registry_id" in project:
            found["registry_id"] = project["registry_id"]
        found["repo_count"] = self._core.repo_count(project)
        found["update_time"] = project["update_time"]
        return found

    def _role(self, principal: Principal, project: Record) -> int | None:
        if principal.kind != "user":
            return None
        return self._core.state.role(project["project_id"], principal.user_id)

    def _admins(self, project_id: int) -> int:
        members = self._core.state.table("members").values()
        return sum(row["project_id"] == project_id and row["role_id"] == PROJECT_ADMIN for row in members)

    def _need_charts(self) -> None:
        """With chartmuseum configured but down, every request that counts charts is a 500."""
        if self._core.settings.chartmuseum == "down":
            raise internal()


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= _MAX_NAME:
        raise bad_request(f"Project name {name} is illegal in length. (greater than 255 or less than 1)")
    if not _NAME.fullmatch(name):
        raise bad_request("project name is not in lower case or contains illegal characters")


def _allowlist(given: dict[str, Any], project_id: int) -> Record:
    """Replaces the former list; an empty or repeated id is a 500 and changes nothing."""
    named = given.get("project_id") or project_id
    if named != project_id:
        raise bad_request(f"project_id in cve_allowlist must be {project_id} but it's {named}")
    ids = [item.get("cve_id", "") for item in given.get("items") or []]
    if "" in ids or len(set(ids)) != len(ids):
        raise internal()
    found: Record = {"items": [{"cve_id": cve_id} for cve_id in ids]}
    if "expires_at" in given:
        found = {"expires_at": given["expires_at"], **found}
    return found


def _without_secret(registry: Record) -> Record:
    return {**registry, "credential": {}} if registry else {}
