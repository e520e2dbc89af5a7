"""The settings of a project that Harbor keeps as metadata: one table, from which everything about them follows.

A setting that Harbor gets is one row here and its field in api/project.py. The operator then creates projects with it,
compares, writes and reports it, says which Harbor is too old for it, and the export states it.
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
    """How Harbor's strings, which is all that metadata can hold, are read."""

    absent: str
    """What Harbor takes an absent value for."""
    read: Callable[[str], SettingValue | None]
    """The value for a spec; None for junk, which Harbor stores too."""
    canonical: Callable[[str], str] = str
    """The one spelling of several that mean the same."""


def _flag(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("-?[0-9]{1,10}", text) else None


def _severity(text: str) -> str:
    """Harbor has two words for the lowest severity, and took any case at times."""
    lower = text.lower()
    return "none" if lower == "negligible" else lower


FLAG = ValueKind("false", _flag)
FLAG_ON = ValueKind("true", _flag)
"""A flag that Harbor takes for set where it is absent."""
NUMBER = ValueKind("", _number)
TEXT = ValueKind("", lambda text: text or None)
SEVERITY = ValueKind("", _severity, canonical=_severity)


class Projects(Enum):
    """Which projects have a setting. Harbor drops it silently on the others."""

    ALL = "all"
    PROXY_CACHES = "proxy caches"
    NOT_PROXY_CACHES = "projects that are not proxy caches"


@dataclass(frozen=True, eq=False)
class Setting:
    """One setting of a project."""

    field: str
    """Path of its field below spec."""
    key: str
    """Harbor's name for it in a project's metadata."""
    kind: ValueKind = FLAG
    since: Version = FLOOR
    """The first Harbor that has it; an older one drops it silently."""
    projects: Projects = Projects.ALL
    with_siblings: bool = False
    """Harbor takes it only together with the other fields of the same object, in one request."""

    def is_known_to(self, version: Version | None) -> bool:
        """A Harbor of unknown version is taken for a new one."""
        return version is None or version >= self.since

    def applies_to(self, project: Project) -> bool:
        is_proxy_cache = project.registry_id is not None
        return self.projects is Projects.ALL or is_proxy_cache is (self.projects is Projects.PROXY_CACHES)

    def stated(self, spec: HarborProjectSpec) -> str | None:
        """What the spec states, as Harbor's string; None if it leaves Harbor's value alone."""
        value = value_at(spec, self.field)
        if isinstance(value, bool):
            return "true" if value else "false"
        return None if value is None else str(value)

    def observed(self, project: Project) -> str:
        return self.kind.canonical(project.metadata.get(self.key, self.kind.absent))

    @property
    def written_with(self) -> tuple[Setting, ...]:
        """All that one request has to write for it, itself among them, in the table's order."""
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
    # Before 2.9 the key meant Notary, which is gone.
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
"""All metadata keys of Harbor 2.16 but retention_id, which refers to an object of Harbor's own and is no setting."""


def stated_settings(spec: HarborProjectSpec) -> dict[Setting, str]:
    """The settings that the spec states, with Harbor's strings."""
    stated = ((setting, setting.stated(spec)) for setting in SETTINGS)
    return {setting: text for setting, text in stated if text is not None}


def metadata_of(stated: Iterable[tuple[Setting, str]]) -> dict[str, str]:
    """For the body of a request."""
    return {setting.key: text for setting, text in stated}


def value_at(spec: ApiModel, path: str) -> Any:
    """The value of a field, by its path in a manifest; None where it or an object above it is absent."""
    value: Any = spec
    for name in path.split("."):
        if value is None:
            return None
        model: type[ApiModel] = type(value)
        value = getattr(value, _attributes(model)[name])
    return value


@cache
def _attributes(model: type[ApiModel]) -> dict[str, str]:
    """The model's names of the fields, by their names in a manifest."""
    return {field.alias or attribute: attribute for attribute, field in model.model_fields.items()}


def _parent(setting: Setting) -> str:
    return setting.field.rpartition(".")[0]
