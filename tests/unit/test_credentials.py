"""Whose certificates to trust, as people have them in files."""

from __future__ import annotations

import pytest

from harborhook.api.conditions import NotReady
from harborhook.reconcile.credentials import trust
from harness.certificates import Authority


def trusted(bundle: bytes) -> int:
    """How many more authorities than the system's."""
    return (
        trust(bundle, "It", skip_verify=False).cert_store_stats()["x509_ca"]
        - trust(None, "", skip_verify=False).cert_store_stats()["x509_ca"]
    )


COMMENT = "NetLock Arany (Class Gold) Fötanúsítvány\n====\n"


@pytest.mark.parametrize("comment", [b"", COMMENT.encode(), COMMENT.encode("cp1252"), "\ufeff".encode(), b"a\r\nb\r\n"])
def test_a_bundle_may_have_comments_in_any_language(comment: bytes) -> None:
    assert trusted(b"".join(comment + Authority().bundle.encode() for _ in range(2))) == 2


@pytest.mark.parametrize(
    "bundle", [b"", b"\xff\xfe", "Főtanúsítvány".encode(), b"-----BEGIN CERTIFICATE-----\n", b"\0"]
)
def test_what_holds_no_certificate_is_told(bundle: bytes) -> None:
    with pytest.raises(NotReady, match="It holds no certificates in PEM format"):
        trust(bundle, "It", skip_verify=False)
