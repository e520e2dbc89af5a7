"""A cluster with the operator and a Harbor for end-to-end tests: declare, wait, observe, clean up."""

from __future__ import annotations

import copy
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import yaml

from harness import canaries
from harness.control_plane import ControlPlane, RefusedError
from harness.harbor_fixtures import HarborUnderTest
from harness.operator_process import OperatorProcess
from harness.push import delete_repository

Object = dict[str, Any]
GROUP = "harborhook.io/v1alpha1"
OPERATOR_USER = "system:serviceaccount:harborhook:harborhook"
FINALIZER = "harborhook.io/cleanup"

PLURALS = {
    "ClusterHarborConnection": "clusterharborconnections",
    "HarborConnection": "harborconnections",
    "HarborProject": "harborprojects",
    "WebhookPolicy": "webhookpolicies",
}
DEADLINE = 60.0
"""Seconds that a test waits for something that takes far less; reached only after a fault."""


@dataclass
class World:
    control_plane: ControlPlane
    harbor: HarborUnderTest
    operator: OperatorProcess
    namespace: str
    connection: str = "default"
    _unique: str = field(default_factory=lambda: secrets.token_hex(3))
    _projects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.api = httpx.Client(
            base_url=f"{self.harbor.url}/api/v2.0",
            auth=self.harbor.auth,
            headers={"X-Is-Resource-Name": "true"},
            # Harbor refuses the writes of a client that returns its session cookie without a CSRF token.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            event_hooks={"request": [canaries.OF_THE_RUN.hear]},
            verify=False,
            timeout=30,
        )

    def elsewhere(self, namespace: str) -> World:
        """Returns the same cluster, operator and Harbor with another namespace."""
        found = copy.copy(self)
        found.namespace = namespace
        return found

    # Declaring

    def project_name(self, base: str = "team") -> str:
        """Returns a name that no other test uses; the project is removed from Harbor after the test."""
        name = f"{base}-{self._unique}" if base else self._unique
        self._projects.append(name)
        return name

    def connect(self, name: str, **spec: Any) -> Object:
        """Declares a ClusterHarborConnection to the Harbor under test, with its administrator's credentials."""
        self.control_plane.create_namespace("harborhook")
        self.secret(f"{name}-credentials", "harborhook", username=self.harbor.username, password=self.harbor.password)
        reference = {"namespace": "harborhook", "name": f"{name}-credentials"}
        return self.apply(
            {
                "kind": "ClusterHarborConnection",
                "metadata": {"name": name},
                "spec": {
                    "url": self.harbor.url,
                    "allowInsecureHTTP": True,
                    "tls": {"insecureSkipVerify": True},
                    "credentialsSecretRef": reference,
                    "access": [{"namespaces": ["*"], "projects": ["*"]}],
                    **spec,
                },
            }
        )

    def project(self, name: str, **spec: Any) -> Object:
        """Declares a HarborProject `name`; unless stated otherwise its deletion deletes the project."""
        if self.connection != "default":
            spec.setdefault("connectionRef", {"name": self.connection})
        return self.apply(
            {"kind": "HarborProject", "metadata": {"name": name}, "spec": {"deletionPolicy": "Delete", **spec}}
        )

    def policy(self, name: str, project: str | None = None, **spec: Any) -> Object:
        """Declares a WebhookPolicy `name` of HarborProject `project`, with one event type and target unless stated."""
        stated: Object = {"eventTypes": ["PUSH_ARTIFACT"], "targets": [http_target()], **spec}
        if project is not None:
            stated["projectRef"] = {"name": project}
        return self.apply({"kind": "WebhookPolicy", "metadata": {"name": name}, "spec": stated})

    def secret(self, name: str, namespace: str | None = None, /, **values: str) -> None:
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        self.apply(manifest, namespace or self.namespace)

    def config_map(self, name: str, namespace: str, /, **values: str) -> None:
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": values}
        self.apply(manifest, namespace)

    def apply(self, manifest: Object, namespace: str | None = None) -> Object:
        """Creates or changes an object by strict server-side apply, as kubectl and Argo CD do."""
        body = {"apiVersion": GROUP, **manifest}
        if body["kind"] != "ClusterHarborConnection":
            body["metadata"] = {"namespace": namespace or self.namespace, **body["metadata"]}
        path = self._path(body["kind"], body["metadata"]["name"], body["metadata"].get("namespace"))
        query = "?fieldManager=test&force=true&fieldValidation=Strict"
        return self.control_plane.admin.request(
            "PATCH", path + query, body, content_type="application/apply-patch+yaml"
        )

    def apply_all(self, manifests: list[Object]) -> None:
        """Creates many objects of the namespace at once, with kubectl."""
        whole = [{"apiVersion": GROUP, **manifest} for manifest in manifests]
        self.control_plane.apply(yaml.safe_dump_all(whole), "--namespace", self.namespace)

    def annotate(self, kind: str, name: str, **annotations: str | None) -> None:
        named = {f"harborhook.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch(kind, name, {"metadata": {"annotations": named}})

    def patch(self, kind: str, name: str, patch: Object, *, status: bool = False) -> Object:
        path = self._path(kind, name) + ("/status" if status else "")
        return self.control_plane.admin.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def delete(self, kind: str, name: str, *, wait: bool = True) -> None:
        with suppress(RefusedError):
            self.control_plane.admin.request("DELETE", self._path(kind, name))
        if wait:
            self.gone(kind, name)

    # Observing

    def get(self, kind: str, name: str) -> Object:
        return self.control_plane.admin.request("GET", self._path(kind, name))

    def all(self, kind: str) -> list[Object]:
        """All objects of a kind in the namespace."""
        items = self.control_plane.admin.request("GET", self._path(kind, "").rstrip("/"))["items"]
        return list(items)

    def events(self, name: str) -> list[Object]:
        """Returns Events about the object of that name, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        items = self.control_plane.admin.request("GET", path)["items"]
        about = [item for item in items if item["regarding"]["name"] == name]
        return sorted(about, key=lambda item: str(item["eventTime"]))

    def until(self, kind: str, name: str, wanted: Callable[[Object], Any], what: str = "") -> Object:
        """Waits until `wanted` is true for the object."""
        last: Object = {}

        def look() -> Object | None:
            nonlocal last
            last = self.get(kind, name)
            return last if wanted(last) else None

        complaint = what or "not as wanted"
        found: Object = eventually(look, lambda: f"{kind} {name}: {complaint}; it is {last.get('status')}")
        return found

    def ready(self, kind: str, name: str, generation: int | None = None) -> Object:
        """Waits until the object is Ready for its present spec."""
        return self.reason(kind, name, "Reconciled", generation=generation)

    def reason(self, kind: str, name: str, reason: str, generation: int | None = None) -> Object:
        """Waits until condition Ready has that reason for the present spec."""

        def wanted(found: Object) -> bool:
            condition = ready_condition(found)
            up_to_date = condition.get("observedGeneration") == (generation or found["metadata"]["generation"])
            return condition.get("reason") == reason and up_to_date

        return self.until(kind, name, wanted, f"Ready has not become {reason}")

    def counted(self, project: str, repositories: int = 0) -> Object:
        """Waits until the status of a project has the counts of its repositories and policies, which come last."""
        policies = [item for item in self.all("WebhookPolicy") if _of_project(item, project)]
        ready = sum(ready_condition(item).get("status") == "True" for item in policies)
        summary = f"{ready}/{len(policies)}"

        def wanted(found: Object) -> bool:
            status = found["status"]
            return bool(status.get("repositoryCount") == repositories and status["webhooks"]["summary"] == summary)

        return self.until("HarborProject", project, wanted, f"no {summary} policies, {repositories} repositories")

    def gone(self, kind: str, name: str) -> None:
        eventually(lambda: not self.exists(kind, name), lambda: f"{kind} {name} is still there: {self.get(kind, name)}")

    def exists(self, kind: str, name: str) -> bool:
        return self.control_plane.admin.exists(self._path(kind, name))

    def _path(self, kind: str, name: str, namespace: str | None = None) -> str:
        space = f"/namespaces/{namespace or self.namespace}"
        if kind in ("Secret", "ConfigMap"):
            return f"/api/v1{space}/{kind.lower()}s/{name}"
        if kind == "ClusterHarborConnection":
            space = ""
        return f"/apis/{GROUP}{space}/{PLURALS[kind]}/{name}"

    # Harbor, as a user of its UI

    def harbor_project(self, name: str) -> Object | None:
        answer = self.api.get(f"/projects/{name}")
        return answer.json() if answer.status_code == 200 else None

    def harbor_policies(self, project: str) -> list[Object]:
        answer = self.api.get(f"/projects/{project}/webhook/policies", params={"page_size": 100, "sort": "id"})
        return list(answer.json()) if answer.status_code == 200 else []

    def harbor_policy(self, project: str, name: str) -> Object:
        return next(policy for policy in self.harbor_policies(project) if policy["name"] == name)

    def make_project(self, name: str, **metadata: str) -> int:
        self.api.post("/projects", json={"project_name": name, "metadata": metadata}).raise_for_status()
        found = self.harbor_project(name)
        assert found is not None
        return int(found["project_id"])

    def change_project(self, name: str, allowlist: Object | None = None, **metadata: str) -> None:
        body: Object = {"metadata": metadata} | ({} if allowlist is None else {"cve_allowlist": allowlist})
        self.api.put(f"/projects/{name}", json=body).raise_for_status()

    def quota(self, project: str) -> int | None:
        """Returns the storage limit in bytes, -1 for unlimited; None if Harbor keeps no quota."""
        summary = self.api.get(f"/projects/{project}/summary").raise_for_status().json()
        return int(summary["quota"]["hard"]["storage"]) if "quota" in summary else None

    def change_quota(self, project: str, hard: int) -> None:
        found = self.harbor_project(project)
        assert found is not None
        query = {"reference": "project", "reference_id": found["project_id"]}
        (quota,) = self.api.get("/quotas", params=query).raise_for_status().json()
        self.api.put(f"/quotas/{quota['id']}", json={"hard": {"storage": hard}}).raise_for_status()

    def make_policy(self, project: str, name: str, **fields: Any) -> int:
        body = {"name": name, "enabled": True, "event_types": ["PUSH_ARTIFACT"], "targets": [http_target()], **fields}
        answer = self.api.post(f"/projects/{project}/webhook/policies", json=body)
        answer.raise_for_status()
        return int(answer.headers["Location"].rpartition("/")[2])

    # Counting

    @contextmanager
    def counting(self) -> Iterator[Writes]:
        """Yields the operator's writes during the block: those for this test's namespace, and to its projects in
        Harbor."""
        position = self.control_plane.audit_position()
        before = len(self.harbor.stand_in.requests()) if self.harbor.stand_in else 0
        writes = Writes()
        yield writes
        for entry in self.control_plane.writes(OPERATOR_USER, since=position):
            if entry.namespace == self.namespace:
                writes.kubernetes.append(f"{entry.verb} {entry.resource}/{entry.subresource} {entry.name}")
        requests = self.harbor.stand_in.requests()[before:] if self.harbor.stand_in else []
        for request in requests:
            of_a_project = any(name in request.path for name in self._projects)
            if request.writes and (of_a_project or "/quotas/" in request.path):
                writes.harbor.append(f"{request.method} {request.path}")

    def reconcile_all(self) -> None:
        """Requests a reconcile of everything in the namespace and waits until each is done."""
        stamp = secrets.token_hex(4)
        asked = [(kind, item["metadata"]["name"]) for kind in PLURALS for item in self._mine(kind)]
        for kind, name in asked:
            self.annotate(kind, name, reconcile_at=stamp)
        for kind, name in asked:
            self.until(kind, name, lambda found: found["status"].get("lastHandledReconcileAt") == stamp)

    def reconciled_since_restart(self, project: str) -> None:
        """Waits until a restarted operator has compared everything of a project with Harbor, twice."""
        for kind in ("HarborProject", "WebhookPolicy"):
            for item in self.all(kind):
                self.ready(kind, item["metadata"]["name"])
        if self.harbor.stand_in is None:
            time.sleep(10)  # a real Harbor does not log the requests
            return
        stand_in = self.harbor.stand_in
        start = len(stand_in.requests())
        path = f"/api/v2.0/projects/{project}/webhook/policies"

        def looks() -> int:
            return sum(1 for request in stand_in.requests()[start:] if request.path == path)

        eventually(lambda: looks() >= 2, lambda: f"the operator does not look at {project}")

    def _mine(self, kind: str) -> list[Object]:
        return [] if kind == "ClusterHarborConnection" else self.all(kind)

    # Afterwards

    def clean_up(self) -> None:
        """Removes the remains of the test, in the cluster and in Harbor."""
        with closing(self.api):  # an open socket would fail the next test
            for kind in ("WebhookPolicy", "HarborProject", "HarborConnection"):
                self._delete_all(kind)
            for name in self._projects:
                self.remove_project(name)

    def _delete_all(self, kind: str) -> None:
        """Deletes all objects of a kind in the namespace; the operator releases those that it holds."""
        found = self.all(kind)
        for name in (item["metadata"]["name"] for item in found if item["metadata"].get("finalizers")):
            self.annotate(kind, name, release="true")
            self.delete(kind, name, wait=False)
        if found:  # the rest with one request: without an operator there may be a thousand
            self.control_plane.admin.request("DELETE", self._path(kind, "").rstrip("/"))

    def remove_project(self, name: str) -> None:
        """Deletes it in Harbor with all that is in it, if it is there."""
        if self.harbor_project(name) is None:
            return
        for policy in self.harbor_policies(name):
            self.api.delete(f"/projects/{name}/webhook/policies/{policy['id']}")
        repositories = self.api.get(f"/projects/{name}/repositories")
        for repository in repositories.json() if repositories.status_code == 200 else []:
            delete_repository(self.harbor.url, self.harbor.username, self.harbor.password, repository["name"])
        self.api.delete(f"/projects/{name}")


@dataclass
class Writes:
    """The result of `World.counting`."""

    kubernetes: list[str] = field(default_factory=list)
    harbor: list[str] = field(default_factory=list)


def http_target(address: str = "https://ci.example.com/hook", **fields: Any) -> Object:
    return {"type": "http", "address": address, **fields}


def header_from(secret: str, key: str = "header") -> Object:
    return {"secretKeyRef": {"name": secret, "key": key}}


def _of_project(policy: Object, project: str) -> bool:
    return bool(policy["spec"].get("projectRef", {}).get("name") == project)


def ready_condition(found: Object) -> Object:
    return condition(found, "Ready")


def condition(found: Object, kind: str) -> Object:
    conditions = (found.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def eventually(attempt: Callable[[], Any], complaint: Callable[[], str], deadline: float = DEADLINE) -> Any:
    """Returns the first true result of `attempt`; raises with the complaint if none comes."""
    end = time.monotonic() + deadline
    while True:
        found = attempt()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(complaint())
        time.sleep(0.1)
