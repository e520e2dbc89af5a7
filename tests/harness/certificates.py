"""Certificates for servers and clients of the tests, from authorities that only the tests trust."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority for one test."""

    name = "O=Harbor tests, OU=Certificates"

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="Harbor tests", organization_unit_name="Certificates")

    @property
    def bundle(self) -> str:
        """Returns the certificates to trust, in PEM format."""
        return self._authority.cert_pem.bytes().decode()

    def certify(
        self, directory: Path, *names: str, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[Path, Path]:
        """Returns certificate (with the authority's, so that the file can serve as a bundle) and key for a server."""
        certificate, key = self.issue(*names, since=since, until=until)
        files = directory / "certificate.pem", directory / "key.pem"
        files[0].write_text(certificate + self.bundle)
        files[1].write_text(key)
        return files

    def issue(self, *names: str, since: datetime | None = None, until: datetime | None = None) -> tuple[str, str]:
        """Returns certificate and key in PEM format; an e-mail address as name makes a client's certificate."""
        leaf = self._authority.issue_cert(*names, not_before=since, not_after=until)
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        return chain.decode(), leaf.private_key_pem.bytes().decode()


class BareAuthority(Authority):
    """An authority like one of `openssl req -x509` with the commands in Harbor's documentation, without keyUsage. Its
    certificates lack authorityKeyIdentifier, as those of `openssl x509 -req` without an extension file."""

    name = "CN=Bare"

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            _builder("Bare", "Bare", self._key)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        )
        self._certificate = builder.sign(self._key, hashes.SHA256())

    @property
    def bundle(self) -> str:
        return _pem(self._certificate)

    def issue(self, *names: str, since: datetime | None = None, until: datetime | None = None) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
        builder = _builder("Server", "Bare", key).add_extension(alternatives, critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key)


def self_signed(*names: str) -> tuple[str, str]:
    """Returns certificate and key in PEM format of a self-signed server."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
    builder = _builder("Self", "Self", key).add_extension(alternatives, critical=False)
    return _pem(builder.sign(key, hashes.SHA256())), _key_pem(key)


def encrypted(key: str) -> str:
    """Returns the key with a passphrase."""
    loaded = serialization.load_pem_private_key(key.encode(), None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    ).decode()


def server_context(directory: Path, certificate: str, key: str, clients: Authority | None = None) -> ssl.SSLContext:
    """Returns the context of a server; with `clients` it requires a certificate that they have issued."""
    files = directory / "served.pem", directory / "served.key"
    for file, content in zip(files, (certificate, key), strict=True):
        file.write_text(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.bundle)
    return context


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    unencrypted = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted).decode()
