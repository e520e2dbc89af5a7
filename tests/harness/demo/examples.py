"""Copies manifests/examples with the placeholders filled in, and otherwise unchanged."""

from __future__ import annotations

import re
from pathlib import Path

EXAMPLES = "manifests/examples"
TOKEN = "first-token"
_HARBOR_URL = "url: https://harbor.example.com"


def fill_in(source: Path, target: Path, *, harbor: str, password: str, receiver: str) -> None:
    """Copies the examples, for a Harbor at `harbor` and with all webhooks going to `receiver`."""
    target.mkdir(parents=True)
    for example in sorted(source.glob("*.yaml")):
        filled = _filled(example.read_text(), harbor, password, receiver)
        if "REPLACE" in filled:
            raise ValueError(f"{example.name} has a placeholder that the demonstration does not know")
        (target / example.name).write_text(filled)


def receiver_path(address: str) -> str:
    """Returns the path at which the receiver gets requests to that address of the examples."""
    return "/" + address.removeprefix("https://").partition("?")[0]


def _filled(text: str, harbor: str, password: str, receiver: str) -> str:
    text = text.replace("password: REPLACE-ME", f"password: {password}")
    text = text.replace("Bearer REPLACE-ME", f"Bearer {TOKEN}")
    text = text.replace("services/REPLACE/ME", "services/T0000/B0000")
    text = re.sub(rf"(?!{_HARBOR_URL})(address|url): https://", rf"\1: {receiver}/", text)
    return text.replace(_HARBOR_URL, f"url: {harbor}\n  allowInsecureHTTP: true")
