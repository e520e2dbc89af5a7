"""Selects the operator to measure: that of this checkout, or that of another checkout by `--operator`.

Code, roles and CRDs come from the selected checkout. All measuring code comes from this one, so that two operators can
be compared on one machine.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.paths import REPOSITORY


class NoCheckoutError(Exception):
    """The directory contains no operator sources."""


@dataclass(frozen=True)
class Checkout:
    """A directory with an operator's sources, in the layout of its repository."""

    root: Path = REPOSITORY

    @classmethod
    def at(cls, folder: Path) -> Checkout:
        """Raises NoCheckoutError if the directory contains no operator."""
        found = cls(folder.resolve())
        needed = (found.package / "harborhook/__main__.py", found.base / "kustomization.yaml", found.root / "crds")
        missing = [path for path in needed if not path.exists()]
        if missing:
            raise NoCheckoutError(f"{folder} does not hold the sources of an operator: there is no {missing[0]}")
        return found

    @property
    def package(self) -> Path:
        """The directory for PYTHONPATH."""
        return self.root / "operator"

    @property
    def base(self) -> Path:
        """The kustomization with its CRDs and roles."""
        return self.root / "manifests/base"

    @property
    def python(self) -> str:
        """The Python of its virtual environment, which has its pinned dependencies; without one, this Python."""
        own = self.root / ".venv/bin/python"
        return str(own) if own.exists() else sys.executable

    @property
    def version(self) -> str:
        """The version in its pyproject.toml."""
        stated = tomllib.loads((self.root / "pyproject.toml").read_text())
        return str(stated["project"]["version"])

    def lacks(self, fields: Iterable[str]) -> list[str]:
        """Returns the given fields that its CRDs lack; a field has the form `webhookpolicies.spec.redelivery`."""
        schemas = {
            crd["spec"]["names"]["plural"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            for crd in (yaml.safe_load(file.read_text()) for file in sorted((self.root / "crds").glob("*.yaml")))
            if crd["kind"] == "CustomResourceDefinition"
        }
        return [field for field in fields if not _has(schemas, *field.split("."))]


def _has(schemas: dict[str, Any], kind: str, *names: str) -> bool:
    schema = schemas.get(kind)
    for name in names:
        schema = None if schema is None else schema.get("properties", {}).get(name)
    return schema is not None
