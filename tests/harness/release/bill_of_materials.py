"""The software bill of materials (CycloneDX): the operator and the packages that requirements.lock pins.

Licenses and dependencies come from the installed packages. A package of the lock that this platform does not install is
listed without them.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from cyclonedx.model import ExternalReference, ExternalReferenceType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harborhook import __version__
from harness.chart_files import project_metadata

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def bill_of_materials(lock: str, date: int) -> str:
    """Returns the bill for a lock file as JSON."""
    project = project_metadata()
    operator = _component("harborhook", __version__, ComponentType.APPLICATION, project["license"])
    operator.description = project["description"]
    operator.external_references.add(
        ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(project["urls"]["Repository"]))
    )
    packages: dict[str, Component] = {
        canonicalize_name(name): _package(name, version) for name, version in _PINNED.findall(lock)
    }
    bill = Bom(
        components=packages.values(),
        metadata=BomMetaData(component=operator, timestamp=datetime.fromtimestamp(date, UTC)),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{operator.purl} {hashlib.sha256(lock.encode()).hexdigest()}"),
    )
    bill.register_dependency(operator, _named(project["dependencies"], packages))
    for name, component in packages.items():
        found = _installed(name)
        bill.register_dependency(component, _named(found.requires or [] if found else [], packages))
    return f"{JsonV1Dot6(bill).output_as_string(indent=2)}\n"


def _package(name: str, version: str) -> Component:
    found = _installed(name)
    stated = found.metadata["License-Expression"] if found and "License-Expression" in found.metadata else None
    return _component(name, version, ComponentType.LIBRARY, stated)


def _component(name: str, version: str, kind: ComponentType, license_expression: str | None) -> Component:
    purl = PackageURL("pypi", name=canonicalize_name(name), version=version)
    component = Component(name=name, version=version, type=kind, purl=purl, bom_ref=str(purl))
    if license_expression:
        component.licenses.add(LicenseExpression(license_expression))
    return component


def _named(requirements: list[str], packages: dict[str, Component]) -> Iterator[Component]:
    """Yields the packages of the lock that the requirements name; those of unused extras are not in it."""
    for name in sorted({canonicalize_name(Requirement(text).name) for text in requirements}):
        if name in packages:
            yield packages[name]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
