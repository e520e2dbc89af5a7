"""Runs the receivers that `harness.receiver_programs` built as processes, on a control plane of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from harness.control_plane import ControlPlane
from harness.control_plane.processes import Server
from harness.control_plane.waiting import poll_until
from harness.operator_process import free_port
from harness.receiver_programs import FLUX, TEKTON
from harness.world import Object


@contextmanager
def flux(control_plane: ControlPlane, log: Path) -> Iterator[str]:
    """Runs notification-controller with its CRDs and administrator rights; yields the address of its receivers."""
    repositories = kind_of("OCIRepository", "source.toolkit.fluxcd.io", "v1")
    install(control_plane, FLUX.sources() / "config/crd/bases", repositories)
    receivers, health, events, metrics = (f"127.0.0.1:{free_port()}" for _ in range(4))
    options = {"receiverAddr": receivers, "health-addr": health, "events-addr": events, "metrics-addr": metrics}
    server = Server(
        "notification-controller",
        [os.environ[FLUX.variable], *(f"--{name}={value}" for name, value in options.items())],
        log=log,
        is_ready=lambda: answers(f"http://{health}/readyz", 200),
        environment=environment(control_plane.kubeconfig),
    )
    with running(server):
        yield f"http://{receivers}"


@contextmanager
def tekton(control_plane: ControlPlane, namespace: str, listener: Object, account: str, log: Path) -> Iterator[str]:
    """Runs the sink of an EventListener and the core interceptors on a cluster with Tekton's CRDs; yields the sink's
    address.

    Tekton's controller would run the sink in a pod, under the ServiceAccount `account`.
    """
    port, interceptors = free_port(), free_port()
    cel = {"apiVersion": "triggers.tekton.dev/v1alpha1", "kind": "ClusterInterceptor", "metadata": {"name": "cel"}}
    control_plane.apply(
        yaml.safe_dump({**cel, "spec": {"clientConfig": {"url": f"http://127.0.0.1:{interceptors}/cel"}}})
    )
    server = Server(
        "tekton",
        [os.environ[TEKTON.variable], "listen", namespace, listener["metadata"]["name"]],
        log=log,
        is_ready=lambda: answers(f"http://127.0.0.1:{port}", 400),
        environment={
            **environment(control_plane.service_account_kubeconfig(namespace, account)),
            "LISTENER_PORT": str(port),
            "INTERCEPTORS_PORT": str(interceptors),
        },
    )
    with running(server):
        yield f"http://127.0.0.1:{port}"


def install_tekton(control_plane: ControlPlane) -> None:
    """Installs Tekton Triggers' CRDs and roles."""
    config = TEKTON.sources() / "config"
    runs = kind_of("PipelineRun", "tekton.dev", "v1")
    install(control_plane, *sorted(config.glob("300-*.yaml")), config / "200-clusterrole.yaml", runs)


def install(control_plane: ControlPlane, *manifests: Path | str) -> None:
    """Applies another project's CRDs and roles, and waits until the API server serves all kinds."""
    for manifest in manifests:
        control_plane.apply(manifest, "--server-side")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    crds = control_plane.admin.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    paths = [
        f"/apis/{crd['spec']['group']}/{version['name']}/{crd['spec']['names']['plural']}"
        for crd in crds
        for version in crd["spec"]["versions"]
        if version["served"]
    ]
    assert poll_until(lambda: all(map(control_plane.admin.answers, paths)), timeout=30, interval=0.1)


def kind_of(kind: str, group: str, version: str) -> str:
    """Returns a CRD that accepts any content, for kinds whose objects only have to exist."""
    plural = {"OCIRepository": "ocirepositories", "PipelineRun": "pipelineruns"}[kind]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural},
                "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
    )


@contextmanager
def running(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.stop()
        print(server.log.read_text()[-6000:])  # pytest shows it if the test fails


def environment(kubeconfig: Path) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(kubeconfig)}


def answers(url: str, status: int) -> bool:
    try:
        return httpx.request("GET", url, trust_env=False, timeout=5).status_code == status
    except httpx.TransportError:
        return False
