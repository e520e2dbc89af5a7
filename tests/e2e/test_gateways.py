"""A gateway in front of Harbor that requires a header and a client certificate: connections, commands, rotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.test_export import harborhook
from harness.certificates import Authority, BareAuthority, server_context
from harness.front import Front
from harness.harbor.process import StandIn
from harness.own import leave, until_connection, world_of
from harness.world import World, ready_condition

CANARY = "canary-7f3a"
HEADER = "X-Gateway-Token"
NAME = "harbor.internal"


@dataclass
class Guarded:
    """A Harbor behind a gateway, and the world around it; its connection is not declared yet."""

    world: World
    front: Front
    servers: Authority
    clients: Authority

    def connect(self, **changes: Any) -> None:
        """Declares the connection with everything that the gateway requires, except for the changes to its spec."""
        own = self.world
        reference = {"namespace": "harborhook", "name": own.connection}
        own.config_map(own.connection, "harborhook", **{"ca.crt": self.servers.bundle})
        spec = {
            "url": self.front.url,
            "allowInsecureHTTP": False,
            "headersFrom": [{"name": HEADER, "secretKeyRef": {**reference, "key": "token"}}],
            "tls": {"caBundleRef": reference, "clientCertificateRef": reference, "serverName": NAME},
        }
        own.connect(own.connection, **{**spec, **changes})

    def secret(self, token: str, clients: Authority) -> None:
        certificate, key = clients.issue("operator@example.com")
        values = {"token": token, "tls.crt": certificate, "tls.key": key}
        self.world.secret(self.world.connection, "harborhook", **values)

    def shown(self) -> str:
        own = self.world
        events = own.control_plane.kubectl("get", "events", "-A", "-o", "yaml").stdout
        return str(own.get("ClusterHarborConnection", own.connection)) + events + own.operator.log.read_text()


@pytest.fixture
def guarded(world: World, stand_in: StandIn, tmp_path: Path) -> Iterator[Guarded]:
    servers, clients = BareAuthority(), Authority()
    context = server_context(tmp_path, *servers.issue(NAME), clients)
    with Front(stand_in.url, context=context, header=(HEADER, CANARY)) as front:
        found = Guarded(world_of(world, stand_in), front, servers, clients)
        yield found
        found.front.header = (HEADER, CANARY)
        found.secret(CANARY, clients)
        leave(found.world)


def test_a_gateway_is_given_its_header_and_certificate_and_both_can_be_rotated(guarded: Guarded) -> None:
    own, front = guarded.world, guarded.front
    guarded.connect()
    until_connection(own, "SecretNotFound")
    guarded.secret(f"{CANARY}\n", guarded.clients)
    until_connection(own, "Reconciled")
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    assert set(front.server_names) == {NAME}
    assert all(request[HEADER.lower()] == CANARY for request in front.requests)

    front.header = (HEADER, f"{CANARY}-rotated")
    own.annotate("ClusterHarborConnection", own.connection, reconcile_at="1")
    refused = until_connection(own, "NotAHarborAPI")
    assert "headersFrom" in ready_condition(refused)["message"]
    guarded.secret(f"{CANARY}-rotated", guarded.clients)
    until_connection(own, "Reconciled")

    guarded.secret(f"{CANARY}-rotated", Authority())
    refused = until_connection(own, "HarborUnreachable")
    assert "does not accept the client certificate" in ready_condition(refused)["message"]
    guarded.secret(f"{CANARY}-rotated", guarded.clients)
    until_connection(own, "Reconciled")
    own.project(name, public=True)
    own.ready("HarborProject", name)
    assert CANARY not in guarded.shown()
    assert "PRIVATE KEY" not in guarded.shown()


@pytest.mark.parametrize(
    ("left_out", "reason", "said"),
    [
        ("clientCertificateRef", "HarborUnreachable", "Name one in the connection's tls.clientCertificateRef."),
        ("serverName", "TLSUntrusted", f"It is for {NAME}."),
        ("caBundleRef", "TLSUntrusted", "The issuer is CN=Bare."),
    ],
)
def test_what_a_connection_lacks_is_named(guarded: Guarded, left_out: str, reason: str, said: str) -> None:
    own = guarded.world
    guarded.secret(CANARY, guarded.clients)
    guarded.connect()
    until_connection(own, "Reconciled")
    reference = {"namespace": "harborhook", "name": own.connection}
    tls = {"caBundleRef": reference, "clientCertificateRef": reference, "serverName": NAME}
    del tls[left_out]
    guarded.connect(tls=tls)
    assert said in ready_condition(until_connection(own, reason))["message"]
    guarded.connect()
    until_connection(own, "Reconciled")


def test_a_team_has_a_header_and_a_certificate_of_its_own(guarded: Guarded) -> None:
    own = guarded.world
    guarded.secret(CANARY, guarded.clients)
    guarded.connect()  # allows teams to use the host
    until_connection(own, "Reconciled")
    certificate, key = guarded.clients.issue("team@example.com")
    own.secret("robot", username=own.harbor.username, password=own.harbor.password)
    own.secret("gateway", token=CANARY, **{"tls.crt": certificate, "tls.key": key, "ca.crt": guarded.servers.bundle})
    spec = {
        "url": guarded.front.url,
        "credentialsSecretRef": {"name": "robot"},
        "headersFrom": [{"name": HEADER, "secretKeyRef": {"name": "gateway", "key": "token"}}],
        "tls": {
            "caBundleRef": {"kind": "Secret", "name": "gateway"},
            "clientCertificateRef": {"name": "gateway"},
            "serverName": NAME,
        },
    }
    own.apply({"kind": "HarborConnection", "metadata": {"name": "team"}, "spec": spec})
    own.ready("HarborConnection", "team")
    own.delete("HarborConnection", "team")


def test_the_commands_obey_the_connection(guarded: Guarded) -> None:
    own = guarded.world
    guarded.secret(CANARY, guarded.clients)
    guarded.connect()
    until_connection(own, "Reconciled")
    kubeconfig = str(own.control_plane.service_account_kubeconfig("harborhook", "harborhook"))
    for command in ("doctor", "export"):
        ended = harborhook(command, "--connection", own.connection, "--kubeconfig", kubeconfig)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_commands_have_options_for_a_gateway(guarded: Guarded, tmp_path: Path) -> None:
    certificate, key = guarded.clients.issue("person@example.com")
    files = {"token": f"{CANARY}\n", "wrong": f"{CANARY}-wrong", "crt": certificate, "key": key}
    for name, content in {**files, "ca": guarded.servers.bundle}.items():
        (tmp_path / name).write_text(content)
    login = {"username": guarded.world.harbor.username, "password": guarded.world.harbor.password}
    options = {
        "--ca-file": str(tmp_path / "ca"),
        "--server-name": NAME,
        "--client-certificate": str(tmp_path / "crt"),
        "--client-key": str(tmp_path / "key"),
        "--header": f"{HEADER}=@{tmp_path / 'token'}",
    }

    def ended(command: str, *left_out: str, **changed: str) -> Any:
        stated = {**options, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
        arguments = [part for name, value in stated.items() if name not in left_out for part in (name, value)]
        found = harborhook(command, "--url", guarded.front.url, *arguments, **login)
        assert CANARY not in found.stdout + found.stderr
        return found

    for command in ("doctor", "export"):
        assert ended(command).returncode == 0, ended(command).stdout
    for left_out, said in (
        (["--ca-file"], "Here --ca-file is tls.caBundleRef."),
        (["--server-name"], "Here --server-name is tls.serverName."),
        (["--client-certificate", "--client-key"], "Here --client-certificate is tls.clientCertificateRef."),
        (["--header"], "Here --header is headersFrom."),
    ):
        found = ended("doctor", *left_out)
        assert found.returncode == 1
        assert said in found.stdout
    assert ended("doctor", header=f"{HEADER}=@{tmp_path / 'wrong'}").returncode == 1
    mismatched = ended("doctor", client_key=str(tmp_path / "token"))
    assert mismatched.returncode == 1
    assert "no usable certificate and private key" in mismatched.stdout
