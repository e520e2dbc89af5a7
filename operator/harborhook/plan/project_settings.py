"""The table of all project settings that Harbor keeps as metadata.

A new setting needs one row here and its field in api/project.py. Creation, comparison, updates, reports, version checks
and the export all follow from the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from harborhook.api.base import ApiModel
from harborhook.api.project import HarborProjectSpec
from harborhook.harbor.capabilities import FLOOR, Version
from harborhook.harbor.models import Project

SettingValue = bool | int | str


@dataclass(frozen=True, eq=False)
class ValueKind:
    """How to read one kind of metadata value; Harbor stores all of them as strings."""

    absent: str
    """The value that Harbor assumes where the key is absent."""
    read: Callable[[str], SettingValue | None]
    """Returns the value for a spec; None for an invalid value, which Harbor stores too."""
    canonical: Callable[[str], str] = str
    """Returns the canonical one of equivalent spellings."""


def _flag(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("-?[0-9]{1,10}", text) else None


def _severity(text: str) -> str:
    """Harbor has two words for the lowest severity, and some versions accept any case."""
    lower = text.lower()
    return "none" if lower == "negligible" else lower


FLAG = ValueKind("false", _flag)
FLAG_ON = ValueKind("true", _flag)
"""A flag that Harbor assumes to be set where it is absent."""
NUMBER = ValueKind("", _number)
TEXT = ValueKind("", lambda text: text or None)
SEVERITY = ValueKind("", _severity, canonical=_severity)


class Projects(Enum):
    """The projects that have a setting. Harbor drops it silently on the others."""

    ALL = "all"
    PROXY_CACHES = "proxy caches"
    NOT_PROXY_CACHES = "projects that are not proxy caches"


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a project."""

    field: str
    """Path of the field below spec."""
    key: str
    """Key in the metadata of a Harbor project."""
    kind: ValueKind = FLAG
    since: Version = FLOOR
    """The first Harbor that supports it; an older one drops it silently."""
    projects: Projects = Projects.ALL
    with_siblings: bool = False
    """Harbor accepts it only together with the other fields of the same object, in one request."""

    def is_known_to(self, version: Version | None) -> bool:
        """Whether a Harbor of this version has the setting; an unknown version is assumed to be new."""
        return version is None or version >= self.since

    def applies_to(self, project: Project) -> bool:
        is_proxy_cache = project.registry_id is not None
        return self.projects is Projects.ALL or is_proxy_cache is (self.projects is Projects.PROXY_CACHES)

    def stated(self, spec: HarborProjectSpec) -> str | None:
        """Returns the stated value as Harbor's string; None if the spec does not manage it."""
        value = value_at(spec, self.field)
        if isinstance(value, bool):
            return "true" if value else "false"
        return None if value is None else str(value)

    def observed(self, project: Project) -> str:
        return self.kind.canonical(project.metadata.get(self.key, self.kind.absent))

    @property
    def written_with(self) -> tuple[Setting, ...]:
        """All settings that the same request has to write, including this one, in the order of the table."""
        if not self.with_siblings:
            return (self,)
        return tuple(one for one in SETTINGS if one.with_siblings and _parent(one) == _parent(self))


_PROXY = Projects.PROXY_CACHES

SETTINGS: tuple[Setting, ...] = (
    Setting("public", "public"),
    Setting("vulnerability.autoScan", "auto_scan"),
    Setting("vulnerability.preventPull.enabled", "prevent_vul"),
    Setting("vulnerability.preventPull.severity", "severity", SEVERITY),
    Setting("sbom.autoGenerate", "auto_sbom_generation", since=(2, 11, 0)),
    Setting("contentTrust.cosign", "enable_content_trust_cosign", since=(2, 5, 0)),
    # Before 2.9 the key meant Notary, which Harbor has removed.
    Setting("contentTrust.notation", "enable_content_trust", since=(2, 9, 0), projects=Projects.NOT_PROXY_CACHES),
    # Harbor 2.16, src/pkg/project/models/project.go: a project without the key uses the system's list.
    Setting("cveAllowlist.reuseSystem", "reuse_sys_cve_allowlist", FLAG_ON),
    Setting("proxyCache.speedLimitKbps", "proxy_speed_kb", NUMBER, (2, 12, 0), _PROXY),
    Setting("proxyCache.maxUpstreamConnections", "max_upstream_conn", NUMBER, (2, 15, 0), _PROXY),
    Setting("proxyCache.serveLocalOnNotFound", "proxy_cache_local_on_not_found", FLAG, (2, 16, 0), _PROXY),
    Setting("proxyCache.referrerAPI", "proxy_referrer_api", FLAG, (2, 16, 0), _PROXY),
    Setting("proxyCache.filter.pattern", "proxy_cache_filter_pattern", TEXT, (2, 16, 0), _PROXY, with_siblings=True),
    Setting("proxyCache.filter.kind", "proxy_cache_filter_kind", TEXT, (2, 16, 0), _PROXY, with_siblings=True),
)
"""All metadata keys of Harbor 2.16 except retention_id, which refers to another object of Harbor."""


def stated_settings(spec: HarborProjectSpec) -> dict[Setting, str]:
    """Returns the settings that the spec states, with Harbor's strings."""
    stated = ((setting, setting.stated(spec)) for setting in SETTINGS)
    return {setting: text for setting, text in stated if text is not None}


def metadata_of(stated: Iterable[tuple[Setting, str]]) -> dict[str, str]:
    """Returns the metadata for a request's body."""
    return {setting.key: text for setting, text in stated}


def value_at(spec: ApiModel, path: str) -> Any:
    """Returns the value of a field by its path in a manifest; None if the field or an object above it is absent."""
    value: Any = spec
    for name in path.split("."):
        if value is None:
            return None
        model: type[ApiModel] = type(value)
        value = getattr(value, _attributes(model)[name])
    return value


@cache
def _attributes(model: type[ApiModel]) -> dict[str, str]:
    """Maps names in a manifest to attributes of the model."""
    return {field.alias or attribute: attribute for attribute, field in model.model_fields.items()}


def _parent(setting: Setting) -> str:
    return setting.field.rpartition(".")[0]
