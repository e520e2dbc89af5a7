"""Credentials for the API server, from both places where an operator finds them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from harborhook.kube import gateway as gateway_module
from harborhook.kube.gateway import RELOAD_PAUSE, TOKEN_LIFE, Gateway, KubeError, NoClusterError, token_of
from harness.alone import kubeconfig_file

CANARY = "canary-7f3a"


def test_the_token_of_a_service_account_is_read_without_its_scheme(tmp_path: Path) -> None:
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of-the-pod")
    certificate.write_text("some certificate")
    where = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    configuration = client.Configuration()
    loader = InClusterConfigLoader(token_filename=str(token), cert_filename=str(certificate), environ=where)  # type: ignore[no-untyped-call]
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    assert token_of(configuration) == "of-the-pod"


async def test_the_token_of_a_kubeconfig_is_read_without_its_scheme(tmp_path: Path) -> None:
    file = kubeconfig_file(tmp_path, user={"token": "of-a-person"})
    configuration = client.Configuration()
    await load_kube_config(str(file), client_configuration=configuration)  # type: ignore[no-untyped-call]
    assert token_of(configuration) == "of-a-person"


def test_there_may_be_no_token() -> None:
    assert token_of(client.Configuration()) is None


@pytest.mark.parametrize(
    ("variable", "named"),
    [("/no/such/file", "kubeconfig /no/such/file"), (None, "~/.kube/config"), ("", "~/.kube/config")],
)
async def test_the_kubeconfig_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, named: str
) -> None:
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/no/such/home")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    if variable is not None:
        monkeypatch.setenv("KUBECONFIG", variable)
    with pytest.raises(NoClusterError, match=named):
        await Gateway.connect()


def test_a_request_without_an_answer_is_not_said_to_be_answered() -> None:
    assert str(KubeError("LIST Secret", 0, "TimeoutError")) == (
        "the Kubernetes API did not answer LIST Secret: TimeoutError"
    )


async def test_the_kubeconfig_of_the_environment_takes_precedence_over_the_service_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "token").write_text("of-the-pod")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig_file(tmp_path, user={"token": "of-a-person"})))
    gateway = await Gateway.connect()
    assert token_of(gateway.configuration) == "of-a-person"
    await gateway.close()


async def asked(file: Path) -> None:
    """Sends one request to the cluster of a kubeconfig."""
    gateway = await Gateway.connect(str(file))
    try:
        await gateway.namespace_uid("default")
    finally:
        await gateway.close()


NO_CERTIFICATE = base64.b64encode(CANARY.encode()).decode()


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"server": "https://127.0.0.1:9", "certificate-authority-data": NO_CERTIFICATE}, {}),
        ({"certificate-authority-data": CANARY}, {}),
        ({}, {"client-certificate-data": NO_CERTIFICATE, "client-key-data": NO_CERTIFICATE}),
        ({}, CANARY),
        ({"server": [CANARY]}, {}),
    ],
)
async def test_an_unusable_kubeconfig_is_reported_without_its_content(
    tmp_path: Path, cluster: dict[str, Any], user: Any
) -> None:
    file = kubeconfig_file(tmp_path, user=user, **cluster)
    with pytest.raises((NoClusterError, KubeError)) as refusal:
        await asked(file)
    assert CANARY not in str(refusal.value)
    assert NO_CERTIFICATE not in str(refusal.value)


@pytest.mark.parametrize(
    ("cluster", "user"),
    [({"server": f"http://u:{CANARY}@127.0.0.1:9"}, {"token": CANARY}), ({}, {"token": f"{CANARY}\nx"})],
)
async def test_what_can_be_no_request_has_no_answer(tmp_path: Path, cluster: dict[str, Any], user: Any) -> None:
    with pytest.raises(KubeError) as refusal:
        await asked(kubeconfig_file(tmp_path, user=user, **cluster))
    assert refusal.value.status == 0
    assert str(refusal.value).startswith("the Kubernetes API did not answer GET Namespace default: ")


async def test_credentials_that_cannot_be_read_for_a_moment_are_read_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = kubeconfig_file(tmp_path, user={"token": "first"})
    gateway = await Gateway.connect(str(file))
    content = file.read_text()

    for broken in ("", CANARY, f"a: {CANARY}: b", None):
        if broken is None:
            file.unlink()
        else:
            file.write_text(broken)
        assert token_of(await gateway.refresh(force=True)) == "first"
    assert CANARY not in caplog.text
    assert len([record for record in caplog.records if record.name == gateway_module.__name__]) == 4

    file.write_text(content.replace("first", "second"))
    assert token_of(await gateway.refresh()) == "first", "not at each request"
    monkeypatch.setattr(gateway_module, "TOKEN_LIFE", TOKEN_LIFE - RELOAD_PAUSE)
    assert token_of(await gateway.refresh()) == "second"
    await gateway.close()
