"""Attacks that need no cluster to be tested; docs/security.md lists all attacks with their tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from harborhook.api.base import PROJECT_NAME_PATTERN
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import ProjectNameError
from harborhook.harbor.transport import Credentials, Transport
from harborhook.headers import wrong_with
from harborhook.plan.access import matches
from harborhook.plan.target_values import UnusableError, header_of
from harness.hostile import hostile, json_answer
from harness.paths import REPOSITORY

CRDS = [
    found
    for path in sorted((REPOSITORY / "crds").glob("*.yaml"))
    for found in yaml.safe_load_all(path.read_text())
    if found and found["kind"] == "CustomResourceDefinition"
]

LOOK_ALIKES = [
    "te\u0430m-a",
    "team\u2010a",
    "team-a\u200b",
    "\uff54eam-a",
    "team-a\u0301",
    "TEAM-A",
    "team-a ",
    "team-a\x00",
]
"""A Cyrillic letter, another hyphen, a zero-width space, a full-width letter, an accent, capitals, a space, a NUL."""


@pytest.mark.parametrize("name", LOOK_ALIKES)
async def test_a_name_that_looks_like_another_ones_project_is_not_its_name(name: str) -> None:
    assert re.fullmatch(PROJECT_NAME_PATTERN, name) is None
    assert not matches("team-a", name)
    if not name.isascii() or not name.isprintable() or " " in name:
        async with hostile(lambda _: json_answer({})) as server:
            client = HarborClient(Transport(server.url, Credentials("robot", "secret")))
            with pytest.raises(ProjectNameError):
                await client.project(name)
            await client.close()

            assert server.requests == []


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\0", "\x0b", "\x85", "\u2028"])
def test_no_second_header_can_be_put_behind_a_value(end: str) -> None:
    with pytest.raises(UnusableError):
        header_of(f"Bearer abc{end}X-Forwarded-User: admin".encode())
    assert wrong_with(f"X-Gateway{end}X-Forwarded-User") is not None


@pytest.mark.parametrize("name", ["Authorization", "cookie", "HOST", "X-Is-Resource-Name", "Transfer-Encoding"])
def test_a_gateway_header_cannot_replace_what_the_operator_sends_itself(name: str) -> None:
    assert wrong_with(name) is not None


def unbounded(schema: dict[str, Any], path: str) -> Iterator[str]:
    if schema.get("type") == "string" and not {"maxLength", "enum", "format"} & schema.keys():
        yield path
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield f"{path}[]"
    for name, inner in schema.get("properties", {}).items():
        yield from unbounded(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from unbounded(schema["items"], f"{path}[]")


@pytest.mark.parametrize("crd", CRDS, ids=lambda crd: crd["spec"]["names"]["kind"])
def test_nothing_in_a_spec_can_be_a_megabyte(crd: dict[str, Any]) -> None:
    (version,) = crd["spec"]["versions"]

    assert list(unbounded(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec")) == []
