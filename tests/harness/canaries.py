"""Collects every secret that tests give to the operator, and searches for them in its output.

Sources are the manifests that tests write, the requests that they send to Harbor, and the values that they plant. A
text is searched for each secret in clear, and in the forms that JSON, URLs and base64 give it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import httpx

Object = dict[str, Any]

SHORTEST = 7
"""Minimum length of a searchable secret: a shorter one occurs in any log."""
PUBLIC_KEYS = {"username", "ca.crt", "tls.crt"}
"""Keys of Secrets whose values a status may show."""
SCHEMES = {"bearer", "basic", "token"}


@dataclass
class Canaries:
    planted: set[str] = field(default_factory=set)

    def plant(self, value: str) -> None:
        """Adds one secret: the whole value, its words, and the secret parts of an address."""
        self.planted.update(part for part in _parts(value.strip()) if len(part) >= SHORTEST)

    def plant_manifest(self, manifest: Object) -> None:
        """Adds the values of a Secret, and the addresses and headers of a WebhookPolicy. Accepts patches too."""
        encoded = ((key, _decoded(value)) for key, value in (manifest.get("data") or {}).items())
        for key, value in [*encoded, *(manifest.get("stringData") or {}).items()]:
            if key not in PUBLIC_KEYS:
                self.plant(value or "")
        self.plant_targets((manifest.get("spec") or {}).get("targets"))

    def plant_targets(self, targets: Any) -> None:
        """Adds the secrets of targets, in the form of WebhookPolicies or of Harbor; skips anything else."""
        for target in targets if isinstance(targets, list) else ():
            if isinstance(target, dict):
                self.planted.update(
                    part for part in _of_address(str(target.get("address", ""))) if len(part) >= SHORTEST
                )
                self.plant(str(target.get("auth_header", "")))

    def hear(self, request: httpx.Request) -> None:
        """An httpx hook that adds the secrets in a test's requests to Harbor."""
        if request.method in ("POST", "PUT") and "/webhook/policies" in request.url.path:
            self.plant_targets(json.loads(request.content).get("targets"))

    def search(self, text: str) -> list[str]:
        """Returns the secrets that the text contains in any form."""
        return sorted(secret for secret in self.planted if holds(text, secret))


OF_THE_RUN = Canaries()


def holds(text: str, secret: str) -> bool:
    return any(form in text for form in forms(secret))


@cache
def forms(secret: str) -> frozenset[str]:
    """Returns the forms of a secret in a text: in clear, escaped, or as a part of a longer base64 text."""
    data = secret.encode()
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    found |= {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        # Without the characters that depend on neighbouring bytes.
        whole = encoded[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6].decode()
        found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return frozenset(found)


def _parts(value: str) -> Iterator[str]:
    yield value
    if "-----BEGIN" in value:
        yield from (line for line in value.splitlines() if not line.startswith("-----"))
        return
    for word in value.split():
        yield from _of_address(word)
        if word.lower() not in SCHEMES:
            yield word


def _of_address(word: str) -> Iterator[str]:
    """Yields user, password, path and query. A path counts only together with its host, since it may be any word."""
    url = _split(word)
    if url is None:
        return
    yield from (part for part in (url.username, url.password, url.query) if part)
    host = url.netloc.rpartition("@")[2]
    if url.path.strip("/"):
        yield host + url.path
        yield from (part for part in url.path.split("/") if "c4nary" in part)


def _split(word: str) -> SplitResult | None:
    try:
        return urlsplit(word) if word.startswith(("http://", "https://")) else None
    except ValueError:
        return None


def _decoded(value: str | None) -> str:
    return base64.b64decode(value or "").decode(errors="replace")
