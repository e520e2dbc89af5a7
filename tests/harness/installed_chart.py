"""The chart installed in a control plane by Helm, with a running operator.

There is no node, so the operator runs outside the cluster, but with the arguments and variables of its Deployment, the
ServiceAccount and the roles of the release.
"""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.chart import NAMESPACE, RELEASE, Object, Values
from harness.chart_files import CHART
from harness.control_plane import ControlPlane, RefusedError
from harness.harbor_fixtures import HarborUnderTest
from harness.helm import Helm
from harness.operator_process import SOURCE, OperatorProcess
from harness.world import GROUP, PLURALS, World, eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
QUICK: Values = {
    "driftInterval": 2,
    "pollInterval": 1,
    "openPollInterval": 0.5,
    "statusInterval": 2,
    "connectionInterval": 5,
}


@dataclass
class Cluster:
    """A separate control plane, since a release owns cluster-scoped objects."""

    control_plane: ControlPlane
    helm: Helm
    harbor: HarborUnderTest
    directory: Path
    _stack: ExitStack

    def install(self, values: Values | None = None, command: str = "install", chart: Path = CHART) -> str:
        """Installs or upgrades the release; returns Helm's notes."""
        place = ("--namespace", NAMESPACE, "--create-namespace", "--values", "-")
        whole = {"settings": QUICK, **(values or {})}
        said = self.helm(command, RELEASE, chart, *place, stdin=json.dumps(whole)).stdout
        self.until_kinds_are_served()
        return said

    def uninstall(self) -> str:
        return self.helm("uninstall", RELEASE, "--namespace", NAMESPACE).stdout

    def in_release(self) -> set[str]:
        """Returns the kinds of the objects that Helm counts to the release."""
        manifest = self.helm("get", "manifest", RELEASE, "--namespace", NAMESPACE).stdout
        return {line.removeprefix("kind: ") for line in manifest.splitlines() if line.startswith("kind: ")}

    def operate(self, namespace: str = NAMESPACE, name: str = RELEASE, package: Path = SOURCE) -> OperatorProcess:
        """Starts the operator that the Deployment of the release describes, from these sources or a wheel."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        deployment = self.control_plane.admin.request("GET", path)
        operator = OperatorProcess.of_deployment(self.control_plane, self.directory, deployment, package)
        return self._stack.enter_context(operator)

    def world(self, operator: OperatorProcess, namespace: str) -> World:
        self.control_plane.create_namespace(namespace)
        world = World(self.control_plane, self.harbor, operator, namespace)
        self._stack.callback(world.api.close)
        return world

    def credentials(self) -> None:
        """Creates the Secret that a connection of the chart refers to."""
        self.control_plane.create_namespace(NAMESPACE)
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "harbor"}}
        secret["stringData"] = {"username": self.harbor.username, "password": self.harbor.password}
        self.control_plane.apply(json.dumps(secret), "--namespace", NAMESPACE)

    def connection(self, **values: Any) -> Values:
        """Returns values for a connection to the Harbor of the tests."""
        stated: Values = {
            "create": True,
            "url": self.harbor.url,
            "allowInsecureHTTP": True,
            "tls": {"insecureSkipVerify": True},
            "credentials": {"existingSecret": "harbor"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        }
        return {"connection": {**stated, **values}}

    def kinds(self) -> set[str]:
        """Returns our kinds that the cluster has."""
        return {item["spec"]["names"]["kind"] for item in self.control_plane.admin.request("GET", CRDS)["items"]}

    def until_kinds_are_served(self) -> None:
        """Waits until the API server serves the existing kinds, which takes a while after a CRD is created."""
        eventually(lambda: self._resources() is not None, lambda: f"not all of {self.kinds()} are served")

    def _resources(self) -> list[str] | None:
        """Returns the paths of all resources; None if a kind is not served yet."""
        paths = []
        for plural in (PLURALS[kind] for kind in self.kinds()):
            try:
                found = self.control_plane.admin.request("GET", f"/apis/{GROUP}/{plural}")
            except RefusedError:
                return None
            for metadata in (item["metadata"] for item in found["items"]):
                place = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
                paths.append(f"/apis/{GROUP}/{place}{plural}/{metadata['name']}")
        return paths

    def remove_everything(self) -> None:
        """Removes the remains of a test: the release, resources (after their finalizers), kinds."""
        self.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found")
        self.until_kinds_are_served()
        for path in self._resources() or []:
            self.control_plane.admin.request("DELETE", path)
            with suppress(RefusedError):  # it had no finalizer
                self._patch(path, {"finalizers": None})
        self.remove_kinds()

    def remove_kinds(self) -> None:
        """Deletes the CRDs. An API server that has just begun to serve one may not finish until the CRD is changed
        again."""
        self.control_plane.admin.request("DELETE", CRDS)

        def gone() -> bool:
            for item in self.control_plane.admin.request("GET", CRDS)["items"]:
                with suppress(RefusedError):  # deleted meanwhile
                    self._patch(f"{CRDS}/{item['metadata']['name']}", {"annotations": {"t": secrets.token_hex(4)}})
            return not self.kinds()

        eventually(gone, lambda: f"these kinds stay: {self.kinds()}")

    def _patch(self, path: str, metadata: Object) -> None:
        body = {"metadata": metadata}
        self.control_plane.admin.request("PATCH", path, body, content_type="application/merge-patch+json")

    def remove_namespace(self) -> None:
        """Deletes the release's namespace and waits for its end: nothing can be created in it before."""
        path = f"/api/v1/namespaces/{NAMESPACE}"
        with suppress(RefusedError):  # it does not exist, or is being deleted
            self.control_plane.delete_namespace(NAMESPACE)
        eventually(lambda: not self.control_plane.admin.exists(path), lambda: f"{path} is still there")
