"""TLS with Harbor, receivers and the API server: accepted authorities, and the messages of failures.

Python 3.13 verifies strictly by default. The fixture `strict_by_default` makes older versions do so too.
"""

from __future__ import annotations

import base64
import os
import re
import socket
import socketserver
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
import yaml

import harborhook
from harborhook.api.conditions import Reason
from harborhook.handlers import Handlers
from harborhook.harbor import certificates
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError, NotHarborError
from harborhook.harbor.transport import Credentials, Transport
from harborhook.inventory import View
from harborhook.kube.gateway import Gateway
from harborhook.kube.watches import Watches
from harborhook.reconcile import sender
from harborhook.reconcile.connection_check import why_failed
from harborhook.reconcile.sender import NotSentError
from harborhook.settings import Settings
from harborhook.tls import ClientCertificate, Failure, TLSOptions, UnusableClientCertificateError, relaxed
from harness.certificates import Authority, BareAuthority, self_signed, server_context
from harness.front import Front, Tunnel

HOST = "127.0.0.1"
SOURCE = Path(harborhook.__file__).parent
NOW = datetime.now(UTC)
CANARY = "canary-7f3a"


@pytest.fixture
def strict_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    default = ssl.create_default_context

    def strict(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = default(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


@pytest.fixture(params=[Authority, BareAuthority])
def authority(request: pytest.FixtureRequest, strict_by_default: None) -> Authority:
    found: Authority = request.param()
    return found


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[Front]:
    with Front(context=server_context(tmp_path, *authority.issue(HOST))) as found:
        yield found


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)


async def asked(url: str, tls: TLSOptions | None = None, **options: Any) -> None:
    """One request to a Harbor, which answers with an empty object."""
    transport = Transport(url, Credentials("robot", "secret"), tls=tls, **options)
    try:
        await transport.request("GET", "/projects", endpoint="/projects")
    finally:
        await transport.close()


async def why(url: str, tls: TLSOptions) -> tuple[Reason, str]:
    """Returns the message of the connection's condition."""
    transport = Transport(url, Credentials("robot", "secret"), tls=tls)
    client = HarborClient(transport)
    try:
        with pytest.raises(HarborError) as refusal:
            await transport.request("GET", "/projects", endpoint="/projects")
        verdict = await why_failed(refusal.value, client)
    finally:
        await client.close()
    return verdict.reason, verdict.message


# Non-conforming authorities


def test_the_flag_by_which_python_3_13_refuses_bare_authorities_is_cleared(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(BareAuthority().bundle)
    context = ssl.create_default_context(cafile=str(bundle))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert not relaxed(context).verify_flags & ssl.VERIFY_X509_STRICT
    assert not TLSOptions().context.verify_flags & ssl.VERIFY_X509_STRICT


async def test_harbor_may_have_a_certificate_of_any_authority_that_is_named(
    server: Front, authority: Authority
) -> None:
    await asked(server.url, TLSOptions(ca=authority.bundle.encode()))


async def test_a_receiver_may_have_a_certificate_of_any_authority_that_is_named(
    server: Front, authority: Authority
) -> None:
    assert (
        await sender.send(server.url, content=b"{}", headers={}, ca=authority.bundle.encode(), may_be_local=True) == 200
    )


def kubeconfig(directory: Path, url: str, authority: Authority) -> str:
    bundle = base64.b64encode(authority.bundle.encode()).decode()
    entry = {"name": "x", "cluster": {"server": url, "certificate-authority-data": bundle}, "user": {"token": "x"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    content = {"current-context": "x", "clusters": [entry], "users": [entry], "contexts": [context]}
    file = directory / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    return str(file)


async def test_the_api_server_may_have_a_certificate_of_any_authority_that_the_kubeconfig_names(
    server: Front, authority: Authority, tmp_path: Path
) -> None:
    gateway = await Gateway.connect(kubeconfig(tmp_path, server.url, authority))
    try:
        assert await gateway._send("GET it", "GET", "/api/v1/namespaces/default") == {}
    finally:
        await gateway.close()


async def test_so_may_the_one_that_is_watched(server: Front, authority: Authority, tmp_path: Path) -> None:
    gateway = await Gateway.connect(kubeconfig(tmp_path, server.url, authority))
    handlers = Handlers(View(Settings()), gateway, Watches(time.monotonic), start=AsyncMock())
    try:
        login = await handlers._login()
        async with login.aiohttp_session as session, session.get(server.url) as answer:
            assert answer.status == 200
    finally:
        await gateway.close()


async def test_an_intermediate_authority_may_be_named_alone(tmp_path: Path) -> None:
    certificate, key = self_signed("localhost", HOST)
    with Front(context=server_context(tmp_path, certificate, key)) as server:
        await asked(server.url, TLSOptions(ca=certificate.encode()))


def test_nothing_else_makes_a_context() -> None:
    """aiohttp verifies strictly unless it is given a context; without a connector it uses its own context."""
    wrong: list[str] = []
    for file in sorted(SOURCE.rglob("*.py")):
        text = file.read_text()
        name = str(file.relative_to(SOURCE))
        if name != "tls.py" and re.search(r"create_default_context|SSLContext\(", text):
            wrong.append(f"{name} makes a context")
        if len(re.findall(r"\bClient\(", text)) != len(re.findall(r"\btls=[a-z_.]*tls\.context", text)):
            wrong.append(f"{name} has a client with a context that is not of tls.py")
        if re.search(r"ClientSession\((?!\s*connector=)", text):
            wrong.append(f"{name} has a session without a connector of ours")
        if "TCPConnector(" in text.replace("(aiohttp.TCPConnector)", "TCPConnector(") and not re.search(
            r"\bssl=(relaxed\(|tls\b|[a-z_.]*context\b)", text
        ):
            wrong.append(f"{name} has a connector with a context that is not of tls.py")
        if re.search(r"aiohttp\.request\(|\bimport httpx\b|urlopen\(", text):
            wrong.append(f"{name} asks without a session")
    assert wrong == []


# Failures


async def outcome(tmp_path: Path, served: tuple[str, str], tls: TLSOptions, url: str = "") -> tuple[Reason, str]:
    with Front(context=server_context(tmp_path, *served)) as server:
        return await why(url or server.url, tls)


AUTHORITY = Authority()
TRUSTING = TLSOptions(ca=AUTHORITY.bundle.encode())


def trusting(**options: Any) -> TLSOptions:
    return TLSOptions(ca=AUTHORITY.bundle.encode(), **options)


async def test_an_unknown_authority_is_named_with_where_to_name_it(tmp_path: Path) -> None:
    reason, message = await outcome(tmp_path, Authority().issue(HOST), TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert "is not trusted: no trusted authority issued it. Name the authority" in message
    assert message.endswith(f"The issuer is {Authority.name}.")


async def test_a_self_signed_certificate_is_to_be_named_itself(tmp_path: Path) -> None:
    reason, message = await outcome(tmp_path, self_signed(HOST), TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert "it is self-signed. Name the certificate itself in the connection's tls.caBundleRef." in message


async def test_an_expired_certificate_is_to_be_renewed_and_no_authority_is_looked_for(tmp_path: Path) -> None:
    until = NOW - timedelta(days=1)
    served = AUTHORITY.issue(HOST, since=NOW - timedelta(days=2), until=until)
    reason, message = await outcome(tmp_path, served, TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert "has expired. Renew it where TLS ends" in message
    assert message.endswith(f"It was valid until {until:%Y-%m-%d %H:%M} UTC.")
    assert "caBundleRef" not in message


async def test_a_certificate_of_the_future_makes_clocks_be_compared(tmp_path: Path) -> None:
    since = NOW + timedelta(days=1)
    reason, message = await outcome(tmp_path, AUTHORITY.issue(HOST, since=since), TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert "it is not valid yet. Compare the clock" in message
    assert message.endswith(f"It is valid from {since:%Y-%m-%d %H:%M} UTC on.")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_for_another_host_has_its_names_shown(tmp_path: Path, host: str) -> None:
    names = [f"harbor-{number}.example.com" for number in range(7)]
    with Front(context=server_context(tmp_path, *AUTHORITY.issue(*names))) as server:
        reason, message = await why(server.url.replace(HOST, host), TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert "it is for another host name. Use a host in url that it is for, or state its host name in the" in message
    assert message.endswith(f"It is for {', '.join(names[:5])} and 2 more.")
    assert "caBundleRef" not in message


async def test_plain_http_behind_an_https_url_is_said_in_words() -> None:
    with Front() as server:
        reason, message = await why(server.url.replace("http:", "https:"), TRUSTING)
    assert reason is Reason.HARBOR_UNREACHABLE
    assert "does not answer with TLS, but perhaps with plain HTTP. Check the port in url" in message
    assert "WRONG_VERSION_NUMBER" not in message


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_of_tls_are_named(tmp_path: Path) -> None:
    context = server_context(tmp_path, *AUTHORITY.issue(HOST))
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with Front(context=context) as server:
        reason, message = await why(server.url, TRUSTING)
    assert reason is Reason.HARBOR_UNREACHABLE
    assert "it offers neither TLS 1.2 nor TLS 1.3." in message


async def test_without_a_common_cipher_both_causes_are_named(tmp_path: Path) -> None:
    context = server_context(tmp_path, *AUTHORITY.issue(HOST))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    with Front(context=context) as server:
        reason, message = await why(server.url, TRUSTING)
    assert reason is Reason.HARBOR_UNREACHABLE
    assert "refuses the TLS handshake. Either they have no cipher in common, or it requires a client" in message


@pytest.mark.parametrize(
    ("is_reset", "said"),
    [(True, "[Errno 104] Connection reset by peer."), (False, "it ended the TLS handshake without a reason. Check")],
)
async def test_a_handshake_that_is_broken_off_is_said_to_be(is_reset: bool, said: str) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 if is_reset else 64 * 1024)
            if is_reset:  # the kernel resets connections with unread data
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.request.close()

    with socketserver.TCPServer((HOST, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        reason, message = await why(f"https://{HOST}:{server.server_address[1]}", TRUSTING)
        server.shutdown()
    assert reason is Reason.HARBOR_UNREACHABLE
    assert f"cannot be reached: {said}" in message


async def test_plain_http_on_a_port_for_tls_is_said_where_the_server_says_it() -> None:
    for page in (
        b"<h1>The plain HTTP request was sent to HTTPS port</h1>",
        b"Client sent an HTTP request to an HTTPS server.",
    ):
        assert "url has to begin with https://" in certificates.gateway_advice(400, page)
    assert "clientCertificateRef" in certificates.gateway_advice(400, b"<h1>No required SSL certificate was sent</h1>")


@pytest.mark.parametrize("failure", Failure)
def test_each_failure_has_advice_for_harbor_and_for_receivers(failure: Failure) -> None:
    assert certificates.ADVICE[failure].endswith(".")
    assert sender.ADVICE[failure].endswith(".")


# Client certificates, and names


def shown_by(authority: Authority) -> ClientCertificate:
    certificate, key = authority.issue("operator@example.com")
    return ClientCertificate(certificate.encode(), key.encode())


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_client_certificate_is_shown_and_its_lack_is_said(tmp_path: Path, newest: ssl.TLSVersion) -> None:
    clients = Authority()
    context = server_context(tmp_path, *AUTHORITY.issue(HOST), clients)
    context.maximum_version = newest
    with Front(context=context) as server:
        await asked(server.url, trusting(client=shown_by(clients)))
        without = await why(server.url, TRUSTING)
        wrong = await why(server.url, trusting(client=shown_by(Authority())))
    assert without[0] is wrong[0] is Reason.HARBOR_UNREACHABLE
    assert "requires a client certificate" in without[1]
    assert "tls.clientCertificateRef" in without[1]
    assert "it does not accept the client certificate. Check that the one in the connection's" in wrong[1]


def open_files() -> int:
    directory = Path("/dev/fd")
    return len(list(directory.iterdir()))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_key_stays_on_no_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_memory: bool) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("only Linux has files in memory")
    made: list[int] = []
    temporary = tempfile.NamedTemporaryFile

    def watched(*arguments: Any, **options: Any) -> Any:
        file = temporary(*arguments, **options)
        made.append(Path(file.name).stat().st_mode & 0o777)
        return file

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", watched)
    before = open_files()
    TLSOptions(client=shown_by(AUTHORITY)).context  # noqa: B018
    with pytest.raises(UnusableClientCertificateError):
        TLSOptions(client=ClientCertificate(b"", b"")).context  # noqa: B018
    assert made == ([] if in_memory else [0o600] * 4)
    assert list(tmp_path.iterdir()) == []
    assert open_files() == before


async def test_a_server_is_asked_for_the_name_that_is_stated_and_verified_by_it(tmp_path: Path) -> None:
    with Front(context=server_context(tmp_path, *AUTHORITY.issue("harbor.internal"))) as server:
        await asked(server.url, trusting(server_name="harbor.internal"))
        assert server.server_names == ["harbor.internal"]
        assert server.requests[0]["host"] == server.url.removeprefix("https://")
        _, message = await why(server.url, trusting(server_name="other.internal"))
    assert message.endswith("It is for harbor.internal.")


async def test_behind_a_proxy_it_is_asked_for_by_that_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = server_context(tmp_path, *AUTHORITY.issue("harbor.internal"))
    with Front(context=context) as server, Tunnel() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        url = server.url.replace(HOST, "harbor.example.com")
        await asked(url, trusting(server_name="harbor.internal"))
        assert proxy.asked == [url.removeprefix("https://")]
        assert server.server_names == ["harbor.internal"]
        reason, message = await why(url, TRUSTING)
    assert reason is Reason.TLS_UNTRUSTED
    assert message.endswith("tls.serverName."), "nobody goes around the proxy to look at the certificate"


# Headers for a gateway


async def test_headers_go_with_every_request_and_are_masked_in_what_is_quoted(tmp_path: Path) -> None:
    value = f"Bearer {CANARY}"
    with Front(header=("X-Gateway", value)) as server:
        await asked(server.url, headers={"X-Gateway": value})
        with pytest.raises(NotHarborError, match="headersFrom") as refusal:
            await asked(server.url, headers={"X-Gateway": f"{value}-wrong"})
    assert CANARY not in str(refusal.value)
    transport = Transport(server.url, Credentials("robot", "secret"), headers={"X-Gateway": value})
    assert transport._scrubbed(f"blocked: {value}, token {CANARY}") == "blocked: ***, token ***"
    await transport.close()


# Receivers


async def test_a_receiver_is_shown_nothing_that_is_harbors(tmp_path: Path) -> None:
    context = server_context(tmp_path, *AUTHORITY.issue(HOST), Authority())
    with Front(context=context) as server, pytest.raises(NotSentError):
        await sender.send(server.url, content=b"{}", headers={}, ca=AUTHORITY.bundle.encode(), may_be_local=True)


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (Authority().issue(HOST), "no trusted authority issued it"),
        (AUTHORITY.issue("ci.example.com"), "it is for another host name"),
        (AUTHORITY.issue(HOST, since=NOW - timedelta(2), until=NOW - timedelta(1)), "has expired"),
        (AUTHORITY.issue(HOST, since=NOW + timedelta(1)), "it is not valid yet"),
        (self_signed(HOST), "it is self-signed"),
    ],
)
async def test_each_kind_of_a_receivers_failure_has_its_sentence(
    tmp_path: Path, served: tuple[str, str], said: str
) -> None:
    with Front(context=server_context(tmp_path, *served)) as server:
        with pytest.raises(NotSentError, match=f"Its certificate is not trusted: .*{said}"):
            await sender.send(server.url, content=b"{}", headers={}, ca=AUTHORITY.bundle.encode(), may_be_local=True)
        assert await sender.send(server.url, content=b"{}", headers={}, verify=False, may_be_local=True) == 200


async def test_a_receiver_without_tls_is_said_to_have_none() -> None:
    with Front() as server, pytest.raises(NotSentError, match="does not answer with TLS"):
        await sender.send(server.url.replace("http:", "https:"), content=b"{}", headers={}, may_be_local=True)
