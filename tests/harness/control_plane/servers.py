"""The command lines of the three servers, and their checks for readiness."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from harness.control_plane.api import Api
from harness.control_plane.processes import Server

CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "clusterrole-aggregation-controller",
)


NODE_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "endpointslice-controller",
    "node-lifecycle-controller",
    "root-ca-certificate-publisher-controller",
)
"""Controllers that create objects which only a node needs."""


@dataclass(frozen=True)
class Paths:
    """The layout of a control plane's directory."""

    directory: Path

    @property
    def etcd(self) -> Path:
        return self.directory / "etcd"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    @property
    def audit_policy(self) -> Path:
        return self.directory / "audit-policy.yaml"

    @property
    def tokens(self) -> Path:
        return self.directory / "tokens.csv"

    @property
    def signing_key(self) -> Path:
        return self.directory / "service-account.key"

    @property
    def certificates(self) -> Path:
        return self.directory / "certificates"

    @property
    def ca_file(self) -> Path:
        """The API server's own certificate, followed by that of its generated authority."""
        return self.certificates / "apiserver.crt"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.directory / "admin.kubeconfig"

    @property
    def controller_manager_kubeconfig(self) -> Path:
        return self.directory / "controller-manager.kubeconfig"


@dataclass(frozen=True)
class Ports:
    """The ports of one control plane, all on 127.0.0.1."""

    etcd: int
    etcd_peers: int
    api_server: int


def free_ports() -> Ports:
    """Returns free ports.

    They lie below the range that systems use for outgoing connections, so that no such connection blocks a server that
    starts, or restarts after an outage.
    """
    free = (port for port in random.sample(range(20_000, 32_000), 1_000) if _is_free(port))
    return Ports(next(free), next(free), next(free))


def etcd(program: Path, paths: Paths, ports: Ports) -> Server:
    """The store. It skips fsync, which would be most of its work: its data need not survive a power cut."""
    client_url, peer_url = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peers}"
    command: list[str | Path] = [
        program,
        "--unsafe-no-fsync",
        f"--data-dir={paths.etcd}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--log-level=warn",
    ]
    return Server("etcd", command, log=paths.logs / "etcd.log", is_ready=_listens(ports.etcd))


def alarm_of_etcd(ports: Ports, action: Literal["ACTIVATE", "DEACTIVATE"]) -> None:
    """Sets or clears the alarm that etcd raises when it runs out of space, and that an administrator clears."""
    alarm = {"action": action, "alarm": "NOSPACE", "memberID": "1"}
    httpx.post(f"http://127.0.0.1:{ports.etcd}/v3/maintenance/alarm", json=alarm).raise_for_status()


def api_server(program: Path, paths: Paths, ports: Ports, admin: Api) -> Server:
    """The API server, with RBAC, tokens for ServiceAccounts and an audit log of writes."""
    command: list[str | Path] = [
        program,
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.api_server}",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # it would retry for ever to publish a loopback address
        f"--cert-dir={paths.certificates}",  # signs itself a certificate there
        "--service-cluster-ip-range=10.0.0.0/24",
        "--authorization-mode=RBAC",
        f"--token-auth-file={paths.tokens}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={paths.signing_key}",
        f"--service-account-key-file={paths.signing_key}",
        f"--audit-policy-file={paths.audit_policy}",
        f"--audit-log-path={paths.audit_log}",
        "--audit-log-maxsize=100000",  # MB: prevents rotation, so that positions stay valid
        "--profiling=false",
    ]

    def is_ready() -> bool:
        """Whether it reports readiness and serves the namespaces of every cluster."""
        namespaces = ("kube-system", "default")
        return (
            paths.ca_file.exists()
            and admin.answers("/readyz")
            and all(admin.answers(f"/api/v1/namespaces/{name}") for name in namespaces)
        )

    return Server("kube-apiserver", command, log=paths.logs / "kube-apiserver.log", is_ready=is_ready)


def controller_manager(program: Path, paths: Paths, admin: Api, *, nodes: bool) -> Server:
    """The controllers that deletion requires, and those for ServiceAccounts and aggregated ClusterRoles.

    With `nodes`, also those that create pods and the objects by which pods find and trust the API server.
    """
    controllers = (*CONTROLLERS, *NODE_CONTROLLERS) if nodes else CONTROLLERS
    command: list[str | Path] = [
        program,
        f"--kubeconfig={paths.controller_manager_kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--root-ca-file={paths.ca_file}",
        "--use-service-account-credentials=false",
        "--leader-elect=false",
        "--secure-port=0",  # does not listen
    ]

    def is_ready() -> bool:
        """Whether the first ServiceAccount exists, which shows that they work."""
        return admin.answers("/api/v1/namespaces/default/serviceaccounts/default")

    return Server("kube-controller-manager", command, log=paths.logs / "kube-controller-manager.log", is_ready=is_ready)


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _listens(port: int) -> Callable[[], bool]:
    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    return listens
