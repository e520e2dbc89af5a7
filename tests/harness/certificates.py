"""Certificates for servers of the tests, from an authority that nobody else trusts."""

from __future__ import annotations

from pathlib import Path

import trustme


class Authority:
    """A certificate authority of a test's own."""

    name = "O=Harbor tests, OU=Certificates"

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="Harbor tests", organization_unit_name="Certificates")

    @property
    def bundle(self) -> str:
        """What has to be trusted, in PEM format."""
        return self._authority.cert_pem.bytes().decode()

    def certify(self, directory: Path, *names: str) -> tuple[Path, Path]:
        """Certificate (with the authority's, so that the file can be trusted as it is) and key for a server."""
        leaf = self._authority.issue_cert(*names)
        certificate, key = directory / "certificate.pem", directory / "key.pem"
        chain = b"".join(part.bytes() for part in leaf.cert_chain_pems)
        certificate.write_bytes(chain + self._authority.cert_pem.bytes())
        key.write_bytes(leaf.private_key_pem.bytes())
        return certificate, key
