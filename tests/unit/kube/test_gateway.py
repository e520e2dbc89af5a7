"""Credentials for the API server, as the two places where an operator finds them have them, and requests to it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web
from kubernetes.aio import client
from kubernetes.aio.config import load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from harborhook.api.base import Key
from harborhook.kube import gateway as gateway_module
from harborhook.kube.gateway import RELOAD_PAUSE, TOKEN_LIFE, Gateway, Gone, KubeError, NoClusterError, token_of
from harness.alone import kubeconfig_file
from harness.app_server import serving

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


# Requests, and what becomes of their answers

KEY = Key("HarborProject", "team", "p")


@dataclass
class ApiServer:
    """Answers each request with `status` and `text`."""

    url: str = ""
    status: int = 200
    text: str = "{}"
    location: str = ""
    requests: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path with query, body and headers."""

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.method, request.raw_path, await request.text(), dict(request.headers)))
        date = "Thu, 01 Jan 2026 12:00:00 GMT"
        headers = {"Date": date, **({"Location": self.location} if self.location else {})}
        return web.Response(text=self.text, status=self.status, content_type="application/json", headers=headers)


@pytest.fixture
async def api_server() -> AsyncIterator[ApiServer]:
    found, app = ApiServer(), web.Application()
    app.router.add_route("*", "/{path:.*}", found.answer)
    async with serving(app) as found.url:
        yield found


@pytest.fixture
async def gateway(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Gateway]:
    file = kubeconfig_file(tmp_path, user={"token": "of-a-person"}, server=f"{api_server.url}/below")
    found = await Gateway.connect(str(file), user_agent="harborhook/test")
    yield found
    await found.close()


async def test_a_patch_is_sent_as_a_merge_patch_by_the_user_of_the_kubeconfig(
    gateway: Gateway, api_server: ApiServer
) -> None:
    api_server.text = '{"metadata": {"name": "p"}}'

    assert await gateway.patch_status(KEY, {"projectID": 7}) == {"metadata": {"name": "p"}}

    method, path, body, headers = api_server.requests[0]
    assert (method, path) == ("PATCH", "/below/apis/harborhook.io/v1alpha1/namespaces/team/harborprojects/p/status")
    assert body == '{"status": {"projectID": 7}}'
    assert headers["Content-Type"] == "application/merge-patch+json"
    assert headers["Authorization"] == "Bearer of-a-person"
    assert headers["User-Agent"] == "harborhook/test"
    assert headers["Accept"] == "application/json"


async def test_names_and_selectors_cannot_change_the_path(gateway: Gateway, api_server: ApiServer) -> None:
    api_server.text = '{"metadata": {}, "items": []}'

    await gateway.get(KEY._replace(name="../x?y#z"))
    assert [body async for body in gateway.list("HarborProject", "team", "a in (b,c),d=&limit=1")] == []

    paths = [path for _, path, _, _ in api_server.requests]
    assert paths[0].endswith("/harborprojects/..%2Fx%3Fy%23z")
    stated = dict(parse_qsl(paths[1].partition("?")[2]))
    assert stated == {"limit": "100", "labelSelector": "a in (b,c),d=&limit=1"}


async def test_a_list_is_read_page_by_page(gateway: Gateway, api_server: ApiServer) -> None:
    api_server.text = '{"metadata": {"continue": "a b+c"}, "items": [{"metadata": {"name": "p"}}]}'
    versions: list[str] = []
    found = gateway.list("HarborProject", version=versions.append)
    await anext(found)
    api_server.text = '{"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "q"}}]}'
    assert versions == []

    assert [body["metadata"]["name"] async for body in found] == ["q"]
    assert dict(parse_qsl(api_server.requests[1][1].partition("?")[2]))["continue"] == "a b+c"
    assert versions == ["7"]


async def test_the_present_version_is_read_with_one_object_and_not_from_a_cache(
    gateway: Gateway, api_server: ApiServer
) -> None:
    api_server.text = '{"metadata": {"resourceVersion": "7", "continue": "x"}, "items": [{"metadata": {"name": "p"}}]}'

    assert (await gateway.present_version())["metadata"]["resourceVersion"] == "7"

    (request,) = api_server.requests
    assert request[1].endswith("/clusterharborconnections?limit=1")


async def test_an_object_that_does_not_exist_is_gone(gateway: Gateway, api_server: ApiServer) -> None:
    api_server.status = 404

    with pytest.raises(Gone):
        await gateway.get(KEY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"message": "it is a conflict", "details": {"causes": [{"reason": "Mine"}]}}', "it is a conflict"),
        ('{"message": null}', "None"),
        ("<html>", "Conflict"),
        ("[]", "Conflict"),
        ("", "Conflict"),
    ],
)
async def test_a_refusal_has_the_servers_words(gateway: Gateway, api_server: ApiServer, text: str, said: str) -> None:
    api_server.status, api_server.text = 409, text

    with pytest.raises(KubeError) as refusal:
        await gateway.patch(KEY, {})

    assert str(refusal.value) == f"the Kubernetes API answered PATCH HarborProject team/p with 409 {said}"
    assert refusal.value.status == 409
    assert refusal.value.causes == ({"Mine"} if "causes" in text else frozenset())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(gateway: Gateway, api_server: ApiServer, status: int) -> None:
    api_server.status, api_server.location = status, f"{api_server.url}/login"

    for asking in (gateway.patch(KEY, {}), gateway.create_event("team", {}), gateway.get(KEY)):
        with pytest.raises(KubeError) as refusal:
            await asking
        assert refusal.value.status == status

    assert [path.endswith("/login") for _, path, _, _ in api_server.requests] == [False] * 3


@pytest.mark.parametrize("text", ["<html>", "", "\udcff"])
async def test_an_answer_that_is_no_json_is_no_answer(gateway: Gateway, api_server: ApiServer, text: str) -> None:
    api_server.text = text.encode(errors="surrogateescape").decode("latin-1")

    with pytest.raises(KubeError) as refusal:
        await gateway.get(KEY)

    assert refusal.value.status == 0


async def test_each_answer_sets_the_clock(gateway: Gateway, api_server: ApiServer) -> None:
    api_server.status = 500
    with pytest.raises(KubeError):
        await gateway.get(KEY)

    assert gateway.clock.now().year == 2026
    assert gateway.clock.now() < datetime(2026, 1, 1, 12, 1, tzinfo=UTC)


async def test_requests_go_through_the_proxy_of_the_kubeconfig(api_server: ApiServer, tmp_path: Path) -> None:
    file = kubeconfig_file(tmp_path, user={}, server="http://cluster.invalid:6443", **{"proxy-url": api_server.url})
    gateway = await Gateway.connect(str(file))
    await gateway.get(KEY)
    await gateway.close()

    assert api_server.requests[0][3]["Host"] == "cluster.invalid:6443"
