"""The selection of a proxy: only the variables that concern the host count."""

from __future__ import annotations

import base64
import ssl

import pytest

from harborhook.harbor.errors import UnreachableError
from harborhook.harbor.proxies import proxy_for
from harborhook.harbor.transport import Credentials, Transport
from harborhook.tls import TLSOptions
from harness.certificates import Authority

CANARY = "canary-7f3a"
PROXY = "http://proxy.example.com:3128"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        for spelt in (name, name.lower()):
            monkeypatch.delenv(spelt, raising=False)
    return monkeypatch


def proxy(url: str) -> str | None:
    found = proxy_for(url)
    return str(found.url) if found else None


@pytest.mark.parametrize(
    ("variable", "stated"),
    [("HTTPS_PROXY", PROXY), ("https_proxy", PROXY), ("ALL_PROXY", PROXY), ("HTTPS_PROXY", PROXY.partition("//")[2])],
)
def test_the_environment_names_it(environment: pytest.MonkeyPatch, variable: str, stated: str) -> None:
    assert proxy("https://harbor.example.com") is None
    environment.setenv(variable, stated)
    assert proxy("https://harbor.example.com") == PROXY
    if variable != "ALL_PROXY":
        assert proxy("http://harbor.example.com") is None


@pytest.mark.parametrize(
    ("url", "exceptions"),
    [
        ("https://harbor.example.com", "harbor.example.com"),
        ("https://harbor.example.com", "localhost, .example.com"),
        ("https://harbor.example.com:8443", "example.com:8443"),
        ("https://harbor.example.com", "*"),
        ("https://10.1.2.3", "fd00::/8,10.0.0.0/8"),
        ("https://10.1.2.3:8443", "10.1.2.3"),
        ("https://[fd00::5]:8443", "10.0.0.0/8, fd00::/8"),
        ("https://[::1]", "[::1]"),
    ],
)
def test_hosts_domains_and_networks_are_excepted(environment: pytest.MonkeyPatch, url: str, exceptions: str) -> None:
    environment.setenv("HTTPS_PROXY", PROXY)
    environment.setenv("NO_PROXY", exceptions)
    assert proxy(url) is None


@pytest.mark.parametrize("exceptions", ["", "example.org", "10.0.0.0/8,fd00::/8", "[", "ample.com", "1::2::3/4,/,:"])
def test_other_exceptions_are_not_for_this_host(environment: pytest.MonkeyPatch, exceptions: str) -> None:
    environment.setenv("HTTPS_PROXY", PROXY)
    environment.setenv("NO_PROXY", exceptions)
    assert proxy("https://harbor.example.com") == PROXY


@pytest.mark.parametrize("variables", [{"NO_PROXY": "fd00::/8"}, {"HTTP_PROXY": "nonsense://x:y"}])
async def test_what_is_meant_for_other_hosts_harms_nobody(
    environment: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    await Transport("https://harbor.example.com", Credentials("user", "password")).close()


@pytest.mark.parametrize("url", ["https://[x", "https://:1", "https://x:port", "https://"])
def test_what_is_no_address_has_no_proxy_of_its_own(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("HTTPS_PROXY", PROXY)
    environment.setenv("NO_PROXY", "x,10.0.0.0/8")
    proxy(url)


@pytest.mark.parametrize(
    "stated",
    [f"socks5://user:{CANARY}@127.0.0.1:1080", f"ftp://{CANARY}@x", f"http://x:{CANARY}", "://", "http://"],
)
def test_one_that_cannot_be_used_is_told_without_what_may_be_its_password(
    environment: pytest.MonkeyPatch, stated: str
) -> None:
    environment.setenv("ALL_PROXY", stated)
    with pytest.raises(UnreachableError) as refusal:
        Transport("https://harbor.example.com", Credentials("user", "password"))
    assert CANARY not in str(refusal.value)
    assert "NO_PROXY" in str(refusal.value)


def test_user_and_password_of_a_proxy_become_a_header_and_are_shown_nowhere(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", f"http://us%40er:{CANARY}%3A@[::1]:3128/path")
    found = proxy_for("https://harbor.example.com")
    assert found is not None
    assert found.url == "http://[::1]:3128"
    assert found.authorization == "Basic " + base64.b64encode(f"us@er:{CANARY}:".encode()).decode()
    assert found.authorization not in repr(found)


def test_a_proxy_that_is_reached_by_tls_is_verified_as_everything_else_is(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "https://proxy.example.com:3128")
    bundle = Authority().bundle.encode()
    found = proxy_for("https://harbor.example.com", bundle)
    assert found is not None
    assert found.ssl_context is not None
    assert found.ssl_context.cert_store_stats() == TLSOptions(ca=bundle).context.cert_store_stats()
    assert not found.ssl_context.verify_flags & ssl.VERIFY_X509_STRICT


async def test_a_bundle_that_is_not_used_is_not_looked_at(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTPS_PROXY", "https://proxy.example.com:3128")
    tls = TLSOptions(ca=b"nonsense", skip_verify=True)
    await Transport("https://harbor.example.com", Credentials("user", "password"), tls=tls).close()
