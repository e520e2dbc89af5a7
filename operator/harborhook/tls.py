"""Creates every SSLContext of the operator, and classifies failed handshakes.

Harbor, receivers, proxies and the API server are verified by contexts of this module; no other module creates one.
Since Python 3.13 a default context refuses authorities without the extension keyUsage and certificates without
authorityKeyIdentifier (VERIFY_X509_STRICT). The commands in Harbor's own documentation create such authorities, and
some Kubernetes distributions have one. An authority that an administrator has configured is trusted anyway, so that
flag is cleared.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not define."""


class UnusableAuthoritiesError(ValueError):
    """Unusable authorities; the text is the end of a sentence and does not show them."""


class UnusableClientCertificateError(ValueError):
    """An unusable client certificate or key; the text does not show them either."""


@dataclass(frozen=True)
class ClientCertificate:
    """The certificate for servers that request one, in PEM format; no repr shows the key."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class TLSOptions:
    """How to verify a server, and the client certificate for it."""

    ca: bytes | None = field(default=None, repr=False)
    """Authorities that are trusted besides the system's, in PEM format."""
    ca_alone: bool = False
    """Trust `ca` only, not the system's authorities, as in a kubeconfig."""
    skip_verify: bool = False
    server_name: str | None = None
    """The name to send to the server and to verify in its certificate, instead of the URL's host."""
    client: ClientCertificate | None = None

    @cached_property
    def context(self) -> ssl.SSLContext:
        """Creates the context once, which takes 25 ms. Raises UnusableAuthoritiesError and
        UnusableClientCertificateError."""
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.server_name = self.server_name
        if self.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            if self.ca is None or not self.ca_alone:
                context.load_default_certs()
            if self.ca is not None:
                _trust(context, self.ca)
        if self.client is not None:
            _show(context, self.client)
        return relaxed(context)


class _Context(ssl.SSLContext):
    """Sends `server_name` if one is stated; behind a proxy httpcore ignores its own extension for that."""

    server_name: str | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, self.server_name or server_hostname, session)


def relaxed(context: ssl.SSLContext) -> ssl.SSLContext:
    """Returns the context, changed to accept any configured authority, also an intermediate one."""
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def reading(certificate: bytes) -> ssl.SSLContext:
    """Returns a context that accepts only this certificate (DER), regardless of its names and times, so that Python
    parses it."""
    context = relaxed(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.check_hostname = False
    context.verify_flags |= _NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate)
    return context


def _trust(context: ssl.SSLContext, bundle: bytes) -> None:
    try:
        # Certificates are ASCII; comments between them need not be, but ssl accepts only ASCII.
        context.load_verify_locations(cadata=bundle.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise UnusableAuthoritiesError("holds no certificates in PEM format") from None


def _show(context: ssl.SSLContext, client: ClientCertificate) -> None:
    """Loads the client certificate; ssl reads certificate and key only from files."""

    def no_passphrase() -> str:
        raise UnusableClientCertificateError("holds an encrypted private key: store it without a passphrase")

    try:
        with _file(client.certificate) as certificate, _file(client.key) as key:
            context.load_cert_chain(certificate, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnusableClientCertificateError(
                "holds a private key that does not belong to the certificate"
            ) from None
        raise UnusableClientCertificateError("holds no usable certificate and private key in PEM format") from None


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """Yields the path of a file with this content that never reaches a disk: a pod's file system is read-only
    anyway."""
    if not hasattr(os, "memfd_create"):  # not Linux: a developer's machine
        with tempfile.NamedTemporaryFile() as file:  # only its owner can read it
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("pem")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


# Failures


class Failure(Enum):
    """Why a handshake failed, as a clause. Those before NOT_TLS concern the server's certificate."""

    UNKNOWN_AUTHORITY = "no trusted authority issued it"
    SELF_SIGNED = "it is self-signed"
    EXPIRED = "it, or the certificate of an authority above it, has expired"
    NOT_YET_VALID = "it is not valid yet"
    OTHER_NAME = "it is for another host name"
    UNACCEPTABLE = "it does not meet current requirements"
    NOT_TLS = "it does not answer with TLS, but perhaps with plain HTTP"
    OLD_PROTOCOL = "it offers neither TLS 1.2 nor TLS 1.3"
    HANDSHAKE_REFUSED = "it refuses the TLS handshake"
    CLIENT_CERTIFICATE_REQUIRED = "it requires a client certificate"
    CLIENT_CERTIFICATE_REFUSED = "it does not accept the client certificate"
    UNKNOWN_SERVER_NAME = "it has no certificate for the requested host name"
    BROKEN_OFF = "it ended the TLS handshake without a reason"
    OTHER = "the TLS connection failed"

    @property
    def is_of_certificate(self) -> bool:
        return self in _OF_CERTIFICATE


_OF_CERTIFICATE = frozenset(
    {
        Failure.UNKNOWN_AUTHORITY,
        Failure.SELF_SIGNED,
        Failure.EXPIRED,
        Failure.NOT_YET_VALID,
        Failure.OTHER_NAME,
        Failure.UNACCEPTABLE,
    }
)

_BY_VERIFY_CODE = {
    2: Failure.UNKNOWN_AUTHORITY,
    9: Failure.NOT_YET_VALID,
    10: Failure.EXPIRED,
    18: Failure.SELF_SIGNED,
    19: Failure.UNKNOWN_AUTHORITY,
    20: Failure.UNKNOWN_AUTHORITY,
    21: Failure.UNKNOWN_AUTHORITY,
    62: Failure.OTHER_NAME,
    64: Failure.OTHER_NAME,
}
"""OpenSSL's X509_V_ERR_*."""

_CLIENT_CERTIFICATE = Failure.CLIENT_CERTIFICATE_REFUSED
_BY_REASON = {
    "WRONG_VERSION_NUMBER": Failure.NOT_TLS,
    "RECORD_LAYER_FAILURE": Failure.NOT_TLS,  # name in OpenSSL 3.2 and newer
    "PACKET_LENGTH_TOO_LONG": Failure.NOT_TLS,
    "UNKNOWN_PROTOCOL": Failure.NOT_TLS,
    "UNSUPPORTED_PROTOCOL": Failure.OLD_PROTOCOL,
    "TLSV1_ALERT_PROTOCOL_VERSION": Failure.OLD_PROTOCOL,
    "WRONG_SSL_VERSION": Failure.OLD_PROTOCOL,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Failure.HANDSHAKE_REFUSED,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": Failure.HANDSHAKE_REFUSED,
    "DH_KEY_TOO_SMALL": Failure.HANDSHAKE_REFUSED,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Failure.CLIENT_CERTIFICATE_REQUIRED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_DECRYPT_ERROR": _CLIENT_CERTIFICATE,
    "UNEXPECTED_EOF_WHILE_READING": Failure.BROKEN_OFF,
    "TLSV1_UNRECOGNIZED_NAME": Failure.UNKNOWN_SERVER_NAME,
}
"""OpenSSL's names of errors, and of alerts that a server sends."""


def failure_of(error: BaseException | None, tls: TLSOptions) -> Failure | None:
    """Returns why the handshake behind this error failed; None if it was not a handshake."""
    while error is not None and not isinstance(error, ssl.SSLError):
        if _ended_handshake(error):
            return Failure.BROKEN_OFF
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, Failure.UNACCEPTABLE)
    found = _BY_REASON.get(error.reason or "", Failure.OTHER)
    if found is Failure.CLIENT_CERTIFICATE_REFUSED and tls.client is None:  # sent by Go's servers with TLS 1.2
        return Failure.CLIENT_CERTIFICATE_REQUIRED
    return found


def _ended_handshake(error: BaseException) -> bool:
    """asyncio raises this error if a connection ends during the handshake; any other reset has a number or a text."""
    return isinstance(error, ConnectionResetError) and not error.args
