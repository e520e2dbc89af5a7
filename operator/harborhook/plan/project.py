"""Compares a HarborProject with the project in Harbor, and finds the settings that Harbor cannot apply.

Harbor keeps most settings of a project as metadata, all of them strings. The CVE allowlist is replaced as a whole; the
quota is a separate object. Only fields stated in the spec are compared: Harbor's values of the others stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harborhook.api.base import ANNOTATION_CREATE_PENDING, Origin, format_time
from harborhook.api.conditions import Outcome, Reason, Verdict
from harborhook.api.project import HarborProject, HarborProjectSpec
from harborhook.harbor.capabilities import Version, short
from harborhook.harbor.models import Allowlist, Project, Quota, Registry
from harborhook.plan.drift import Difference
from harborhook.plan.ownership import is_younger
from harborhook.plan.project_settings import Projects, Setting, metadata_of, stated_settings
from harborhook.plan.quantity import format_bytes, parse_quota


@dataclass(frozen=True)
class ProjectChanges:
    """The differences, and the content of the PUT that resolves them."""

    differences: tuple[Difference, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    allowlist: Allowlist | None = None


# What the spec states


def known_settings(spec: HarborProjectSpec, version: Version | None) -> dict[Setting, str]:
    """Returns the stated settings that a Harbor of this version supports; None: the version is unknown."""
    return {setting: text for setting, text in stated_settings(spec).items() if setting.is_known_to(version)}


def creation_metadata(spec: HarborProjectSpec, version: Version | None) -> dict[str, str]:
    """Returns the metadata for the POST."""
    return metadata_of(known_settings(spec, version).items())


def stated_allowlist(spec: HarborProjectSpec) -> Allowlist | None:
    """Returns the stated CVE allowlist; None if the spec does not manage it. A list without a time never expires."""
    stated = spec.cve_allowlist
    if stated is None or stated.items is None:
        return None
    expires_at = int(stated.expires_at.timestamp()) if stated.expires_at is not None else None
    return Allowlist(tuple(dict.fromkeys(stated.items)), expires_at)


def stated_quota(spec: HarborProjectSpec) -> int | None:
    """Returns the quota in bytes, -1 for unlimited; None if the spec does not manage it."""
    return None if spec.storage_quota is None else parse_quota(spec.storage_quota)


def as_created(spec: HarborProjectSpec, project: Project, version: Version | None) -> Project:
    """Returns the project as it is after our POST: the supported metadata, and no allowlist, which a POST cannot
    set."""
    return Project(project.id, project.name, creation_metadata(spec, version), None, registry_id=project.registry_id)


# What differs


def changes(
    spec: HarborProjectSpec, observed: Project, version: Version | None, registries: Collection[Registry] | None = None
) -> ProjectChanges:
    """Returns the changes for one PUT. An invalid value in Harbor is a difference like any other.

    `registries` is None if the principal may not list them. The settings of a cache of another registry than the stated
    one are not changed.
    """
    is_other = _caches_another(spec, observed, registries)
    stated = {
        setting: text
        for setting, text in known_settings(spec, version).items()
        if setting.applies_to(observed) and not (is_other and setting.projects is Projects.PROXY_CACHES)
    }
    differing = [setting for setting, text in stated.items() if setting.observed(observed) != text]
    differences = [Difference(one.field, stated[one], one.observed(observed)) for one in differing]
    written = dict.fromkeys(together for setting in differing for together in setting.written_with)
    allowlist = stated_allowlist(spec)
    if allowlist == observed.allowlist:
        allowlist = None
    if allowlist is not None:
        differences += _differences_of_lists(allowlist, observed.allowlist)
    return ProjectChanges(
        tuple(differences), metadata_of((one, stated[one]) for one in written if one in stated), allowlist
    )


def registry_id(registries: Collection[Registry], name: str) -> int | None:
    """Returns the id of the endpoint that has the name now; names are unique in Harbor."""
    return next((registry.id for registry in registries if registry.name == name), None)


def _caches_another(spec: HarborProjectSpec, observed: Project, registries: Collection[Registry] | None) -> bool:
    """Whether the project caches another endpoint than the stated one. Ids are compared, since an endpoint can be
    renamed; a name that no endpoint has proves no mismatch."""
    if spec.proxy_cache is None or observed.registry_id is None or registries is None:
        return False
    return registry_id(registries, spec.proxy_cache.registry_name) not in (observed.registry_id, None)


def quota_difference(spec: HarborProjectSpec, observed: Quota) -> Difference | None:
    wanted = stated_quota(spec)
    if wanted is None or wanted == observed.hard:
        return None
    return Difference("storageQuota", format_bytes(wanted), format_bytes(observed.hard))


def _differences_of_lists(stated: Allowlist, observed: Allowlist) -> list[Difference]:
    found = []
    if stated.items != observed.items:
        found.append(Difference("cveAllowlist.items", _format_list(stated), _format_list(observed)))
    if stated.expires_at != observed.expires_at:
        found.append(Difference("cveAllowlist.expiresAt", _format_expiry(stated), _format_expiry(observed)))
    return found


def _format_list(allowlist: Allowlist) -> str:
    return ", ".join(allowlist.items) or "(empty)"


def _format_expiry(allowlist: Allowlist) -> str:
    if allowlist.expires_at is None:
        return "never"
    try:
        return format_time(datetime.fromtimestamp(allowlist.expires_at, UTC))
    except (OverflowError, ValueError, OSError):  # Harbor accepts any integer
        return str(allowlist.expires_at)


# What to do about it


def is_to_apply(project: HarborProject, origin: Origin | None) -> bool:
    """Whether differences are written. Under driftPolicy Report only a spec that was not yet applied is written, and
    not right after adoption; `origin` is the result of this visit."""
    if project.spec.drift_policy == "Correct":
        return True
    just_adopted = project.status.origin is None and origin == "Adopted"
    return spec_is_new(project) and not just_adopted


def spec_is_new(project: HarborProject) -> bool:
    """Whether the spec was not yet applied: a difference is then not drift."""
    return project.status.applied_generation != project.metadata.generation


def obstacles(
    spec: HarborProjectSpec, observed: Project, version: Version | None, registries: Collection[Registry] | None = None
) -> list[Verdict]:
    """Returns the parts of the spec that this project can never have; the rest is applied."""
    return [*_registry_obstacles(spec, observed, registries), *_setting_obstacles(spec, observed, version)]


def _setting_obstacles(spec: HarborProjectSpec, observed: Project, version: Version | None) -> Iterator[Verdict]:
    stated = stated_settings(spec)
    unknown = [setting for setting in stated if not setting.is_known_to(version)]
    if unknown and version is not None:
        needed = ", ".join(f"{setting.field} (since {short(setting.since)})" for setting in unknown)
        yield Verdict(
            Reason.UNSUPPORTED_HARBOR_VERSION,
            f"Harbor {short(version)} does not know {needed}. Remove it or upgrade Harbor; the rest is applied.",
        )
    # The missing settings of a proxy cache are reported once, under registryName.
    for setting in stated:
        if setting.projects is Projects.NOT_PROXY_CACHES and not setting.applies_to(observed):
            yield Verdict(
                Reason.INVALID_SPEC, f"{setting.field}: Harbor does not offer it for a proxy cache. Remove it."
            )


def _registry_obstacles(
    spec: HarborProjectSpec, observed: Project, registries: Collection[Registry] | None
) -> Iterator[Verdict]:
    if spec.proxy_cache is None:
        return
    stated, cached = spec.proxy_cache.registry_name, observed.registry_id
    if cached is None:
        yield Verdict(
            Reason.IMMUTABLE_FIELD,
            "proxyCache.registryName: the project is not a proxy cache, and Harbor sets that only at creation. "
            "Remove proxyCache, or declare a project of another name.",
        )
        return
    name = next((registry.name for registry in registries or () if registry.id == cached), None)
    cache = f"project {observed.name} is a cache of registry endpoint {name!r}"
    if _caches_another(spec, observed, registries):
        yield Verdict(
            Reason.IMMUTABLE_FIELD,
            f"proxyCache.registryName: {cache}, not of {stated!r}, and Harbor sets that only at creation. "
            f"Set registryName to {name!r}, or declare a project of another name for {stated!r}.",
        )
    elif name not in (stated, None):
        yield Verdict(
            Reason.INVALID_SPEC,
            f"proxyCache.registryName: Harbor has no registry endpoint {stated!r}; {cache} now. "
            f"Set registryName to {name!r}; the rest is applied.",
        )


def conclusion(name: str, findings: Sequence[Verdict]) -> Verdict:
    """Returns one verdict for all findings: those that need a user's action take precedence over information."""
    if not findings:
        return Verdict(Reason.RECONCILED, f"Project {name} matches the spec.")
    ordered = sorted(findings, key=lambda finding: finding.reason.outcome is not Outcome.STALLED)
    return Verdict(ordered[0].reason, " ".join(finding.message for finding in ordered))


def is_lost_creation(project: HarborProject, observed: Project) -> bool:
    """Whether our own lost POST created a project whose creation was never confirmed.

    It did if an earlier visit had announced the POST (annotation create-pending), Harbor has not refused it since, and
    the project is not older than the resource.
    """
    announced = project.metadata.annotations.get(ANNOTATION_CREATE_PENDING) == project.metadata.uid
    refused = project.status.ready_reason == Reason.ALREADY_EXISTS
    return announced and not refused and is_younger(observed.creation_time, project.metadata)
