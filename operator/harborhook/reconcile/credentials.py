"""Reads the Secrets and ConfigMaps that a connection names: username and password, headers and client certificate for a
gateway, and trusted certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import AnyConnection, HeaderFrom
from harborhook.harbor.transport import Credentials
from harborhook.plan.target_values import UnusableError, header_of
from harborhook.reconcile.secrets import Secrets
from harborhook.tls import ClientCertificate, TLSOptions, UnusableAuthoritiesError, UnusableClientCertificateError


class Named(Protocol):
    """A reference to an object; that of a ClusterHarborConnection has a namespace too."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Admission:
    """The values that a client presents to Harbor and trusts. Two are equal if all these values are."""

    credentials: Credentials
    tls: TLSOptions
    headers: tuple[tuple[str, str], ...] = field(repr=False)


async def admission_of(secrets: Secrets, connection: AnyConnection) -> Admission:
    """Raises NotReady if a Secret, a ConfigMap or a key is missing, or its value is not usable."""
    return Admission(
        credentials=await _credentials_of(secrets, connection),
        tls=await _tls_of(secrets, connection),
        headers=await _headers_of(secrets, connection),
    )


async def ca_bundle_of(secrets: Secrets, connection: AnyConnection) -> bytes | None:
    """Raises NotReady under the same conditions as `admission_of`."""
    ref = connection.spec.tls.ca_bundle_ref
    if ref is None:
        return None
    return await secrets.value(_source(connection, ref, ref.kind), ref.key)


def check_usable(tls: TLSOptions, *, ca: str, client: str) -> None:
    """Raises NotReady for unusable certificates; `ca` and `client` name their sources."""
    try:
        tls.context  # noqa: B018 - it is made when it is first asked for
    except UnusableAuthoritiesError as error:
        raise NotReady(Reason.INVALID_SPEC, f"{ca} {error}.") from None
    except UnusableClientCertificateError as error:
        raise NotReady(Reason.INVALID_SPEC, f"{client} {error}.") from None


def check(connection: AnyConnection, admission: Admission) -> None:
    """Raises NotReady for unusable certificates. Separate from reading them, because parsing is slow."""
    tls = connection.spec.tls
    bundle, client = tls.ca_bundle_ref, tls.client_certificate_ref
    check_usable(
        admission.tls,
        ca=f"{bundle.kind} {bundle.name}, key {bundle.key!r}," if bundle else "The CA bundle",
        client=_named(_source(connection, client)) if client else "The client certificate",
    )


async def _credentials_of(secrets: Secrets, connection: AnyConnection) -> Credentials:
    ref = connection.spec.credentials_secret_ref
    source = _source(connection, ref)

    async def text(key: str) -> str:
        value = await secrets.value(source, key)
        try:
            # Editors and `kubectl create secret --from-file` add a newline at the end.
            stripped = value.decode().strip("\r\n")
        except UnicodeDecodeError:
            stripped = ""
        if not stripped:
            raise NotReady(Reason.INVALID_SPEC, f"Key {key!r} of {_named(source)} is empty or is not UTF-8 text.")
        return stripped

    return Credentials(await text(ref.username_key), await text(ref.password_key))


async def _tls_of(secrets: Secrets, connection: AnyConnection) -> TLSOptions:
    stated = connection.spec.tls
    return TLSOptions(
        ca=await ca_bundle_of(secrets, connection),
        skip_verify=stated.insecure_skip_verify,
        server_name=stated.server_name,
        client=await _client_certificate_of(secrets, connection),
    )


async def _client_certificate_of(secrets: Secrets, connection: AnyConnection) -> ClientCertificate | None:
    ref = connection.spec.tls.client_certificate_ref
    if ref is None:
        return None
    source = _source(connection, ref)
    certificate, key = await secrets.value(source, "tls.crt"), await secrets.value(source, "tls.key")
    return ClientCertificate(certificate, key)


async def _headers_of(secrets: Secrets, connection: AnyConnection) -> tuple[tuple[str, str], ...]:
    async def header(stated: HeaderFrom) -> tuple[str, str]:
        ref = stated.secret_key_ref
        source = _source(connection, ref)
        try:
            return stated.name, header_of((await secrets.value(source, ref.key)).strip(b" \t\r\n"))
        except UnusableError as error:
            raise NotReady(Reason.INVALID_SPEC, f"Key {ref.key!r} of {_named(source)} {error}") from None

    return tuple([await header(stated) for stated in connection.spec.headers_from])


def _source(connection: AnyConnection, ref: Named, kind: str = "Secret") -> Key:
    """References of a HarborConnection stay in its own namespace."""
    return Key(kind, getattr(ref, "namespace", connection.metadata.namespace), ref.name)


def _named(source: Key) -> str:
    return f"{source.kind} {source.namespace}/{source.name}"
