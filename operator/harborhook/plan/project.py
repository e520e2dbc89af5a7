"""HarborProject: which settings of the project in Harbor differ from the spec, and what is in the way of setting them.

Harbor keeps most of a project's settings as metadata, strings throughout; the CVE allowlist is replaced whole, and the
quota is an object of its own. A field that the spec does not state is not looked at: Harbor's value is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harborhook.api.base import ANNOTATION_CREATE_PENDING, Origin, format_time
from harborhook.api.conditions import Outcome, Reason, Verdict
from harborhook.api.project import (
    ContentTrust,
    CveAllowlist,
    HarborProject,
    HarborProjectSpec,
    PreventPull,
    ProxyCache,
    Sbom,
    Vulnerability,
)
from harborhook.harbor.capabilities import METADATA_SINCE, Version, knows, short
from harborhook.harbor.models import Allowlist, Project, Quota, Registry
from harborhook.plan.drift import Difference
from harborhook.plan.ownership import is_younger
from harborhook.plan.quantity import quota_bytes, shown_bytes

FIELDS = {
    "public": "public",
    "auto_scan": "vulnerability.autoScan",
    "prevent_vul": "vulnerability.preventPull.enabled",
    "severity": "vulnerability.preventPull.severity",
    "auto_sbom_generation": "sbom.autoGenerate",
    "enable_content_trust_cosign": "contentTrust.cosign",
    "enable_content_trust": "contentTrust.notation",
    "reuse_sys_cve_allowlist": "cveAllowlist.reuseSystem",
    "proxy_speed_kb": "proxyCache.speedLimitKbps",
    "max_upstream_conn": "proxyCache.maxUpstreamConnections",
    "proxy_cache_local_on_not_found": "proxyCache.serveLocalOnNotFound",
    "proxy_referrer_api": "proxyCache.referrerAPI",
    "proxy_cache_filter_pattern": "proxyCache.filter.pattern",
    "proxy_cache_filter_kind": "proxyCache.filter.kind",
}
"""Harbor's metadata keys and the spec's names for them."""

PROXY_KEYS = frozenset(key for key, name in FIELDS.items() if name.startswith("proxyCache."))
NOT_OF_A_PROXY = frozenset({"enable_content_trust"})
"""Harbor drops the one without a word on ordinary projects, the other on proxy caches."""
FILTER_KEYS = frozenset({"proxy_cache_filter_pattern", "proxy_cache_filter_kind"})
"""Harbor takes neither without the other in the same request."""
NO_FLAG = frozenset(
    {"severity", "proxy_speed_kb", "max_upstream_conn", "proxy_cache_filter_pattern", "proxy_cache_filter_kind"}
)
"""Keys whose absence does not mean "false"."""


@dataclass(frozen=True)
class Changes:
    """What differs, and what one PUT has to say to mend it."""

    differences: tuple[Difference, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    allowlist: Allowlist | None = None


# What the spec states


def stated_metadata(spec: HarborProjectSpec) -> dict[str, str]:
    """The metadata that the spec speaks of, as Harbor wants it."""
    vulnerability = spec.vulnerability or Vulnerability()
    prevent_pull = vulnerability.prevent_pull or PreventPull()
    trust = spec.content_trust or ContentTrust()
    stated: dict[str, bool | int | str | None] = {
        "public": spec.public,
        "auto_scan": vulnerability.auto_scan,
        "prevent_vul": prevent_pull.enabled,
        "severity": prevent_pull.severity,
        "auto_sbom_generation": (spec.sbom or Sbom()).auto_generate,
        "enable_content_trust_cosign": trust.cosign,
        "enable_content_trust": trust.notation,
        "reuse_sys_cve_allowlist": (spec.cve_allowlist or CveAllowlist()).reuse_system,
        **(_stated_of_proxy(spec.proxy_cache) if spec.proxy_cache else {}),
    }
    return {key: _text(value) for key, value in stated.items() if value is not None}


def _stated_of_proxy(proxy: ProxyCache) -> dict[str, bool | int | str | None]:
    return {
        "proxy_speed_kb": proxy.speed_limit_kbps,
        "max_upstream_conn": proxy.max_upstream_connections,
        "proxy_cache_local_on_not_found": proxy.serve_local_on_not_found,
        "proxy_referrer_api": proxy.referrer_api,
        "proxy_cache_filter_pattern": proxy.filter.pattern if proxy.filter else None,
        "proxy_cache_filter_kind": proxy.filter.kind if proxy.filter else None,
    }


def known_metadata(spec: HarborProjectSpec, version: Version | None) -> dict[str, str]:
    """The stated metadata that a Harbor of this version has; None: a version that tells nothing."""
    return {key: value for key, value in stated_metadata(spec).items() if knows(version, key)}


def stated_allowlist(spec: HarborProjectSpec) -> Allowlist | None:
    """The CVE allowlist that the spec states, None if it leaves Harbor's alone. A list without a time never expires."""
    stated = spec.cve_allowlist
    if stated is None or stated.items is None:
        return None
    expires_at = int(stated.expires_at.timestamp()) if stated.expires_at is not None else None
    return Allowlist(tuple(dict.fromkeys(stated.items)), expires_at)


def stated_quota(spec: HarborProjectSpec) -> int | None:
    """The quota in bytes, -1 for no limit; None if the spec leaves Harbor's alone."""
    return None if spec.storage_quota is None else quota_bytes(spec.storage_quota)


def as_created(spec: HarborProjectSpec, project: Project, version: Version | None) -> Project:
    """What Harbor has after our POST: the metadata that it knows, and no allowlist, which a POST cannot carry."""
    return Project(project.id, project.name, known_metadata(spec, version), None, registry_id=project.registry_id)


# What differs


def changes(
    spec: HarborProjectSpec, observed: Project, version: Version | None, registries: Collection[Registry] | None = None
) -> Changes:
    """What one PUT has to change. Junk in Harbor is a difference like any other.

    `registries`: None where the principal may not know them. The settings of a cache of another registry than the one
    that the spec names are left alone.
    """
    is_other = _caches_another(spec, observed, registries)
    stated = {
        key: value
        for key, value in known_metadata(spec, version).items()
        if _is_applicable(key, observed, same_registry=not is_other)
    }
    differing = {key: value for key, value in stated.items() if _observed(observed, key) != value}
    written = {**differing, **{key: stated[key] for key in FILTER_KEYS if FILTER_KEYS & differing.keys()}}
    differences = [Difference(FIELDS[key], value, _observed(observed, key)) for key, value in differing.items()]
    allowlist = stated_allowlist(spec)
    if allowlist == observed.allowlist:
        allowlist = None
    if allowlist is not None:
        differences += _differences_of_lists(allowlist, observed.allowlist)
    return Changes(tuple(differences), written, allowlist)


def registry_id(registries: Collection[Registry], name: str) -> int | None:
    """The id of the endpoint that has the name now; names are unique in Harbor."""
    return next((registry.id for registry in registries if registry.name == name), None)


def _caches_another(spec: HarborProjectSpec, observed: Project, registries: Collection[Registry] | None) -> bool:
    """Whether the project is a cache of another endpoint than the one that the spec names. Ids are compared, since an
    endpoint can be renamed; a name that no endpoint has any more does not name another one."""
    if spec.proxy_cache is None or observed.registry_id is None or registries is None:
        return False
    return registry_id(registries, spec.proxy_cache.registry_name) not in (observed.registry_id, None)


def quota_difference(spec: HarborProjectSpec, observed: Quota) -> Difference | None:
    wanted = stated_quota(spec)
    if wanted is None or wanted == observed.hard:
        return None
    return Difference("storageQuota", shown_bytes(wanted), shown_bytes(observed.hard))


def _is_applicable(key: str, observed: Project, *, same_registry: bool) -> bool:
    if observed.registry_id is None:
        return key not in PROXY_KEYS
    return key not in NOT_OF_A_PROXY and (same_registry or key not in PROXY_KEYS)


def _observed(observed: Project, key: str) -> str:
    value = observed.metadata.get(key, "" if key in NO_FLAG else "false")
    return canonical_severity(value) if key == "severity" else value


def canonical_severity(value: str) -> str:
    """Harbor has two words for the lowest severity, and took any case at times."""
    lower = value.lower()
    return "none" if lower == "negligible" else lower


def _differences_of_lists(stated: Allowlist, observed: Allowlist) -> list[Difference]:
    found = []
    if stated.items != observed.items:
        found.append(Difference("cveAllowlist.items", _shown_list(stated), _shown_list(observed)))
    if stated.expires_at != observed.expires_at:
        found.append(Difference("cveAllowlist.expiresAt", _shown_expiry(stated), _shown_expiry(observed)))
    return found


def _shown_list(allowlist: Allowlist) -> str:
    return ", ".join(allowlist.items) or "(empty)"


def _shown_expiry(allowlist: Allowlist) -> str:
    if allowlist.expires_at is None:
        return "never"
    try:
        return format_time(datetime.fromtimestamp(allowlist.expires_at, UTC))
    except (OverflowError, ValueError, OSError):  # Harbor takes any integer
        return str(allowlist.expires_at)


def _text(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


# What to do about it


def is_to_apply(project: HarborProject, origin: Origin | None) -> bool:
    """Whether differences are written. Under driftPolicy Report only for a spec that was not yet applied, and not
    where the project has just been adopted; `origin` is what this visit has found out."""
    if project.spec.drift_policy == "Correct":
        return True
    just_adopted = project.status.origin is None and origin == "Adopted"
    return spec_is_new(project) and not just_adopted


def spec_is_new(project: HarborProject) -> bool:
    """The spec was not yet applied, so a difference in Harbor is no drift."""
    return project.status.applied_generation != project.metadata.generation


def obstacles(
    spec: HarborProjectSpec, observed: Project, version: Version | None, registries: Collection[Registry] | None = None
) -> list[Verdict]:
    """What of the spec this project can never have; the rest is applied."""
    found = [*_registry_obstacles(spec, observed, registries)]
    stated = stated_metadata(spec)
    unknown = [key for key in stated if not knows(version, key)]
    if unknown and version is not None:
        needed = ", ".join(f"{FIELDS[key]} (since {short(METADATA_SINCE[key])})" for key in unknown)
        found.append(
            Verdict(
                Reason.UNSUPPORTED_HARBOR_VERSION,
                f"Harbor {short(version)} does not know {needed}. Remove it or upgrade Harbor; the rest is applied.",
            )
        )
    if observed.registry_id is not None and NOT_OF_A_PROXY & stated.keys():
        found.append(
            Verdict(
                Reason.INVALID_SPEC, "contentTrust.notation: Harbor does not offer it for a proxy cache. Remove it."
            )
        )
    return found


def _registry_obstacles(
    spec: HarborProjectSpec, observed: Project, registries: Collection[Registry] | None
) -> Iterator[Verdict]:
    if spec.proxy_cache is None:
        return
    stated, cached = spec.proxy_cache.registry_name, observed.registry_id
    if cached is None:
        yield Verdict(
            Reason.IMMUTABLE_FIELD,
            "proxyCache.registryName: the project is not a proxy cache, and Harbor fixes that when a project is made. "
            "Remove proxyCache, or declare a project of another name.",
        )
        return
    name = next((registry.name for registry in registries or () if registry.id == cached), None)
    cache = f"project {observed.name} is a cache of registry endpoint {name!r}"
    if _caches_another(spec, observed, registries):
        yield Verdict(
            Reason.IMMUTABLE_FIELD,
            f"proxyCache.registryName: {cache}, not of {stated!r}, and Harbor fixes that when a project is made. "
            f"Set registryName to {name!r}, or declare a project of another name for {stated!r}.",
        )
    elif name not in (stated, None):
        yield Verdict(
            Reason.INVALID_SPEC,
            f"proxyCache.registryName: Harbor has no registry endpoint {stated!r}; {cache} now. "
            f"Set registryName to {name!r}; the rest is applied.",
        )


def conclusion(name: str, findings: Sequence[Verdict]) -> Verdict:
    """One verdict of all: what a person has to change goes before what is only to be known."""
    if not findings:
        return Verdict(Reason.RECONCILED, f"Project {name} is as the spec says.")
    ordered = sorted(findings, key=lambda finding: finding.reason.outcome is not Outcome.STALLED)
    return Verdict(ordered[0].reason, " ".join(finding.message for finding in ordered))


def is_lost_creation(project: HarborProject, observed: Project) -> bool:
    """Whether a project that exists although we never heard of its creation is what our own lost POST made.

    So it is if we had announced the POST (annotation create-pending) in an earlier visit, were not refused since, and
    the project is not older than the resource.
    """
    announced = project.metadata.annotations.get(ANNOTATION_CREATE_PENDING) == project.metadata.uid
    refused = project.status.ready_reason == Reason.ALREADY_EXISTS
    return announced and not refused and is_younger(observed.creation_time, project.metadata)
