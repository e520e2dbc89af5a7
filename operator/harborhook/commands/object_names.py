"""Derives names of Kubernetes objects from names in Harbor: valid, unique and stable."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeVar

from harborhook.api.base import PROJECT_NAME_LIMIT, PROJECT_NAME_PATTERN

LENGTH = 200
"""Maximum length of a derived name. It leaves room for a suffix: Kubernetes allows 253 characters."""
DIGEST = 6

HarborName = TypeVar("HarborName", str, tuple[str, str])
"""Name of a project in Harbor, or of a project and of a policy in it."""


def is_project_name(name: str) -> bool:
    """Whether a HarborProject can have the name: projects older than Harbor's rule may have other names."""
    return len(name) <= PROJECT_NAME_LIMIT and re.fullmatch(PROJECT_NAME_PATTERN, name) is not None


def project_names(names: Sequence[str]) -> dict[str, str]:
    """Maps each project's name in Harbor to one for its object. Only `_` is replaced; a valid name is kept."""
    ordered = sorted(names, key=lambda name: (_of_project(name) != name, name))
    return _unique({name: _of_project(name) for name in ordered})


def policy_names(policies: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """Maps project and policy in Harbor to a name for the object; `policies` has the HarborProject's name for each.

    The name begins with the project's, so that a policy in another project never changes it.
    """
    return _unique({key: _cut(f"{project}-{_slug(key[1]) or 'policy'}", key) for key, project in policies.items()})


def _unique(wanted: Mapping[HarborName, str]) -> dict[HarborName, str]:
    """Resolves collisions: the later name gets a part of its Harbor name's digest appended."""
    given: dict[HarborName, str] = {}
    taken: set[str] = set()
    for source, name in wanted.items():
        given[source] = name if name not in taken else f"{name}-{_digest(source)}"
        taken.add(given[source])
    return given


def _of_project(name: str) -> str:
    return _cut(name.replace("_", "-"), name)


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")


def _cut(name: str, source: str | tuple[str, str]) -> str:
    return name if len(name) <= LENGTH else f"{name[:LENGTH].rstrip('-.')}-{_digest(source)}"


def _digest(source: str | tuple[str, str]) -> str:
    text = source if isinstance(source, str) else "/".join(source)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:DIGEST]
