"""Parsing kubeconfig files like kubectl, and one sentence for each error."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook.commands import kubeconfig
from harborhook.commands.failures import FailedError
from harness.certificates import Authority

CANARY = "c4nary-7f3a"


@pytest.fixture(autouse=True)
def no_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(kubeconfig, "DEFAULT_KUBECONFIG", tmp_path / "default")
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path / "no-service-account")


def written(
    file: Path, *, user: dict[str, Any] | None = None, name: str = "dev", current: str = "dev", **cluster: Any
) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": current,
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example.com", **cluster}}],
        "users": [{"name": name, "user": user or {"token": CANARY}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"ns-{name}"}}],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    return file


def test_a_file_names_server_namespace_and_user(tmp_path: Path) -> None:
    found = kubeconfig.access(str(written(tmp_path / "config")))
    assert (found.server, found.namespace, found.context) == ("https://dev.example.com", "ns-dev", "dev")
    assert ("Authorization", f"Bearer {CANARY}") in found.credentials().headers
    assert CANARY not in repr(found) + repr(found.credentials())


def test_several_files_are_merged_and_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path / "a/config", current="")
    second = written(tmp_path / "b/config", name="prod", current="prod")
    third = written(tmp_path / "c/config", user={"token": "other"})
    missing = tmp_path / "missing"
    monkeypatch.setenv("KUBECONFIG", f"{first}:{missing}:{second}:{third}")
    assert kubeconfig.access().context == "prod"
    assert ("Authorization", f"Bearer {CANARY}") in kubeconfig.access(context="dev").credentials().headers
    assert kubeconfig.contexts() == ["dev", "prod"]


def test_certificates_and_tokens_may_be_in_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.crt", "tls.crt", "tls.key", "token"):
        (tmp_path / name).write_text(f"{name}\n")
    user = {"client-certificate": "tls.crt", "client-key": "tls.key", "tokenFile": "token"}
    file = written(tmp_path / "config", user=user, **{"certificate-authority": "ca.crt"})
    found = kubeconfig.access(str(file))
    credentials = found.credentials()
    assert found.authorities == b"ca.crt\n"
    assert (credentials.certificate, credentials.key) == (b"tls.crt\n", b"tls.key\n")
    assert credentials.headers == [("Authorization", "Bearer token")]
    data = {"client-certificate-data": base64.b64encode(b"inline").decode()}
    assert kubeconfig.access(str(written(file, user=data))).credentials().certificate == b"inline"


def test_a_person_may_act_as_another(tmp_path: Path) -> None:
    file = written(tmp_path / "config", user={"token": CANARY, "as": "dev", "as-groups": ["a", "b"]})
    headers = kubeconfig.access(str(file)).credentials().headers
    assert [value for name, value in headers if name.startswith("Impersonate")] == ["dev", "a", "b"]


def test_an_exec_plugin_is_run_with_what_kubectl_gives_it(tmp_path: Path) -> None:
    program = tmp_path / "plugin.py"
    answer = '{"status": {"token": info["spec"]["cluster"]["server"] + os.environ["EXTRA"]}}'
    program.write_text(
        f"import json, os\ninfo = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\nprint(json.dumps({answer}))"
    )
    plugin = {
        "command": sys.executable,
        "args": [str(program)],
        "env": [{"name": "EXTRA", "value": "+"}],
        "provideClusterInfo": True,
    }
    found = kubeconfig.access(str(written(tmp_path / "config", user={"exec": plugin})))
    assert found.credentials().headers == [("Authorization", "Bearer https://dev.example.com+")]


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        ({"command": "no-such-program", "installHint": "Get it\nthere."}, "is not installed. Get it there."),
        ({"command": sys.executable, "args": ["-c", "raise SystemExit(3)"]}, "failed with exit code 3."),
        ({"command": sys.executable, "args": ["-c", f"print('{CANARY}')"]}, "did not answer with credentials."),
    ],
)
def test_an_exec_plugin_that_fails_is_one_sentence(tmp_path: Path, plugin: dict[str, Any], said: str) -> None:
    found = kubeconfig.access(str(written(tmp_path / "config", user={"exec": plugin})))
    with pytest.raises(FailedError) as failed:
        found.credentials()
    assert said in str(failed.value)
    assert CANARY not in str(failed.value)


@pytest.mark.parametrize(
    "content", ["", "{", f"a: [{CANARY}", "- x", "contexts: 1", "apiVersion: v1\nkind: Config\n", "\x00"]
)
def test_what_is_no_kubeconfig_is_one_sentence_without_its_content(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(FailedError) as failed:
        kubeconfig.access(str(file))
    assert str(failed.value).endswith(".")
    assert CANARY not in str(failed.value)


def test_a_context_that_is_not_there_is_said_with_those_that_are_the_nearest_first(tmp_path: Path) -> None:
    file = written(tmp_path / "config", name="production")
    with pytest.raises(FailedError, match=r"no context 'prodution'; it has: production\."):
        kubeconfig.access(str(file), "prodution")
    content = yaml.safe_load(file.read_text())
    content["contexts"][0]["context"]["cluster"] = "gone"
    file.write_text(json.dumps(content))
    with pytest.raises(FailedError, match=r"context 'production' of the kubeconfig cannot be used: 'gone' is missing"):
        kubeconfig.access(str(file), "production")


def test_without_any_kubeconfig_the_sentence_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match=r"There is no kubeconfig: .* --kubeconfig"):
        kubeconfig.access()


def test_in_a_pod_its_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account"
    account.mkdir()
    for name, value in (("token", CANARY), ("ca.crt", "ca"), ("namespace", "team-a")):
        (account / name).write_text(value)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = kubeconfig.access()
    assert (found.server, found.namespace, found.authorities) == ("https://[fd00::1]:443", "team-a", b"ca")
    assert found.credentials().headers == [("Authorization", f"Bearer {CANARY}")]


@pytest.mark.parametrize(
    ("user", "cluster", "said"),
    [
        (
            {"token": CANARY},
            {"certificate-authority-data": "eA=="},
            "The certificate authority of the cluster of context",
        ),
        ({"client-certificate-data": "eA==", "client-key-data": "eA=="}, {}, "The client certificate for the cluster"),
    ],
)
def test_certificates_that_cannot_be_used_are_said(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], said: str
) -> None:
    found = kubeconfig.access(str(written(tmp_path / "config", user=user, **cluster)))
    with pytest.raises(FailedError, match=said):
        found.trust(found.credentials())


def test_an_authority_in_a_kubeconfig_is_trusted_alone(tmp_path: Path) -> None:
    authority = Authority()
    encoded = base64.b64encode(authority.bundle.encode()).decode()
    cluster: dict[str, Any] = {"certificate-authority-data": encoded}
    found = kubeconfig.access(str(written(tmp_path / "config", **cluster)))
    assert len(found.trust(found.credentials()).get_ca_certs()) == 1
