"""`make demo CLUSTER=current`: uses the cluster of the current kubeconfig instead of starting a control plane.

It uses the cluster through kubectl alone. It changes nothing before the user has agreed, except on a cluster whose
context looks local. It refuses a cluster with Harborhook in it, and removes at the end everything that it created.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.control_plane import ControlPlaneError, KubectlError

LOCAL = re.compile(r"(^|[^a-z0-9])(kind|k3d|minikube)([^a-z0-9]|$)")
"""Contexts of local clusters for experiments."""
KINDS = ("webhookpolicies", "harborprojects", "harborconnections", "clusterharborconnections")
NAMESPACES = ("team-a", "harborhook")
_TOKEN_LIFETIME = "4h"


class CurrentCluster:
    """The part of ControlPlane that the demonstration needs. `context` is kept: a later change of the kubeconfig's
    current context has no effect."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise ControlPlaneError("CLUSTER=current needs kubectl on PATH")
        self._program = program
        self._directory = directory
        self.programs = Path(program).parent
        self.kubeconfig = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube/config")
        try:
            self.context = self._run("config", "current-context").stdout.strip()
            view = self._run("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout
        except KubectlError as error:
            raise ControlPlaneError(f"CLUSTER=current needs a kubeconfig with a current context: {error}") from None
        self._cluster: dict[str, Any] = json.loads(view)["clusters"][0]["cluster"]

    @property
    def is_local(self) -> bool:
        return LOCAL.search(self.context.lower()) is not None

    def kubectl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kubectl in the context, as its user; raises KubectlError if it fails."""
        return self._run(f"--context={self.context}", *args, check=check)

    def service_account_kubeconfig(self, namespace: str, name: str, *, server: str | None = None) -> Path:
        """Returns a kubeconfig of a ServiceAccount, valid for some hours."""
        arguments = ("create", "token", name, f"--namespace={namespace}", f"--duration={_TOKEN_LIFETIME}")
        token = self.kubectl(*arguments).stdout.strip()
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "demo",
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": "demo", "namespace": namespace}}],
            "clusters": [{"name": "demo", "cluster": {**self._cluster, **({"server": server} if server else {})}}],
            "users": [{"name": "demo", "user": {"token": token}}],
        }
        file = self._directory / f"{namespace}-{name}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(document))
        return file

    def changes(self) -> Callable[[], list[str]]:
        """Returns a function that lists the writes to our resources since this call. Without an audit log it compares
        versions."""
        before = self._versions()
        return lambda: [name for name, version in self._versions().items() if before.get(name) != version]

    def _versions(self) -> dict[str, str]:
        listed = json.loads(self.kubectl("get", ",".join(KINDS), "--all-namespaces", "--output=json").stdout)["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in listed}

    # Before and after

    def refuse_unless_empty(self) -> None:
        """Raises ControlPlaneError if the demonstration would change, and later remove, existing objects."""
        found = [f"crd/{name}.harborhook.io" for name in KINDS] + [f"namespace/{name}" for name in NAMESPACES]
        try:
            there = self.kubectl("get", *found, "--ignore-not-found", "--output=name").stdout.split()
        except KubectlError as error:
            raise ControlPlaneError(f"the cluster of context {self.context} cannot be used: {error}") from None
        if there:
            raise ControlPlaneError(
                f"the cluster of context {self.context} has {', '.join(there)} already, which the demonstration would "
                "change and delete. Use another cluster, or none: make demo without CLUSTER."
            )

    def ask(self) -> None:
        """Raises ControlPlaneError unless the cluster is local or the user agrees."""
        if self.is_local:
            return
        if not sys.stdin.isatty():
            raise ControlPlaneError(
                f"context {self.context} does not look like kind, k3d or minikube, and there is no terminal to ask on. "
                "Choose another context, or run it in a terminal."
            )
        print(
            f"This installs kinds, roles and examples of Harborhook in the cluster of context {self.context} "
            f"({self._cluster.get('server')}) and removes them at the end. Continue? [y/N] ",
            end="",
            flush=True,
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ControlPlaneError("nothing was touched")

    def clean_up(self, base: Path) -> None:
        """Removes all objects of the demonstration, without a running operator."""
        for kind in KINDS:
            for namespace, name in self._named(kind):
                place = [f"--namespace={namespace}"] if namespace else []
                self._forgive("delete", kind, name, *place, "--wait=false", "--ignore-not-found")
                self._forgive("patch", kind, name, *place, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
        self._forgive("delete", "namespace", NAMESPACES[0], "--ignore-not-found", "--timeout=90s")
        self._forgive("delete", "-k", str(base), "--ignore-not-found", "--timeout=90s")

    def _named(self, kind: str) -> list[tuple[str, str]]:
        done = self.kubectl("get", f"{kind}.harborhook.io", "--all-namespaces", "--output=json", check=False)
        if done.returncode:  # the kind is not installed
            return []
        metadata = [item["metadata"] for item in json.loads(done.stdout)["items"]]
        return [(found.get("namespace", ""), found["name"]) for found in metadata]

    def _forgive(self, *arguments: str) -> None:
        with suppress(KubectlError):
            self.kubectl(*arguments)

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = [self._program, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=200
        )
        if check and done.returncode:
            raise KubectlError(done.returncode, command, done.stdout, done.stderr)
        return done
