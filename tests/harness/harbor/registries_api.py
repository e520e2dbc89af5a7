"""`/registries`, the upstreams of proxy caches, and the deletion of repositories and artifacts."""

from __future__ import annotations

from urllib.parse import unquote

from .core import Core
from .errors import HarborError, conflict, not_found
from .gojson import Model
from .http import Request, Response, Routes, created, ok, show, show_page
from .query import arrange, select
from .state import Record, now

_CREDENTIAL = Model("RegistryCredential", {"type": str, "access_key": str, "access_secret": str})
_REGISTRY = Model(
    "Registry",
    {"name": str, "type": str, "url": str, "description": str, "insecure": bool, "credential": _CREDENTIAL},
)
_REPOSITORY = "/projects/{project_name_or_id}/repositories/{repository_name}"


class RegistriesApi:
    """Endpoints of other registries."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/registries", self.list)
        routes.add("POST", "/registries", self.create)
        routes.add("GET", "/registries/{id}", self.get)
        routes.add("PUT", "/registries/{id}", self.update)
        routes.add("DELETE", "/registries/{id}", self.delete)

    def list(self, request: Request) -> Response:
        """Needs registry:list, which most robots do not have."""
        request.query.check_page()
        self._core.require_system(request.principal, "registry", "list")
        rows = select(self._core.state.table("registries").values(), request.query.filters(), ("id", "name", "type"))
        rows = arrange(rows, request.query.get("sort"), ("id", "name"), lambda row: row["id"])
        return show_page(request.query.page(rows))

    def create(self, request: Request) -> Response:
        """Creates an endpoint without contacting it."""
        core = self._core
        body = request.decode("registry", _REGISTRY)
        core.require_system(request.principal, "registry", "create")
        name = body.get("name", "")
        if any(row["name"] == name for row in core.state.table("registries").values()):
            raise conflict(f"registry {name} already exists")
        key = core.state.next_id("registries")
        moment = now()
        shown = {
            "creation_time": moment,
            "credential": {},
            "id": key,
            "insecure": body.get("insecure", False),
            "name": name,
            "status": "healthy",
            "type": body.get("type", ""),
            "update_time": moment,
            "url": body.get("url", ""),
        }
        core.state.put("registries", key, shown)
        return created(f"{request.path.rstrip('/')}/{key}")

    def get(self, request: Request) -> Response:
        """One endpoint."""
        return show(self._registry(request, "read"))

    def update(self, request: Request) -> Response:
        """Replaces the stated fields; the id, which proxy caches refer to, stays."""
        registry = self._registry(request, "update")
        body = request.decode("registry", _REGISTRY)
        given = {key: body[key] for key in ("name", "url", "description", "insecure") if key in body}
        self._core.state.put("registries", registry["id"], {**registry, **given, "update_time": now()})
        return ok()

    def delete(self, request: Request) -> Response:
        """412 while a proxy cache project refers to it."""
        registry = self._registry(request, "delete")
        projects = self._core.state.table("projects").values()
        if any(project.get("registry_id") == registry["id"] for project in projects):
            raise HarborError(
                412, f"the registry {registry['id']} is referenced by proxy cache project, cannot delete it"
            )
        self._core.state.delete("registries", registry["id"])
        return ok()

    def _registry(self, request: Request, action: str) -> Record:
        key = request.integer("id")
        self._core.require_system(request.principal, "registry", action)
        registry: Record | None = self._core.state.table("registries").get(key)
        if registry is None:
            raise not_found(f"registry {key} not found")
        return registry


class RepositoriesApi:
    """Repositories, their artifacts and tags: listing and deletion."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/projects/{project_name_or_id}/repositories", self.list)
        routes.add("DELETE", _REPOSITORY, self.delete)
        routes.add("GET", f"{_REPOSITORY}/artifacts", self.artifacts)
        routes.add("DELETE", f"{_REPOSITORY}/artifacts/{{reference}}", self.delete_artifact)
        routes.add("DELETE", f"{_REPOSITORY}/artifacts/{{reference}}/tags/{{tag_name}}", self.delete_tag)

    def list(self, request: Request) -> Response:
        """Lists repositories."""
        request.query.check_page()
        project = self._core.project(request, "list", "repository")
        registry = self._core.registry
        return show_page(request.query.page(list(registry.repositories(project["name"])) if registry else []))

    def delete(self, request: Request) -> Response:
        """Deletes a repository with all its artifacts; one event for all."""
        project = self._core.project(request, "delete", "repository")
        name = unquote(request.params["repository_name"])
        registry = self._core.registry
        if registry is None or not registry.delete_repository(project["name"], name, request.principal.name):
            raise not_found(f"repository {project['name']}/{name} not found")
        return ok()

    def artifacts(self, request: Request) -> Response:
        """Lists digests and tags."""
        request.query.check_page()
        project = self._core.project(request, "list", "artifact")
        name = unquote(request.params["repository_name"])
        registry = self._core.registry
        rows = registry.artifacts(project["name"], name) if registry else None
        if rows is None:
            raise not_found(f"repository {project['name']}/{name} not found")
        return show_page(request.query.page(list(rows)))

    def delete_artifact(self, request: Request) -> Response:
        """Deletes an artifact by digest or tag."""
        project = self._core.project(request, "delete", "artifact")
        name = unquote(request.params["repository_name"])
        reference = request.params["reference"]
        registry = self._core.registry
        if registry is None or not registry.delete_artifact(project["name"], name, reference, request.principal.name):
            raise not_found(f"artifact {project['name']}/{name}:{reference} not found")
        return ok()

    def delete_tag(self, request: Request) -> Response:
        """Deletes a tag; the artifact stays and no event is sent."""
        project = self._core.project(request, "delete", "tag")
        name = unquote(request.params["repository_name"])
        registry = self._core.registry
        if registry is None or not registry.delete_tag(
            project["name"], name, request.params["tag_name"], request.principal.name
        ):
            raise not_found(f"tag {request.params['tag_name']} not found")
        return ok()
