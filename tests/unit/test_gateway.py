"""Credentials for the API server, as the two places where an operator finds them have them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from kubernetes.aio import client
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from harborhook.kube.gateway import Gateway, KubeError, NoClusterError, token_of


def test_the_token_of_a_service_account_is_read_without_its_scheme(tmp_path: Path) -> None:
    token, certificate = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("of-the-pod")
    certificate.write_text("some certificate")
    where = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    configuration = client.Configuration()
    loader = InClusterConfigLoader(token_filename=str(token), cert_filename=str(certificate), environ=where)  # type: ignore[no-untyped-call]
    loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
    assert token_of(configuration) == "of-the-pod"


def kubeconfig_in(directory: Path) -> Path:
    file = directory / "kubeconfig"
    entry = {"name": "x", "cluster": {"server": "http://127.0.0.1"}, "user": {"token": "of-a-person"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    kubeconfig = {"current-context": "x", "clusters": [entry], "users": [entry], "contexts": [context]}
    file.write_text(yaml.safe_dump(kubeconfig))
    return file


async def test_the_token_of_a_kubeconfig_is_read_without_its_scheme(tmp_path: Path) -> None:
    file = kubeconfig_in(tmp_path)
    configuration = client.Configuration()
    await load_kube_config(str(file), client_configuration=configuration)  # type: ignore[no-untyped-call]
    assert token_of(configuration) == "of-a-person"


def test_there_may_be_no_token() -> None:
    assert token_of(client.Configuration()) is None


@pytest.mark.parametrize("half_written", ["", "{", "apiVersion: v1\n"])
async def test_credentials_that_cannot_be_read_for_a_while_leave_those_that_were_read_before(
    tmp_path: Path, half_written: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = kubeconfig_in(tmp_path)
    gateway = await Gateway.connect(str(file))
    file.write_text(half_written)
    configuration = await gateway.refresh(anew=True)
    await gateway.close()
    assert token_of(configuration) == "of-a-person"
    assert "could not be read anew" in caplog.text


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
