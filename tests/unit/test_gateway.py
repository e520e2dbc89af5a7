"""Credentials for the API server, as the two places where an operator finds them have them."""

from __future__ import annotations

from pathlib import Path

import yaml
from kubernetes.aio import client
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from harborhook.kube.gateway import token_of


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
    file = tmp_path / "kubeconfig"
    entry = {"name": "x", "cluster": {"server": "http://127.0.0.1"}, "user": {"token": "of-a-person"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    kubeconfig = {"current-context": "x", "clusters": [entry], "users": [entry], "contexts": [context]}
    file.write_text(yaml.safe_dump(kubeconfig))
    configuration = client.Configuration()
    await load_kube_config(str(file), client_configuration=configuration)  # type: ignore[no-untyped-call]
    assert token_of(configuration) == "of-a-person"


def test_there_may_be_no_token() -> None:
    assert token_of(client.Configuration()) is None
