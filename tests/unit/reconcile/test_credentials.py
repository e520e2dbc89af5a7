"""The Secrets and ConfigMaps of a connection, with typical contents of files."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import ClusterHarborConnection
from harborhook.reconcile.credentials import Admission, admission_of, check
from harborhook.reconcile.secrets import Secrets
from harborhook.tls import TLSOptions
from harness.certificates import Authority, encrypted

CANARY = "canary-7f3a"
COMMENT = "NetLock Arany (Class Gold) Fötanúsítvány\n====\n"
CERTIFICATE, KEY = Authority().issue("operator@example.com")
OTHER_KEY = Authority().issue("operator@example.com")[1]


def connection(**spec: Any) -> ClusterHarborConnection:
    stated = {
        "url": "https://harbor.example.com",
        "credentialsSecretRef": {"namespace": "ops", "name": "harbor"},
        "access": [{"namespaces": ["*"], "projects": ["*"]}],
        **spec,
    }
    return ClusterHarborConnection.model_validate({"metadata": {"name": "default"}, "spec": stated})


async def admitted(data: dict[str, dict[str, bytes]], **spec: Any) -> Admission:
    """Reads and checks the values for a connection; `data` by name of the object."""

    async def read(source: Key) -> tuple[str, dict[str, bytes]] | None:
        known = {"harbor": {"username": b"robot", "password": f"{CANARY}\n".encode()}, **data}
        return ("1", known[source.name]) if source.namespace == "ops" and source.name in known else None

    stated = connection(**spec)
    found = await admission_of(Secrets(read=read, watched=lambda _: False), stated)
    check(stated, found)
    return found


def header(value: bytes, name: str = "X-Gateway-Token") -> tuple[dict[str, dict[str, bytes]], dict[str, Any]]:
    ref = {"namespace": "ops", "name": "gateway", "key": "token"}
    return {"gateway": {"token": value}}, {"headersFrom": [{"name": name, "secretKeyRef": ref}]}


def client(certificate: str, key: str) -> tuple[dict[str, dict[str, bytes]], dict[str, Any]]:
    data = {"mtls": {"tls.crt": certificate.encode(), "tls.key": key.encode()}}
    return data, {"tls": {"clientCertificateRef": {"namespace": "ops", "name": "mtls"}}}


@pytest.mark.parametrize("value", [b"a b", b"a b\r\n", b" a b\t"])
async def test_a_header_is_used_without_what_editors_leave_around_it(value: bytes) -> None:
    data, spec = header(value)
    assert (await admitted(data, **spec)).headers == (("X-Gateway-Token", "a b"),)


@pytest.mark.parametrize("value", [b"", b"\n", CANARY.encode() + b"\nX-Other: 1", "ü".encode(), b"\xff", b"a\0"])
async def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(value: bytes) -> None:
    data, spec = header(value)
    with pytest.raises(NotReady, match="Key 'token' of Secret ops/gateway is empty or has") as refusal:
        await admitted(data, **spec)
    assert refusal.value.verdict.reason is Reason.INVALID_SPEC
    assert CANARY not in str(refusal.value)


async def test_a_client_certificate_is_used_with_its_key() -> None:
    data, spec = client(CERTIFICATE, KEY)
    assert (await admitted(data, **spec)).tls.client is not None


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (CERTIFICATE, OTHER_KEY, "a private key that does not belong to the certificate"),
        (CERTIFICATE, encrypted(KEY), "an encrypted private key: store it without a passphrase"),
        (CERTIFICATE, "", "no usable certificate and private key"),
        ("", KEY, "no usable certificate and private key"),
        (KEY, CERTIFICATE, "no usable certificate and private key"),
        (CANARY, CANARY, "no usable certificate and private key"),
    ],
)
async def test_a_client_certificate_that_cannot_be_shown_is_refused(certificate: str, key: str, said: str) -> None:
    data, spec = client(certificate, key)
    with pytest.raises(NotReady, match=f"^InvalidSpec: Secret ops/mtls holds {said}") as refusal:
        await admitted(data, **spec)
    assert CANARY not in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "spec", "reason"),
    [
        ({}, header(b"x")[1], Reason.SECRET_NOT_FOUND),
        ({"gateway": {}}, header(b"x")[1], Reason.SECRET_KEY_MISSING),
        ({}, client("", "")[1], Reason.SECRET_NOT_FOUND),
        ({"mtls": {"tls.crt": b"x"}}, client("", "")[1], Reason.SECRET_KEY_MISSING),
    ],
)
async def test_what_is_missing_is_named(data: Any, spec: Any, reason: Reason) -> None:
    with pytest.raises(NotReady, match="Secret ops/") as refusal:
        await admitted(data, **spec)
    assert refusal.value.verdict.reason is reason


async def test_nothing_secret_shows_in_a_repr() -> None:
    token, stated = header(CANARY.encode())
    certificate, tls = client(CERTIFICATE, KEY)
    found = await admitted({**token, **certificate}, **stated, **tls)
    assert found.credentials.password == CANARY
    assert all(secret not in repr(found) for secret in (CANARY, KEY, "PRIVATE KEY"))


# Authorities


def trusted(bundle: bytes) -> int:
    """Returns the number of authorities besides the system's."""
    return (
        TLSOptions(ca=bundle).context.cert_store_stats()["x509_ca"] - TLSOptions().context.cert_store_stats()["x509_ca"]
    )


@pytest.mark.parametrize("comment", [b"", COMMENT.encode(), COMMENT.encode("cp1252"), "\ufeff".encode(), b"a\r\nb\r\n"])
def test_a_bundle_may_have_comments_in_any_language(comment: bytes) -> None:
    assert trusted(b"".join(comment + Authority().bundle.encode() for _ in range(2))) == 2


@pytest.mark.parametrize(
    "bundle", [b"", b"\xff\xfe", "Főtanúsítvány".encode(), b"-----BEGIN CERTIFICATE-----\n", b"\0"]
)
async def test_what_holds_no_certificate_is_said(bundle: bytes) -> None:
    ref = {"namespace": "ops", "name": "ca", "kind": "Secret"}
    with pytest.raises(NotReady, match=r"Secret ca, key 'ca\.crt', holds no certificates in PEM format"):
        await admitted({"ca": {"ca.crt": bundle}}, tls={"caBundleRef": ref})
