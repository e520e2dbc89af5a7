"""Writes the credentials for the API server: token file, service-account key and kubeconfigs.

All users in the token file are cluster administrators. They differ by name only, so that the audit log distinguishes
the tests' writes from those of the controllers.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

ADMIN = "admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
AUDIT_FENCE = "harness:audit-fence"


def write_token_file(file: Path) -> dict[str, str]:
    """Creates a token for each administrator, or keeps those of an earlier run; returns them by user name."""
    if not file.exists():
        lines = [f'{secrets.token_hex(16)},{user},{user},"system:masters"' for user in _USERS]
        _write_private(file, "\n".join(lines) + "\n")
    fields = [line.split(",") for line in file.read_text().splitlines()]
    return {user: token for token, user, *_ in fields}


_USERS = (ADMIN, CONTROLLER_MANAGER, AUDIT_FENCE)


def write_signing_key(file: Path) -> None:
    """Creates the key that signs service-account tokens: an elliptic one (P-256), which needs no library."""
    if file.exists():
        return
    scalar = (secrets.randbelow(1 << 255) + 1).to_bytes(32, "big")  # below the order of the curve, about 1 << 256
    # RFC 5915: SEQUENCE { version 1, OCTET STRING scalar, [0] OID prime256v1 }; the public key may be left out.
    der = bytes.fromhex("3031 020101 0420") + scalar + bytes.fromhex("a00a 0608 2a8648ce3d030107")
    text = base64.b64encode(der).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    _write_private(file, "\n".join(["-----BEGIN EC PRIVATE KEY-----", *lines, "-----END EC PRIVATE KEY-----", ""]))


def write_kubeconfig(file: Path, *, server: str, ca_file: Path, token: str, namespace: str = "default") -> Path:
    """Writes a self-contained kubeconfig, with certificate and token in it."""
    cluster = {"server": server}
    if server.startswith("https:"):
        cluster["certificate-authority-data"] = base64.b64encode(ca_file.read_bytes()).decode()
    name = "harness"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
    }
    _write_private(file, json.dumps(document, indent=2) + "\n")  # JSON is YAML
    return file


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
