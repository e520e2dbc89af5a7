"""The control plane of the end-to-end tests does its job."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness.control_plane import ControlPlane, ControlPlaneError, KubectlError, RefusedError, binaries
from harness.control_plane.api import Api
from harness.control_plane.leash import watch_over
from harness.control_plane.waiting import poll_until
from harness.paths import TESTS


@pytest.mark.skipif("KUBEBUILDER_ASSETS" in os.environ, reason="the version is the one found there")
def test_it_is_kubernetes_1_34(control_plane: ControlPlane) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json").stdout)

    assert versions["serverVersion"]["gitVersion"].startswith("v1.34.")
    assert versions["serverVersion"]["minor"] == "34"


def test_everything_listens_on_the_loopback_address_only(control_plane: ControlPlane) -> None:
    commands = [*control_plane.etcd.command, *control_plane.api_server.command]
    addresses = [
        str(argument) for argument in commands if "listen-" in str(argument) or "bind-address" in str(argument)
    ]

    assert len(addresses) == 3
    assert all("127.0.0.1" in address for address in addresses)


def test_a_service_account_may_do_only_what_a_role_allows(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "reader")
    read = ("get", "configmaps", "-n", namespace)

    with pytest.raises(KubectlError, match="Forbidden"):
        control_plane.kubectl(*read, kubeconfig=kubeconfig)

    control_plane.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps", "-n", namespace)
    control_plane.kubectl(
        *("create", "rolebinding", "reader", "--role=reader"),
        *(f"--serviceaccount={namespace}:reader", "-n", namespace),
    )

    def allowed() -> bool:
        return control_plane.kubectl(*read, kubeconfig=kubeconfig, check=False).returncode == 0

    assert poll_until(allowed, timeout=10), "the API server has not noticed the new role"
    assert control_plane.kubectl("get", "secrets", kubeconfig=kubeconfig, check=False).returncode != 0


def test_a_kubeconfig_can_lead_to_a_proxy_instead(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "proxied", server="http://127.0.0.1:9")

    cluster = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]

    assert cluster == {"server": "http://127.0.0.1:9"}


def test_a_namespace_with_something_in_it_finishes_deleting(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "something", "-n", namespace)
    control_plane.create_namespace(doomed := f"{namespace}-doomed")
    control_plane.kubectl("create", "configmap", "something", "-n", doomed)

    control_plane.kubectl("delete", "namespace", doomed, "--timeout=60s")

    assert not control_plane.admin.exists(f"/api/v1/namespaces/{doomed}")


def test_an_owned_object_goes_with_its_owner(control_plane: ControlPlane, namespace: str) -> None:
    configmaps = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = control_plane.admin.request("POST", configmaps, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    control_plane.admin.create(configmaps, {"metadata": {"name": "owned", "ownerReferences": [reference]}})

    control_plane.admin.request("DELETE", f"{configmaps}/owner")

    assert poll_until(lambda: not control_plane.admin.exists(f"{configmaps}/owned"), timeout=60)


def test_writes_are_counted_by_user_and_from_a_position_on(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "configmap", "before", "-n", namespace)
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "writer")
    position = control_plane.audit_position()

    control_plane.kubectl("create", "configmap", "mine", "-n", namespace)
    control_plane.kubectl("get", "configmaps", "-n", namespace)
    control_plane.kubectl("label", "configmap", "mine", "a=b", "-n", namespace)
    control_plane.kubectl("label", "configmap", "mine", "a=c", "-n", namespace, "--overwrite", "--dry-run=server")
    control_plane.kubectl("create", "configmap", "theirs", "-n", namespace, kubeconfig=kubeconfig, check=False)

    mine = [entry for entry in control_plane.writes("admin", since=position) if entry.namespace == namespace]
    theirs = control_plane.writes(f"system:serviceaccount:{namespace}:writer", since=position)
    assert [(entry.verb, entry.resource, entry.name, entry.code) for entry in mine] == [
        ("create", "configmaps", "mine", 201),
        ("patch", "configmaps", "mine", 200),
    ]
    assert [(entry.verb, entry.resource, entry.code) for entry in theirs] == [("create", "configmaps", 403)]


def test_events_count_as_writes_and_leases_do_not(control_plane: ControlPlane, namespace: str) -> None:
    position = control_plane.audit_position()

    control_plane.apply(f"""
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {{name: a, namespace: {namespace}}}
---
apiVersion: events.k8s.io/v1
kind: Event
metadata: {{name: a, namespace: {namespace}}}
eventTime: "2030-01-01T00:00:00.000000Z"
action: Test
reason: Test
type: Normal
reportingController: test
reportingInstance: test
regarding: {{kind: Namespace, name: {namespace}, namespace: {namespace}}}
""")

    assert [entry.resource for entry in control_plane.writes("admin", since=position)] == ["events"]


def test_a_request_over_a_connection_that_was_closed_meanwhile_is_sent_again(control_plane: ControlPlane) -> None:
    api = control_plane.admin
    api.close()
    assert api.answers("/readyz")
    (kept,) = api._connections
    kept.sock.shutdown(socket.SHUT_RDWR)

    assert api.exists("/api/v1/namespaces/default")
    assert len(api._connections) == 1
    assert kept not in api._connections


def test_data_outlives_a_crash_and_a_restart(tmp_path: Path) -> None:
    with ControlPlane.start(tmp_path / "cluster", controllers=False, progress=_silently) as first:
        first.create_namespace("kept")
        first.api_server.kill()
        assert not first.admin.answers("/api/v1/namespaces/kept")
        first.api_server.start()
        assert first.admin.exists("/api/v1/namespaces/kept")

    with ControlPlane.start(tmp_path / "cluster", controllers=False, progress=_silently) as second:
        assert second.admin.exists("/api/v1/namespaces/kept")
        assert second.kubectl("get", "namespace", "kept").returncode == 0


def test_without_controllers_a_namespace_finishes_when_nothing_is_left_in_it(tmp_path: Path) -> None:
    kept = {"metadata": {"name": "kept", "finalizers": ["example.com/wait"]}}
    maps = "/api/v1/namespaces/going/configmaps"
    with ControlPlane.start(tmp_path, controllers=False, finish_namespaces=True, progress=_silently) as running:
        running.create_namespace("staying")
        running.create_namespace("going")
        running.admin.create(maps, kept)
        running.admin.create("/api/v1/namespaces/going/secrets", {"metadata": {"name": "dropped"}})
        running.delete_namespace("going")
        assert poll_until(lambda: not running.admin.exists("/api/v1/namespaces/going/secrets/dropped"), timeout=10)
        assert running.admin.exists("/api/v1/namespaces/going")
        no_finalizers = {"metadata": {"finalizers": None}}
        running.admin.request("PATCH", f"{maps}/kept", no_finalizers, content_type="application/merge-patch+json")
        assert poll_until(lambda: not running.admin.exists("/api/v1/namespaces/going"), timeout=10)
        assert running.admin.exists("/api/v1/namespaces/staying")


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_run_leaves_no_process_behind(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "harness.control_plane", "--directory", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    with run.stdout as output:
        assert "is running at" in output.readline()
        assert len(_processes_naming(tmp_path)) == 4  # the process and three servers
        run.kill()
        run.wait()

    assert poll_until(lambda: not _processes_naming(tmp_path), timeout=10)


def test_without_help_from_the_kernel_a_program_still_ends_with_its_parent() -> None:
    parent = subprocess.Popen(["sleep", "60"])
    parent.kill()
    parent.wait()

    code = watch_over(["sleep", "60"], parent=parent.pid)

    assert code == -signal.SIGKILL


def test_an_incomplete_assets_directory_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etcd").touch()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    with pytest.raises(ControlPlaneError, match="no kube-apiserver and no kubectl"):
        binaries.find(_silently)


def test_a_missing_go_is_named_with_what_to_do_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ControlPlaneError, match=r"Go 1\.24 or newer.*Install it.*or set KUBEBUILDER_ASSETS"):
        binaries.find(_silently)


def _processes_naming(directory: Path) -> list[str]:
    """Returns the command lines of processes on this machine that contain `directory`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process may end meanwhile
            command = file.read_text(errors="replace").replace("\0", " ")
            found += [command] if str(directory) in command else []
    return found


def _silently(line: str) -> None:
    del line


def test_a_postponed_request_is_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers: list[bytes | RefusedError] = [
        RefusedError(429, "storage is (re)initializing"),
        RefusedError(429, ""),
        b"{}",
    ]

    def send_once(*_: object) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, RefusedError):
            raise answer
        return answer

    monkeypatch.setattr(Api, "_send_once", send_once)
    monkeypatch.setattr(time, "sleep", lambda _: None)

    assert Api("https://127.0.0.1:1", tmp_path / "ca.crt", "token").request("GET", "/readyz") == {}
    assert answers == []
