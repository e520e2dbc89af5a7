"""A Kubernetes control plane on this machine: etcd, an API server with RBAC and, by default, a few controllers.

A workspace (directory) gets credentials and an audit policy. etcd, API server and controllers start in this order, each
when the one before is ready. Tests use it through kubeconfigs and kubectl, and count writes in the audit log. There is
no node (harness.node is one): pods are stored, never run. All servers listen on 127.0.0.1 only.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from harness.control_plane import audit, credentials, servers
from harness.control_plane.api import Api
from harness.control_plane.audit import AuditEntry
from harness.control_plane.binaries import Binaries, find
from harness.control_plane.errors import ControlPlaneError, KubectlError, RefusedError
from harness.control_plane.go_build import Progress
from harness.control_plane.namespaces import NamespaceFinisher
from harness.control_plane.processes import Server
from harness.control_plane.servers import Paths
from harness.control_plane.waiting import poll_until
from harness.control_plane.workspace import Workspace

_TOKEN_SECONDS = 30 * 24 * 3600


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Observer(Protocol):
    """Called for every control plane of this process. If there is one, the audit log has bodies and reads too."""

    def started(self, control_plane: ControlPlane) -> None: ...
    def stopped(self, control_plane: ControlPlane) -> None:
        """Called while the directory is still there."""


class ControlPlane:
    """A running control plane. Create one with `start`, end it with `stop` or use it in a `with` statement.

    `etcd`, `api_server` and `controller_manager` are the servers, for tests that make one fail: `api_server.stop()` and
    `api_server.start()` cause an outage of the same cluster at the same address.
    """

    observer: ClassVar[Observer | None] = None

    def __init__(
        self, workspace: Workspace, binaries: Binaries, *, nodes: bool = False, finish_namespaces: bool = False
    ) -> None:
        self._workspace = workspace
        self._binaries = binaries
        self._numbers = itertools.count(1)
        self._ports = ports = servers.free_ports()

        self.paths = Paths(workspace.directory)
        self.directory: Path = workspace.directory
        self.ca_file: Path = self.paths.ca_file
        self.kubeconfig: Path = self.paths.admin_kubeconfig
        self.programs: Path = binaries.kubectl.parent
        self.url: str = f"https://127.0.0.1:{ports.api_server}"
        self._tokens = self._write_inputs()
        self._apis: list[Api] = []
        self.admin: Api = self._api(credentials.ADMIN)
        self._fence: Api = self._api(credentials.AUDIT_FENCE)

        self.etcd: Server = servers.etcd(binaries.etcd, self.paths, ports)
        self.api_server: Server = servers.api_server(binaries.kube_apiserver, self.paths, ports, self.admin)
        self.controller_manager: Server | NamespaceFinisher | None = None
        if binaries.kube_controller_manager:
            self.controller_manager = servers.controller_manager(
                binaries.kube_controller_manager, self.paths, self.admin, nodes=nodes
            )
        elif finish_namespaces:
            self.controller_manager = NamespaceFinisher(self._api(credentials.CONTROLLER_MANAGER))

    # Life

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        controllers: bool = True,
        finish_namespaces: bool = False,
        nodes: bool = False,
        progress: Progress = _to_stderr,
    ) -> ControlPlane:
        """Starts a control plane and returns when it serves requests; builds its programs if necessary (minutes, once).

        Data and logs are kept in `directory`, where the next start finds them; without one they go to a temporary
        directory that is removed at the end. Without `controllers` it starts a second sooner, is 100 MB smaller, and
        its programs can be downloaded. But then owned objects stay, and the deletion of namespaces never finishes
        unless `finish_namespaces` is set. `nodes` adds the controllers that create pods of a Deployment, for a node
        (harness.node) to run them.
        """
        binaries = find(progress, controllers=controllers)
        with ExitStack() as cleanup:
            workspace = Workspace(directory)
            cleanup.callback(workspace.close)
            control_plane = cls(workspace, binaries, nodes=nodes, finish_namespaces=finish_namespaces)
            cleanup.callback(control_plane._stop_servers)
            control_plane._start_servers()
            if cls.observer:
                cls.observer.started(control_plane)
            cleanup.pop_all()  # it has started: from here on, stop() cleans up
            return control_plane

    def stop(self) -> None:
        """Ends the servers, and removes a temporary directory."""
        self._stop_servers()
        if self.observer:
            self.observer.stopped(self)
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_servers(self) -> None:
        self.etcd.start()
        self.api_server.start()
        # Only now: a kubeconfig contains the certificate that the API server signs when it first starts.
        self._write_kubeconfig(self.paths.admin_kubeconfig, credentials.ADMIN)
        self._write_kubeconfig(self.paths.controller_manager_kubeconfig, credentials.CONTROLLER_MANAGER)
        if self.controller_manager:
            self.controller_manager.start()

    def _stop_servers(self) -> None:
        for server in (self.controller_manager, self.api_server, self.etcd):
            if server:
                server.stop()
        for api in self._apis:
            api.close()

    # Used by tests

    @property
    def admin_token(self) -> str:
        """The administrator's bearer token, for a test's own clients."""
        return self._tokens[credentials.ADMIN]

    def kubectl(
        self,
        *args: str,
        stdin: str | None = None,
        kubeconfig: Path | None = None,
        check: bool = True,
        timeout: float = 120.0,
    ) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the cluster's administrator, or with `kubeconfig`; raises KubectlError if it fails."""
        command = [str(self._binaries.kubectl), f"--kubeconfig={kubeconfig or self.kubeconfig}", *args]
        done = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, "KUBECACHEDIR": str(self.directory / "kubectl-cache")},
        )
        if check and done.returncode != 0:
            raise KubectlError(done.returncode, command, done.stdout, done.stderr)
        return done

    def apply(
        self, manifests: str | Path, *args: str, kubeconfig: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """`kubectl apply` of YAML text, a file, a directory of files, or a directory with a kustomization."""
        if isinstance(manifests, str):
            return self.kubectl("apply", "-f", "-", *args, stdin=manifests, kubeconfig=kubeconfig, check=check)
        option = "-k" if (manifests / "kustomization.yaml").exists() else "-f"
        return self.kubectl("apply", option, str(manifests), *args, kubeconfig=kubeconfig, check=check)

    def create_namespace(self, name: str) -> None:
        """Create a namespace unless it is there already."""
        self.admin.create("/api/v1/namespaces", {"metadata": {"name": name}})

    def delete_namespace(self, name: str) -> None:
        """Requests the deletion of a namespace, without waiting for its end."""
        self.admin.request("DELETE", f"/api/v1/namespaces/{name}")

    def service_account_kubeconfig(self, namespace: str, name: str, *, server: str | None = None) -> Path:
        """Returns a kubeconfig of a ServiceAccount; creates it and its namespace if necessary.

        `server` replaces the API server's address, for a proxy in between; with an http:// address the proxy has to
        encrypt. The token lasts longer than any test.
        """
        self.create_namespace(namespace)
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self.admin.create(accounts, {"metadata": {"name": name}})
        wanted = {"spec": {"expirationSeconds": _TOKEN_SECONDS}}
        granted = self.admin.request("POST", f"{accounts}/{name}/token", wanted)
        file = self.directory / f"{namespace}-{name}-{next(self._numbers)}.kubeconfig"
        return credentials.write_kubeconfig(
            file,
            server=server or self.url,
            ca_file=self.ca_file,
            token=granted["status"]["token"],
            namespace=namespace,
        )

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Simulates a full disk of etcd: it accepts no writes, and the API server answers every write with 500."""
        servers.alarm_of_etcd(self._ports, "ACTIVATE")
        try:
            yield
        finally:
            servers.alarm_of_etcd(self._ports, "DEACTIVATE")

    def back_up(self, copy: Path) -> None:
        """Copies etcd's data to a new directory. All servers are restarted for it."""
        with self._servers_down():
            shutil.copytree(self.paths.etcd, copy)

    def restore(self, copy: Path) -> None:
        """Replaces etcd's data by a copy, so that resourceVersions go back. As Kubernetes requires after that, API
        server and controllers are restarted."""
        with self._servers_down():
            shutil.rmtree(self.paths.etcd)
            shutil.copytree(copy, self.paths.etcd)

    @contextmanager
    def _servers_down(self) -> Iterator[None]:
        self._stop_servers()
        yield
        self._start_servers()

    # Counting writes

    def writes(self, user: str | None = None, since: int = 0) -> list[AuditEntry]:
        """Returns the writes answered after the position `since`, of all users or one, oldest first.

        `harness.control_plane.audit` defines a write. A ServiceAccount's user is
        `system:serviceaccount:NAMESPACE:NAME`, the administrator's `admin`.
        """
        self._let_log_catch_up()
        entries = audit.read_entries(self.paths.audit_log, since)
        return [e for e in entries if e.user != credentials.AUDIT_FENCE and user in (None, e.user)]

    def audit_position(self) -> int:
        """Returns the present end of the audit log: `writes` with it returns only later ones."""
        self._let_log_catch_up()
        return self.paths.audit_log.stat().st_size if self.paths.audit_log.exists() else 0

    def _let_log_catch_up(self) -> None:
        """Returns when the log contains all answers so far.

        The API server logs a write just after answering it. So this deletes an object that does not exist, and waits
        for its entry. It returns at once if the API server does not answer.
        """
        name = f"audit-fence-{os.getpid()}-{next(self._numbers)}"
        start = self.paths.audit_log.stat().st_size if self.paths.audit_log.exists() else 0
        try:
            self._fence.request("DELETE", f"/api/v1/namespaces/default/configmaps/{name}")
        except RefusedError:
            pass  # not found, as meant
        except OSError:
            return
        logged = poll_until(
            lambda: any(entry.name == name for entry in audit.read_entries(self.paths.audit_log, start)),
            timeout=10,
            interval=0.005,
        )
        if not logged:
            raise ControlPlaneError(f"{self.paths.audit_log} does not catch up with the API server")

    # Inputs

    def _write_inputs(self) -> dict[str, str]:
        self.paths.logs.mkdir(exist_ok=True)
        credentials.write_signing_key(self.paths.signing_key)
        self.paths.audit_policy.write_text(audit.WHOLE_POLICY if self.observer else audit.POLICY)
        return credentials.write_token_file(self.paths.tokens)

    def _write_kubeconfig(self, file: Path, user: str) -> None:
        credentials.write_kubeconfig(file, server=self.url, ca_file=self.ca_file, token=self._tokens[user])

    def _api(self, user: str) -> Api:
        self._apis.append(Api(self.url, self.ca_file, self._tokens[user]))
        return self._apis[-1]
