"""Settings of a project that are written, those that cannot be, and recognising our own lost POST."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborhook.api.base import ANNOTATION_CREATE_PENDING
from harborhook.api.conditions import Reason, Verdict
from harborhook.api.project import HarborProject, HarborProjectSpec
from harborhook.harbor.capabilities import FLOOR, Version
from harborhook.harbor.models import Allowlist, Project, Quota, Registry
from harborhook.plan.drift import drift_rows, field_names
from harborhook.plan.project import (
    ProjectChanges,
    as_created,
    changes,
    conclusion,
    creation_metadata,
    is_lost_creation,
    is_to_apply,
    obstacles,
    quota_difference,
    stated_allowlist,
)
from harborhook.plan.project_settings import SETTINGS, Projects, metadata_of, stated_settings

MADE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NEW: Version = (2, 16, 0)


def observed(**metadata: Any) -> Project:
    project = Project.parse({"project_id": 7, "name": "team-a", "metadata": metadata})
    assert project is not None
    return project


def a_cache(**metadata: Any) -> Project:
    return replace(observed(**metadata), registry_id=3)


def registries(*names: str) -> list[Registry]:
    """The endpoints of these names; the first is the one that `a_cache` is a cache of."""
    return [Registry(number, name) for number, name in enumerate(names, start=3)]


def spec_of(**fields: Any) -> HarborProjectSpec:
    return HarborProjectSpec.model_validate(fields)


def names(found: ProjectChanges) -> list[str]:
    return [difference.field for difference in found.differences]


def apply(found: ProjectChanges, before: Project) -> Project:
    """Returns Harbor's state after the PUT of these changes: metadata merged key by key, the list replaced."""
    return replace(
        before,
        metadata={**before.metadata, **found.metadata},
        allowlist=before.allowlist if found.allowlist is None else found.allowlist,
    )


# Settings, field by field

CACHE = {"registryName": "dockerhub"}

FIELD_BY_FIELD: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "public": ({"public": True}, {"public": False}, "public"),
    "auto_scan": (
        {"vulnerability": {"autoScan": True}},
        {"vulnerability": {"autoScan": False}},
        "vulnerability.autoScan",
    ),
    "prevent_vul": (
        {"vulnerability": {"preventPull": {"enabled": True}}},
        {"vulnerability": {"preventPull": {"enabled": False}}},
        "vulnerability.preventPull.enabled",
    ),
    "severity": (
        {"vulnerability": {"preventPull": {"severity": "high"}}},
        {"vulnerability": {"preventPull": {"severity": "none"}}},
        "vulnerability.preventPull.severity",
    ),
    "auto_sbom_generation": (
        {"sbom": {"autoGenerate": True}},
        {"sbom": {"autoGenerate": False}},
        "sbom.autoGenerate",
    ),
    "enable_content_trust_cosign": (
        {"contentTrust": {"cosign": True}},
        {"contentTrust": {"cosign": False}},
        "contentTrust.cosign",
    ),
    "enable_content_trust": (
        {"contentTrust": {"notation": True}},
        {"contentTrust": {"notation": False}},
        "contentTrust.notation",
    ),
    "reuse_sys_cve_allowlist": (
        {"cveAllowlist": {"reuseSystem": False}},
        {"cveAllowlist": {"reuseSystem": True}},
        "cveAllowlist.reuseSystem",
    ),
    "proxy_speed_kb": (
        {"proxyCache": {**CACHE, "speedLimitKbps": 100}},
        {"proxyCache": {**CACHE, "speedLimitKbps": -1}},
        "proxyCache.speedLimitKbps",
    ),
    "max_upstream_conn": (
        {"proxyCache": {**CACHE, "maxUpstreamConnections": 20}},
        {"proxyCache": {**CACHE, "maxUpstreamConnections": 5}},
        "proxyCache.maxUpstreamConnections",
    ),
    "proxy_cache_local_on_not_found": (
        {"proxyCache": {**CACHE, "serveLocalOnNotFound": True}},
        {"proxyCache": {**CACHE, "serveLocalOnNotFound": False}},
        "proxyCache.serveLocalOnNotFound",
    ),
    "proxy_referrer_api": (
        {"proxyCache": {**CACHE, "referrerAPI": True}},
        {"proxyCache": {**CACHE, "referrerAPI": False}},
        "proxyCache.referrerAPI",
    ),
}
"""By metadata key: two specs that state only that field, and the field's name."""

each_field = pytest.mark.parametrize("key", FIELD_BY_FIELD)


BY_KEY = {setting.key: setting for setting in SETTINGS}


def project_for(key: str, **metadata: Any) -> Project:
    is_cache = BY_KEY[key].projects is Projects.PROXY_CACHES
    return a_cache(**metadata) if is_cache else observed(**metadata)


def stated_metadata(spec: HarborProjectSpec) -> dict[str, str]:
    return metadata_of(stated_settings(spec).items())


def test_every_metadata_key_has_its_samples() -> None:
    assert set(BY_KEY) - set(FIELD_BY_FIELD) == {"proxy_cache_filter_pattern", "proxy_cache_filter_kind"}


@each_field
def test_a_stated_field_is_written_and_nothing_else(key: str) -> None:
    stated, _, name = FIELD_BY_FIELD[key]
    found = changes(spec_of(**stated), project_for(key, other="kept"), NEW)
    assert list(found.metadata) == [key]
    assert names(found) == [name]
    assert found.allowlist is None


@each_field
def test_a_changed_field_is_written_and_then_nothing_more(key: str) -> None:
    first, second, name = FIELD_BY_FIELD[key]
    before = apply(changes(spec_of(**first), project_for(key), NEW), project_for(key))
    assert changes(spec_of(**first), before, NEW) == ProjectChanges()
    found = changes(spec_of(**second), before, NEW)
    assert names(found) == [name]
    assert changes(spec_of(**second), apply(found, before), NEW) == ProjectChanges()


@each_field
def test_a_field_that_is_no_longer_stated_keeps_what_harbor_has(key: str) -> None:
    first, _, _ = FIELD_BY_FIELD[key]
    before = apply(changes(spec_of(**first), project_for(key), NEW), project_for(key))
    assert changes(spec_of(), before, NEW) == ProjectChanges()


@each_field
@pytest.mark.parametrize("junk", ["123", "", "True", "yes", "unknown"])
def test_junk_in_harbor_is_a_difference_like_any_other(key: str, junk: str) -> None:
    stated, _, name = FIELD_BY_FIELD[key]
    assert names(changes(spec_of(**stated), project_for(key, **{key: junk}), NEW)) == [name]


@each_field
def test_a_harbor_that_does_not_know_a_field_is_not_sent_it_and_the_version_is_named(key: str) -> None:
    stated, _, name = FIELD_BY_FIELD[key]
    since = BY_KEY[key].since
    if since == FLOOR:
        assert changes(spec_of(**stated), project_for(key), (2, 3, 0)).metadata
        return
    older = (since[0], since[1] - 1, 9)
    assert changes(spec_of(**stated, public=True), project_for(key), older).metadata == {"public": "true"}
    (obstacle,) = obstacles(spec_of(**stated), project_for(key), older)
    assert obstacle.reason is Reason.UNSUPPORTED_HARBOR_VERSION
    assert f"{name} (since {since[0]}.{since[1]})" in obstacle.message
    assert obstacles(spec_of(**stated), project_for(key), since) == []
    assert changes(spec_of(**stated), project_for(key), since).metadata


def test_a_harbor_of_unknown_version_is_taken_for_a_new_one() -> None:
    spec = spec_of(sbom={"autoGenerate": True})
    assert creation_metadata(spec, None) == {"auto_sbom_generation": "true"}
    assert obstacles(spec, observed(), None) == []


def test_absence_in_harbor_means_false_for_a_flag() -> None:
    assert changes(spec_of(public=False, vulnerability={"autoScan": False}), observed(), NEW) == ProjectChanges()


def test_absence_in_harbor_means_that_the_systems_allowlist_is_used() -> None:
    assert changes(spec_of(cveAllowlist={"reuseSystem": True}), observed(), NEW) == ProjectChanges()
    found = changes(spec_of(cveAllowlist={"reuseSystem": False}), observed(), NEW)
    assert found.metadata == {"reuse_sys_cve_allowlist": "false"}
    assert [difference.observed for difference in found.differences] == ["true"]


def test_metadata_values_are_strings_since_harbor_refuses_booleans() -> None:
    for first, second, _ in FIELD_BY_FIELD.values():
        for fields in (first, second):
            assert all(isinstance(value, str) for value in stated_metadata(spec_of(**fields)).values())


# Fields that belong together


def test_prevented_pulls_and_their_severity_are_one_change_with_both_names() -> None:
    spec = spec_of(vulnerability={"preventPull": {"enabled": True, "severity": "high"}})
    found = changes(spec, observed(prevent_vul="false", severity="low"), NEW)
    assert found.metadata == {"prevent_vul": "true", "severity": "high"}
    assert field_names(found.differences) == "vulnerability.preventPull.enabled, vulnerability.preventPull.severity"


@pytest.mark.parametrize(("has", "stated"), [("High", "high"), ("negligible", "none"), ("Negligible", "none")])
def test_a_severity_in_other_words_is_the_same(has: str, stated: str) -> None:
    assert (
        changes(spec_of(vulnerability={"preventPull": {"severity": stated}}), observed(severity=has), NEW)
        == ProjectChanges()
    )


@pytest.mark.parametrize(
    "has",
    [
        {"proxy_cache_filter_pattern": "other/**", "proxy_cache_filter_kind": "doublestar"},
        {"proxy_cache_filter_pattern": "library/**", "proxy_cache_filter_kind": "regex"},
        {},
    ],
)
def test_a_filter_is_written_with_pattern_and_kind_whichever_differs(has: dict[str, str]) -> None:
    spec = spec_of(proxyCache={**CACHE, "filter": {"pattern": "library/**", "kind": "doublestar"}})
    assert changes(spec, a_cache(**has), NEW).metadata == {
        "proxy_cache_filter_pattern": "library/**",
        "proxy_cache_filter_kind": "doublestar",
    }


# Proxy caches


def test_a_cache_of_another_registry_and_an_ordinary_project_get_nothing_of_proxy_cache() -> None:
    spec = spec_of(public=True, proxyCache={**CACHE, "speedLimitKbps": 1})
    for project in (observed(), a_cache()):
        assert changes(spec, project, NEW, registries("quay", "dockerhub")).metadata == {"public": "true"}
        (obstacle,) = obstacles(spec, project, NEW, registries("quay", "dockerhub"))
        assert obstacle.reason is Reason.IMMUTABLE_FIELD
        assert "proxyCache.registryName" in obstacle.message
    assert "a cache of registry endpoint 'quay', not of 'dockerhub'" in obstacle.message


def test_the_registry_is_compared_by_id_so_its_endpoint_can_be_renamed() -> None:
    spec = spec_of(proxyCache={**CACHE, "speedLimitKbps": 1})
    assert obstacles(spec, a_cache(), NEW, registries("dockerhub")) == []
    (obstacle,) = obstacles(spec, a_cache(), NEW, registries("hub", "quay"))
    assert obstacle.reason is Reason.INVALID_SPEC
    assert "no registry endpoint 'dockerhub'" in obstacle.message
    assert "Set registryName to 'hub'" in obstacle.message
    assert changes(spec, a_cache(), NEW, registries("hub", "quay")).metadata == {"proxy_speed_kb": "1"}


@pytest.mark.parametrize("known", [None, [], [Registry(4, "quay")]])
def test_a_registry_that_the_principal_may_not_know_is_taken_for_the_stated_one(
    known: list[Registry] | None,
) -> None:
    spec = spec_of(proxyCache={**CACHE, "speedLimitKbps": 1})
    assert obstacles(spec, a_cache(), NEW, known) == []
    assert changes(spec, a_cache(), NEW, known).metadata == {"proxy_speed_kb": "1"}


def test_notation_is_refused_for_a_cache_since_harbor_drops_it_silently() -> None:
    spec = spec_of(contentTrust={"notation": True, "cosign": True})
    assert changes(spec, a_cache(), NEW).metadata == {"enable_content_trust_cosign": "true"}
    assert [found.reason for found in obstacles(spec, a_cache(), NEW)] == [Reason.INVALID_SPEC]


# The CVE allowlist

LIST = {"items": ["CVE-2024-1", "CVE-2024-2"], "expiresAt": "2027-01-01T00:00:00Z"}
EXPIRES = 1798761600


def with_list(*items: str, expires_at: int | None = None) -> Project:
    return replace(observed(), allowlist=Allowlist(items, expires_at))


@pytest.mark.parametrize(
    ("stated", "has", "differing"),
    [
        (LIST, with_list(), ["cveAllowlist.items", "cveAllowlist.expiresAt"]),
        (LIST, with_list("CVE-2024-1", "CVE-2024-2", expires_at=EXPIRES), []),
        (LIST, with_list("CVE-2024-2", "CVE-2024-1", expires_at=EXPIRES), ["cveAllowlist.items"]),
        (LIST, with_list("CVE-2024-1", "CVE-2024-2"), ["cveAllowlist.expiresAt"]),
        ({"items": []}, with_list(), []),
        ({"items": []}, with_list("CVE-2024-1", expires_at=1), ["cveAllowlist.items", "cveAllowlist.expiresAt"]),
        ({"items": ["CVE-2024-1"]}, with_list("CVE-2024-1", expires_at=1), ["cveAllowlist.expiresAt"]),
        ({"reuseSystem": True}, with_list("CVE-2024-1", expires_at=1), []),
        ({}, with_list("CVE-2024-1"), []),
    ],
)
def test_the_allowlist_is_one_value_with_its_expiry(stated: Any, has: Project, differing: list[str]) -> None:
    found = changes(spec_of(cveAllowlist=stated), has, NEW)
    assert names(found) == differing
    assert found.allowlist == (stated_allowlist(spec_of(cveAllowlist=stated)) if differing else None)


def test_an_expiry_that_no_calendar_has_is_shown_as_harbors_number() -> None:
    found = changes(spec_of(cveAllowlist=LIST), with_list(expires_at=10**18), NEW)
    assert found.differences[1].observed == str(10**18)


def test_a_project_just_made_lacks_only_the_allowlist_which_a_post_cannot_carry() -> None:
    spec = spec_of(public=True, sbom={"autoGenerate": True}, cveAllowlist=LIST)
    made = as_created(spec, observed(), (2, 7, 0))
    assert names(changes(spec, made, (2, 7, 0))) == ["cveAllowlist.items", "cveAllowlist.expiresAt"]
    assert changes(spec_of(public=True), as_created(spec_of(public=True), observed(), NEW), NEW) == ProjectChanges()


# Quota, drift, conclusion


def test_a_quota_is_compared_in_bytes_and_shown_as_a_quantity() -> None:
    difference = quota_difference(spec_of(storageQuota="50Gi"), Quota(10 * 2**30, 0))
    assert difference is not None
    assert (difference.field, difference.desired, difference.observed) == ("storageQuota", "50Gi", "10Gi")
    assert quota_difference(spec_of(storageQuota="1Ki"), Quota(1024, 0)) is None
    assert quota_difference(spec_of(storageQuota=1024), Quota(1024, 0)) is None
    assert quota_difference(spec_of(storageQuota="unlimited"), Quota(-1, 0)) is None
    assert quota_difference(spec_of(), Quota(1, 0)) is None


def test_rows_of_drift_are_short_enough_for_the_schema() -> None:
    spec = spec_of(cveAllowlist={"items": [f"CVE-2024-{number}" for number in range(200)]})
    (row,) = drift_rows(changes(spec, observed(), NEW).differences)
    assert len(row.desired) == 256
    assert row.observed == "(empty)"


@pytest.mark.parametrize(
    ("policy", "before", "origin", "applied", "applies"),
    [
        ("Correct", None, "Adopted", None, True),
        ("Correct", "Created", "Created", 2, True),
        ("Report", None, "Adopted", None, False),
        ("Report", None, "Created", None, True),
        ("Report", "Adopted", "Adopted", 1, True),
        ("Report", "Created", "Created", 1, True),
        ("Report", "Created", "Created", 2, False),
    ],
)
def test_report_applies_a_new_spec_but_neither_drift_nor_what_an_adoption_finds(
    policy: Any, before: Any, origin: Any, applied: int | None, applies: bool
) -> None:
    resource = HarborProject.model_validate(
        {
            "metadata": {"name": "team-a", "generation": 2},
            "spec": {"driftPolicy": policy},
            "status": {"origin": before, "appliedGeneration": applied},
        }
    )
    assert is_to_apply(resource, origin) is applies


def test_the_conclusion_puts_what_a_person_must_change_first_and_leaves_nothing_out() -> None:
    findings = [Verdict(Reason.DRIFT_DETECTED, "Drift."), Verdict(Reason.QUOTA_FORBIDDEN, "Quota.")]
    assert conclusion("team-a", findings) == Verdict(Reason.QUOTA_FORBIDDEN, "Quota. Drift.")
    assert conclusion("team-a", []).reason is Reason.RECONCILED


# Any spec against any state

flags = st.sampled_from([None, True, False])
texts = st.sampled_from(["true", "false", "1", "123", "", "high", "High", "unknown", "-1", "20", "doublestar", "x/**"])
lists = st.lists(st.sampled_from(["CVE-1", "CVE-2", "CVE-3"]), unique=True, max_size=3)
seconds = st.integers(min_value=0, max_value=4_000_000_000)


def absent_or(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.fixed_dictionaries({}, optional=fields)


specs = st.fixed_dictionaries(
    {},
    optional={
        "public": flags,
        "vulnerability": absent_or(
            autoScan=flags,
            preventPull=absent_or(
                enabled=flags, severity=st.sampled_from(["none", "low", "medium", "high", "critical"])
            ),
        ),
        "sbom": absent_or(autoGenerate=flags),
        "contentTrust": absent_or(cosign=flags, notation=flags),
        "cveAllowlist": absent_or(reuseSystem=flags, items=lists)
        | st.fixed_dictionaries(
            {"items": lists, "expiresAt": st.datetimes(timezones=st.just(UTC)).filter(lambda time: time.year > 1970)}
        ),
        "proxyCache": st.none()
        | st.fixed_dictionaries(
            {"registryName": st.just("hub")},
            optional={
                "speedLimitKbps": st.integers(-1, 100),
                "maxUpstreamConnections": st.integers(-1, 100),
                "serveLocalOnNotFound": flags,
                "referrerAPI": flags,
                "filter": st.none()
                | st.fixed_dictionaries(
                    {"pattern": st.sampled_from(["x/**", "y"]), "kind": st.sampled_from(["doublestar", "regex"])}
                ),
            },
        ),
    },
).map(HarborProjectSpec.model_validate)

projects = st.builds(
    Project,
    id=st.just(7),
    name=st.just("team-a"),
    metadata=st.dictionaries(st.sampled_from([*BY_KEY, "retention_id", "other"]), texts, max_size=10),
    creation_time=st.none(),
    allowlist=st.builds(Allowlist, lists.map(tuple), st.none() | seconds),
    registry_id=st.sampled_from([None, 3]),
)
versions = st.sampled_from([None, (2, 3, 0), (2, 7, 4), (2, 12, 0), (2, 16, 0)])


@given(
    specs,
    projects,
    versions,
    st.none() | st.sampled_from([("hub",), ("quay",), ("quay", "hub")]).map(lambda names: registries(*names)),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_after_one_write_nothing_is_left_to_write(
    spec: HarborProjectSpec, before: Project, version: Version | None, known: list[Registry] | None
) -> None:
    found = changes(spec, before, version, known)
    after = apply(found, before)
    assert changes(spec, after, version, known) == ProjectChanges()
    assert found.metadata.items() <= creation_metadata(spec, version).items()
    untouched = before.metadata.keys() - stated_metadata(spec).keys()
    assert {key: after.metadata[key] for key in untouched} == {key: before.metadata[key] for key in untouched}
    assert bool(found.differences) == bool(found.metadata or found.allowlist)


# Our own lost creation


def project(*, announced_for: str | None = "uid-1", reason: str | None = None) -> HarborProject:
    annotations = {} if announced_for is None else {ANNOTATION_CREATE_PENDING: announced_for}
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
    return HarborProject.model_validate(
        {
            "kind": "HarborProject",
            "metadata": {
                "name": "team-a",
                "namespace": "team",
                "uid": "uid-1",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "annotations": annotations,
            },
            "status": {"conditions": [ready] if reason else []},
        }
    )


def made_at(time: datetime | None) -> Project:
    return Project(7, "team-a", {}, time)


@pytest.mark.parametrize(
    ("resource", "made", "ours"),
    [
        (project(), MADE, True),
        (project(), MADE + timedelta(hours=1), True),
        (project(), MADE.astimezone(timezone(timedelta(hours=9))), True),
        (project(reason="HarborUnreachable"), MADE, True),
        (project(), MADE - timedelta(seconds=1), False),
        (project(), None, False),
        (project(announced_for=None), MADE, False),
        (project(announced_for="uid-0"), MADE, False),
        (project(announced_for=""), MADE, False),
        (project(reason="AlreadyExists"), MADE, False),
    ],
    ids=[
        "announced and made in the same second",
        "made later",
        "another time zone",
        "the answer was lost",
        "made before the resource",
        "time unknown",
        "never announced",
        "announced for the resource that had the name before",
        "announced for nothing",
        "refused since",
    ],
)
def test_an_existing_project_is_our_lost_creation_only_if_announced_not_refused_and_not_older(
    resource: HarborProject, made: datetime | None, ours: bool
) -> None:
    assert is_lost_creation(resource, made_at(made)) is ours


def test_parts_of_a_second_do_not_make_a_project_older_than_its_resource() -> None:
    assert is_lost_creation(project(), made_at(MADE + timedelta(milliseconds=400)))
