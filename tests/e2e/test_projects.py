"""HarborProject: every setting, adoption, drift, quotas, proxy caches, webhooks, ownership and deletion."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.own import EVERYTHING, access, make_robot, make_user, standing, use_robot
from harness.push import push_artifact
from harness.world import FINALIZER, GROUP, Object, World, eventually, ready_condition

GI = 2**30
PASSWORD = "Test-Passw0rd"  # for users that the tests create


# Each setting by itself


@dataclass(frozen=True)
class Sample:
    """A field with two values: the specs that state only it, and the resulting values in Harbor."""

    field: str
    first: Object
    second: Object
    seen: Callable[[Object], Any]
    """Removes its part from Harbor's state of a project (see `everything`) and returns it."""
    values: tuple[Any, Any]
    upset: Callable[[World, str], None]
    """Sets the second value as in Harbor's UI."""


def of_metadata(field: str, key: str, first: Object, second: Object, *values: str) -> Sample:
    def upset(world: World, name: str) -> None:
        world.change_project(name, None, **{key: values[1]})

    return Sample(field, first, second, lambda found: found["metadata"].pop(key, None), (values[0], values[1]), upset)


def of_flag(field: str, key: str) -> Sample:
    return of_metadata(field, key, nested(field, True), nested(field, False), "true", "false")


def nested(path: str, value: Any) -> Object:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def _upset_list(world: World, name: str) -> None:
    world.change_project(name, allowlist={"items": [{"cve_id": "CVE-2024-9"}]})


def _upset_quota(world: World, name: str) -> None:
    world.change_quota(name, 3 * GI)


SAMPLES = [
    of_flag("public", "public"),
    of_flag("vulnerability.autoScan", "auto_scan"),
    of_flag("vulnerability.preventPull.enabled", "prevent_vul"),
    of_metadata(
        "vulnerability.preventPull.severity",
        "severity",
        nested("vulnerability.preventPull.severity", "high"),
        nested("vulnerability.preventPull.severity", "none"),
        "high",
        "none",
    ),
    of_flag("sbom.autoGenerate", "auto_sbom_generation"),
    of_flag("contentTrust.cosign", "enable_content_trust_cosign"),
    of_flag("contentTrust.notation", "enable_content_trust"),
    of_flag("cveAllowlist.reuseSystem", "reuse_sys_cve_allowlist"),
    Sample(
        "cveAllowlist.items",
        nested("cveAllowlist.items", ["CVE-2024-2", "CVE-2024-1"]),
        nested("cveAllowlist.items", ["CVE-2024-9"]),
        lambda found: found.pop("allowlist")[0],
        (["CVE-2024-2", "CVE-2024-1"], ["CVE-2024-9"]),
        _upset_list,
    ),
    Sample(
        "storageQuota",
        {"storageQuota": "1.5Gi"},
        {"storageQuota": "3Gi"},
        lambda found: found.pop("quota"),
        (3 * GI // 2, 3 * GI),
        _upset_quota,
    ),
]

each_setting = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.field)


def everything(world: World, name: str) -> Object:
    """Returns all properties of a project in Harbor that a user can set."""
    project = world.harbor_project(name)
    assert project is not None
    allowlist = project["cve_allowlist"]
    return {
        "metadata": dict(project["metadata"]),
        "allowlist": ([item["cve_id"] for item in allowlist["items"]], allowlist.get("expires_at")),
        "quota": world.quota(name),
        "policies": world.harbor_policies(name),
        "id": project["project_id"],
    }


def until_seen(world: World, name: str, sample: Sample, value: Any) -> None:
    eventually(
        lambda: sample.seen(everything(world, name)) == value,
        lambda: f"{sample.field} has not become {value}: {everything(world, name)}",
    )


def notes(world: World, name: str, reason: str) -> list[str]:
    return [event["note"] for event in world.events(name) if event["reason"] == reason]


@each_setting
def test_a_setting_is_set_at_creation_changed_and_left_alone_once_it_is_not_stated(
    world: World, sample: Sample
) -> None:
    name = world.project_name()
    world.project(name, **sample.first)
    world.ready("HarborProject", name)
    assert sample.seen(everything(world, name)) == sample.values[0]
    world.project(name, **sample.second)
    world.ready("HarborProject", name)
    assert sample.seen(everything(world, name)) == sample.values[1]
    with world.counting() as writes:
        world.reconcile_all()
        world.project(name)
        world.ready("HarborProject", name)
        world.reconcile_all()
    assert writes.harbor == []
    assert sample.seen(everything(world, name)) == sample.values[1]


@each_setting
def test_a_setting_that_was_changed_in_the_ui_is_set_back_with_an_event_naming_it(world: World, sample: Sample) -> None:
    name = world.project_name()
    world.project(name, **sample.first)
    world.ready("HarborProject", name)
    sample.upset(world, name)
    until_seen(world, name, sample, sample.values[0])
    eventually(
        lambda: any(sample.field in note for note in notes(world, name, "DriftCorrected")),
        lambda: f"no Event names {sample.field}: {world.events(name)}",
    )


@each_setting
def test_under_report_a_changed_setting_is_listed_and_left_until_the_spec_changes(world: World, sample: Sample) -> None:
    name = world.project_name()
    world.project(name, driftPolicy="Report", **sample.first)
    world.ready("HarborProject", name)
    sample.upset(world, name)
    found = world.reason("HarborProject", name, "DriftDetected")
    assert ready_condition(found)["status"] == "True"
    assert [row["field"] for row in found["status"]["drift"]] == [sample.field]
    assert sample.field in notes(world, name, "DriftDetected")[0]
    with world.counting() as writes:
        world.reconcile_all()
    assert writes.harbor == []
    assert sample.seen(everything(world, name)) == sample.values[1]
    world.project(name, driftPolicy="Correct", **sample.first)
    world.ready("HarborProject", name)
    assert sample.seen(everything(world, name)) == sample.values[0]
    assert not world.get("HarborProject", name)["status"]["drift"]


LIVED_IN = {
    "public": "false",
    "auto_scan": "false",
    "prevent_vul": "false",
    "severity": "low",
    "auto_sbom_generation": "false",
    "enable_content_trust": "false",
    "enable_content_trust_cosign": "false",
    "reuse_sys_cve_allowlist": "false",
}


def lived_in(world: World) -> str:
    """A project created and configured in Harbor's UI."""
    name = world.project_name()
    world.make_project(name, **LIVED_IN)
    world.change_project(
        name, allowlist={"items": [{"cve_id": "CVE-1"}, {"cve_id": "CVE-0"}], "expires_at": 1798761600}
    )
    world.change_quota(name, 7 * GI)
    world.make_policy(name, "jenkins")
    return name


@each_setting
def test_adoption_changes_what_is_stated_and_nothing_else(world: World, sample: Sample) -> None:
    name = lived_in(world)
    before = everything(world, name)
    world.project(name, creationPolicy="Adopt", deletionPolicy="Retain", **sample.first)
    found = world.ready("HarborProject", name)
    assert found["status"]["origin"] == "Adopted"
    after = everything(world, name)
    sample.seen(before)
    assert sample.seen(after) == sample.values[0]
    if sample.field == "cveAllowlist.items":
        assert world.harbor_project(name)["cve_allowlist"].get("expires_at") is None  # type: ignore[index]
    assert after == before


def test_adoption_without_settings_changes_nothing_at_all(world: World) -> None:
    name = lived_in(world)
    before = everything(world, name)
    with world.counting() as writes:
        world.project(name, creationPolicy="CreateOrAdopt", deletionPolicy="Retain")
        world.ready("HarborProject", name)
        world.delete("HarborProject", name)
    assert [line for line in writes.harbor if not line.startswith("POST /api/v2.0/projects")] == []
    assert everything(world, name) == before


def test_adoption_under_report_lists_what_differs_and_applies_only_a_later_spec(world: World) -> None:
    name = lived_in(world)
    before = everything(world, name)
    stated = {"creationPolicy": "Adopt", "deletionPolicy": "Retain", "driftPolicy": "Report"}
    world.project(name, **stated, public=True, storageQuota="1Gi")
    found = world.reason("HarborProject", name, "DriftDetected")
    assert found["status"]["drift"] == [
        {"field": "public", "desired": "true", "observed": "false"},
        {"field": "storageQuota", "desired": "1Gi", "observed": "7Gi"},
    ]
    assert everything(world, name) == before
    world.project(name, **stated, public=True, storageQuota="2Gi")
    world.ready("HarborProject", name)
    assert world.quota(name) == 2 * GI
    assert everything(world, name)["metadata"]["public"] == "true"


# Several together


def test_two_fields_that_belong_together_are_one_change_with_both_names(world: World) -> None:
    name = world.project_name()
    world.project(name, vulnerability={"preventPull": {"enabled": True, "severity": "high"}})
    world.ready("HarborProject", name)
    with world.counting() as writes:
        world.change_project(name, prevent_vul="false", severity="low")
        both = "vulnerability.preventPull.enabled, vulnerability.preventPull.severity"
        eventually(
            lambda: any(both in note for note in notes(world, name, "DriftCorrected")),
            lambda: f"no Event names both: {world.events(name)}",
        )
    metadata = everything(world, name)["metadata"]
    assert (metadata["prevent_vul"], metadata["severity"]) == ("true", "high")
    if world.harbor.stand_in is not None:
        assert len(writes.harbor) == 2, "one by the UI, one by us"


def test_junk_in_harbor_is_drift(world: World) -> None:
    name = world.project_name()
    world.project(name, public=False, vulnerability={"preventPull": {"severity": "high"}})
    world.ready("HarborProject", name)
    world.change_project(name, public="123", severity="dreadful")
    eventually(
        lambda: {**everything(world, name)["metadata"]}.items() >= {"public": "false", "severity": "high"}.items(),
        lambda: str(everything(world, name)),
    )


FULL = {
    "public": True,
    "storageQuota": "50Gi",
    "vulnerability": {"autoScan": True, "preventPull": {"enabled": True, "severity": "critical"}},
    "sbom": {"autoGenerate": True},
    "contentTrust": {"cosign": True, "notation": False},
    "cveAllowlist": {
        "reuseSystem": False,
        "items": ["CVE-2024-1234", "CVE-2024-1"],
        "expiresAt": "2027-01-01T00:00:00Z",
    },
}


def test_a_second_pass_over_a_project_with_everything_writes_nothing(world: World) -> None:
    name = world.project_name()
    world.project(name, **FULL)
    world.ready("HarborProject", name)
    found = world.until("HarborProject", name, lambda item: item["status"].get("quota"), "no quota in the status")
    assert found["status"]["quota"] == {"hard": "50Gi", "used": "0"}
    before = everything(world, name)
    with world.counting() as writes:
        world.reconcile_all()
        world.operator.stop()
        world.operator.restart()
        world.ready("HarborProject", name)
        world.reconcile_all()
    assert writes.harbor == []
    assert everything(world, name) == before
    assert before["quota"] == 50 * GI


def test_an_allowlist_with_its_expiry_is_there_after_the_first_reconcile(world: World) -> None:
    name = world.project_name()
    world.project(name, cveAllowlist={"items": ["CVE-2024-1", "CVE-2024-2"], "expiresAt": "2027-01-01T00:00:00Z"})
    world.ready("HarborProject", name)
    assert everything(world, name)["allowlist"] == (["CVE-2024-1", "CVE-2024-2"], 1798761600)
    world.project(name, cveAllowlist={"items": ["CVE-2024-1"]})
    world.ready("HarborProject", name)
    assert everything(world, name)["allowlist"] == (["CVE-2024-1"], None)


def test_labels_annotations_and_a_replacing_sync_write_nothing_to_harbor(world: World) -> None:
    name = world.project_name()
    world.project(name, **FULL)
    before = world.ready("HarborProject", name)
    with world.counting() as writes:
        world.patch("HarborProject", name, {"metadata": {"labels": {"argocd.argoproj.io/instance": "apps"}}})
        world.patch("HarborProject", name, {"metadata": {"annotations": {"note": "by a person"}}})
        bare = {"name": name, "namespace": world.namespace, "resourceVersion": ""}
        replaced = {"apiVersion": GROUP, "kind": "HarborProject", "metadata": bare, "spec": before["spec"]}
        bare["resourceVersion"] = world.get("HarborProject", name)["metadata"]["resourceVersion"]
        world.control_plane.admin.request("PUT", world._path("HarborProject", name), replaced)
        world.reconcile_all()
        after = world.until("HarborProject", name, lambda item: FINALIZER in item["metadata"].get("finalizers", []))
    assert writes.harbor == []
    assert after["status"]["projectID"] == before["status"]["projectID"]
    assert after["status"]["origin"] == "Created"


# Projects created just before a crash, or removed in Harbor


def test_after_a_crash_between_making_a_project_and_saying_so_the_rest_of_it_follows(world: World) -> None:
    """The settings that a POST cannot carry were not written yet either."""
    name = world.project_name()
    world.project(name, **FULL)
    before = world.ready("HarborProject", name)["status"]
    world.operator.kill()
    world.patch("HarborProject", name, {"status": None}, status=True)
    world.change_project(name, allowlist={"items": []})
    world.operator.restart()
    after = world.ready("HarborProject", name)["status"]
    assert (after["projectID"], after["origin"]) == (before["projectID"], "Created")
    assert everything(world, name)["allowlist"] == (["CVE-2024-1234", "CVE-2024-1"], 1798761600)


def test_a_project_removed_in_harbor_is_made_again_with_all_its_settings_and_policies(world: World) -> None:
    name = world.project_name()
    world.project(name, **FULL)
    world.policy("ci", name)
    before = world.ready("HarborProject", name)["status"]["projectID"]
    world.ready("WebhookPolicy", "ci")
    settings = everything(world, name)
    world.api.delete(f"/projects/{name}").raise_for_status()
    found = world.until("HarborProject", name, lambda item: item["status"]["projectID"] != before, "not made again")
    world.until("WebhookPolicy", "ci", lambda item: item["status"]["projectID"] == found["status"]["projectID"])
    world.ready("HarborProject", name)
    again = everything(world, name)
    assert (again["metadata"], again["allowlist"], again["quota"]) == (
        settings["metadata"],
        settings["allowlist"],
        settings["quota"],
    )
    assert [policy["name"] for policy in again["policies"]] == ["ci"]
    assert notes(world, name, "Recreated")


def test_a_project_removed_in_harbor_is_not_made_again_under_adopt(world: World) -> None:
    name = world.project_name()
    world.make_project(name)
    world.project(name, creationPolicy="Adopt", deletionPolicy="Retain")
    world.ready("HarborProject", name)
    world.api.delete(f"/projects/{name}").raise_for_status()
    world.reason("HarborProject", name, "NotFound")
    assert world.harbor_project(name) is None


def test_under_report_a_new_spec_is_applied_even_if_the_first_attempt_fails(own: World) -> None:
    name = own.project_name()
    own.project(name, driftPolicy="Report", public=False)
    own.ready("HarborProject", name)
    standing(own).set_fault({"method": "PUT", "path": f"/projects/{name}$"}, times=1, status=500, body="{}")
    own.project(name, driftPolicy="Report", public=True)
    own.ready("HarborProject", name)
    assert everything(own, name)["metadata"]["public"] == "true"


# Quotas


@pytest.mark.parametrize(
    ("stated", "count"), [("unlimited", -1), ("50Gi", 50 * GI), ("1.5Gi", 3 * GI // 2), (1048577, 1048577), ("0.1", 1)]
)
def test_a_quota_is_exact(world: World, stated: Any, count: int) -> None:
    name = world.project_name()
    world.project(name, storageQuota=stated)
    world.ready("HarborProject", name)
    assert world.quota(name) == count
    world.project(name, storageQuota="2Gi")
    world.ready("HarborProject", name)
    world.project(name, storageQuota=stated)
    world.ready("HarborProject", name)
    assert world.quota(name) == count


def test_a_new_project_with_a_quota_costs_one_request(own: World) -> None:
    name = own.project_name()
    standing(own).clear_requests()
    own.project(name, storageQuota="50Gi", public=True)
    own.ready("HarborProject", name)
    writes = [(r.method, r.path) for r in standing(own).requests() if r.writes and r.auth == "session"]
    assert writes == [("POST", "/api/v2.0/projects")]
    assert not [r for r in standing(own).requests() if r.path == "/api/v2.0/quotas"]
    assert own.quota(name) == 50 * GI


def test_without_quotas_per_project_everything_else_is_ready(own: World) -> None:
    standing(own).settings(quota_per_project_enable=False)
    name = own.project_name()
    own.project(name, storageQuota="50Gi", public=True, cveAllowlist={"items": ["CVE-1"]})
    found = own.reason("HarborProject", name, "QuotaUnavailable")
    assert ready_condition(found)["status"] == "True"
    assert "quota" not in found["status"]
    assert own.harbor_project(name)["metadata"]["public"] == "true"  # type: ignore[index]
    own.project(name, storageQuota="50Gi", public=False)
    own.reason("HarborProject", name, "QuotaUnavailable")
    with own.counting() as writes:
        own.reconcile_all()
    assert writes.harbor == []


def test_a_robot_that_may_not_change_quotas_applies_the_rest_and_names_what_it_lacks(own: World) -> None:
    use_robot(own, *make_robot(own, *EVERYTHING))
    name = own.project_name()
    own.project(name, storageQuota="1Gi")
    own.ready("HarborProject", name)
    assert own.quota(name) == GI, "at creation a robot may state it"
    own.project(name, storageQuota="2Gi", public=True, cveAllowlist={"items": ["CVE-1"]})
    found = own.reason("HarborProject", name, "QuotaForbidden")
    message = ready_condition(found)["message"]
    assert message.startswith("Harbor refused GET /api/v2.0/quotas (403"), "its own words come first"
    assert "quota:update" in message
    assert "2.12" in message
    own.until(
        "HarborProject", name, lambda item: item["status"].get("quota", {}).get("hard") == "1Gi", "quota observed"
    )
    seen = everything(own, name)
    assert (seen["metadata"]["public"], seen["allowlist"][0]) == ("true", ["CVE-1"])
    system = {
        "kind": "system",
        "namespace": "/",
        "access": [*EVERYTHING[0]["access"], *access("quota", "list", "update")],
    }
    own._unique += "q"
    use_robot(own, *make_robot(own, system, EVERYTHING[1]))
    own.ready("HarborProject", name)
    assert own.quota(name) == 2 * GI


def test_an_ordinary_user_can_make_a_project_but_not_set_its_quota(own: World) -> None:
    make_user(own, "dev", PASSWORD)
    use_robot(own, "dev", PASSWORD, kind="User")
    name = own.project_name()
    own.project(name, storageQuota="1Gi", public=True)
    found = own.reason("HarborProject", name, "QuotaForbidden")
    assert "administrator" in ready_condition(found)["message"]
    assert everything(own, name)["metadata"]["public"] == "true"


def test_what_a_project_holds_shows_in_its_status(world: World) -> None:
    name = world.project_name()
    world.project(name, storageQuota="1Gi")
    world.ready("HarborProject", name)
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{name}/app")
    found = world.until("HarborProject", name, lambda item: item["status"].get("repositoryCount") == 1, "not counted")
    assert found["status"]["quota"]["hard"] == "1Gi"


# Versions of Harbor


def test_fields_that_an_older_harbor_lacks_are_named_and_the_others_applied(own_27: World) -> None:
    name = own_27.project_name()
    own_27.project(name, public=True, sbom={"autoGenerate": True}, contentTrust={"cosign": True, "notation": True})
    found = own_27.reason("HarborProject", name, "UnsupportedHarborVersion")
    message = ready_condition(found)["message"]
    assert "2.7" in message
    assert "sbom.autoGenerate (since 2.11)" in message
    assert "contentTrust.notation (since 2.9)" in message
    metadata = everything(own_27, name)["metadata"]
    assert (metadata["public"], metadata["enable_content_trust_cosign"]) == ("true", "true")
    assert "enable_content_trust" not in metadata
    with own_27.counting() as writes:
        own_27.reconcile_all()
    assert writes.harbor == []
    own_27.project(name, public=True)
    own_27.ready("HarborProject", name)


# Proxy caches

PROXY: Object = {
    "registryName": "hub",
    "speedLimitKbps": 100,
    "maxUpstreamConnections": 20,
    "serveLocalOnNotFound": True,
    "referrerAPI": True,
    "filter": {"pattern": "library/**", "kind": "doublestar"},
}
PROXY_METADATA = {
    "proxy_speed_kb": "100",
    "max_upstream_conn": "20",
    "proxy_cache_local_on_not_found": "true",
    "proxy_referrer_api": "true",
    "proxy_cache_filter_pattern": "library/**",
    "proxy_cache_filter_kind": "doublestar",
}


def make_registry(own: World, name: str) -> int:
    body = {"name": name, "type": "docker-registry", "url": "http://127.0.0.1:15000", "insecure": True}
    answer = own.api.post("/registries", json=body).raise_for_status()
    return int(answer.headers["Location"].rpartition("/")[2])


def test_a_proxy_cache_is_made_for_the_registry_of_that_name_and_kept_as_stated(own: World) -> None:
    make_registry(own, "other")
    registry = make_registry(own, "hub")
    name = own.project_name()
    own.project(name, proxyCache=PROXY)
    own.ready("HarborProject", name)
    found = own.harbor_project(name)
    assert found is not None
    assert found["registry_id"] == registry
    assert found["metadata"].items() >= PROXY_METADATA.items()
    with own.counting() as writes:
        own.reconcile_all()
    assert writes.harbor == []
    own.change_project(name, proxy_cache_filter_pattern="x/.*", proxy_cache_filter_kind="regex", proxy_speed_kb="5")
    eventually(
        lambda: everything(own, name)["metadata"].items() >= PROXY_METADATA.items(),
        lambda: str(everything(own, name)),
    )
    changed = copy.deepcopy(PROXY) | {"speedLimitKbps": -1, "filter": {"pattern": "y", "kind": "doublestar"}}
    own.project(name, proxyCache=changed)
    own.ready("HarborProject", name)
    metadata = everything(own, name)["metadata"]
    assert (metadata["proxy_speed_kb"], metadata["proxy_cache_filter_pattern"]) == ("-1", "y")
    own.project(name)
    own.ready("HarborProject", name)
    assert everything(own, name)["metadata"] == metadata


def test_a_proxy_cache_waits_for_its_registry(own: World) -> None:
    name = own.project_name()
    own.project(name, proxyCache={"registryName": "hub"})
    found = own.reason("HarborProject", name, "NotFound")
    assert "'hub'" in ready_condition(found)["message"]
    assert own.harbor_project(name) is None
    make_registry(own, "hub")
    own.ready("HarborProject", name)


def test_an_ordinary_project_cannot_become_a_proxy_cache_nor_change_its_registry(own: World) -> None:
    make_registry(own, "hub")
    make_registry(own, "quay")
    plain, cache = own.project_name("plain"), own.project_name("cache")
    own.project(plain)
    own.ready("HarborProject", plain)
    own.project(plain, public=True, proxyCache=PROXY)
    found = own.reason("HarborProject", plain, "ImmutableField")
    assert "proxyCache.registryName" in ready_condition(found)["message"]
    assert everything(own, plain)["metadata"]["public"] == "true"
    own.project(cache, proxyCache={"registryName": "hub"})
    own.ready("HarborProject", cache)
    own.project(cache)
    own.project(cache, proxyCache={"registryName": "quay", "speedLimitKbps": 1})
    message = ready_condition(own.reason("HarborProject", cache, "ImmutableField"))["message"]
    assert "is a cache of registry endpoint 'hub', not of 'quay'" in message
    with own.counting() as writes:
        own.reconcile_all()
    assert writes.harbor == []


def test_a_renamed_registry_endpoint_is_named_and_the_spec_may_follow_it(own: World) -> None:
    registry = make_registry(own, "hub")
    name = own.project_name()
    own.project(name, proxyCache={"registryName": "hub"})
    own.ready("HarborProject", name)
    own.api.put(f"/registries/{registry}", json={"name": "docker-hub"}).raise_for_status()
    own.project(name, public=True, proxyCache={"registryName": "hub", "speedLimitKbps": 5})
    message = ready_condition(own.reason("HarborProject", name, "InvalidSpec"))["message"]
    assert "Harbor has no registry endpoint 'hub'" in message
    assert "is a cache of registry endpoint 'docker-hub' now" in message
    metadata = everything(own, name)["metadata"]
    assert (metadata["public"], metadata["proxy_speed_kb"]) == ("true", "5"), "the rest is applied"
    with own.counting() as writes:
        own.project(name, public=True, proxyCache={"registryName": "docker-hub", "speedLimitKbps": 5})
        own.ready("HarborProject", name)
    assert writes.harbor == []


def test_a_robot_without_the_right_to_list_registries_is_told_so(own: World) -> None:
    make_registry(own, "hub")
    use_robot(own, *make_robot(own, *EVERYTHING))
    name = own.project_name()
    own.project(name, proxyCache={"registryName": "hub"})
    found = own.reason("HarborProject", name, "Forbidden")
    assert "registry:list" in ready_condition(found)["message"]


# Webhooks


def policy_in_harbor(world: World, project: str, name: str) -> Object | None:
    return next((policy for policy in world.harbor_policies(project) if policy["name"] == name), None)


def test_a_projects_switch_disables_its_policies_and_leaves_their_specs_and_others_alone(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    world.policy("off", name, enabled=False)
    world.ready("WebhookPolicy", "ci")
    world.ready("WebhookPolicy", "off")
    world.make_policy(name, "jenkins")
    world.project(name, webhooks={"enabled": False})
    found = world.until("WebhookPolicy", "ci", lambda item: item["status"]["enabled"] is False, "not disabled")
    assert found["spec"]["enabled"] is True
    assert not world.harbor_policy(name, "ci").get("enabled")
    assert world.harbor_policy(name, "jenkins")["enabled"]
    world.until(
        "WebhookPolicy",
        "ci",
        lambda item: any(c.get("reason") == "ProjectDisabled" for c in item["status"]["conditions"]),
        "no ProjectDisabled",
    )
    world.project(name, webhooks={"enabled": True})
    world.until("WebhookPolicy", "ci", lambda item: item["status"]["enabled"] is True, "not enabled again")
    assert world.harbor_policy(name, "ci")["enabled"]
    assert not world.harbor_policy(name, "off").get("enabled")


def test_a_policy_made_while_the_project_has_switched_webhooks_off_starts_disabled(world: World) -> None:
    name = world.project_name()
    world.project(name, webhooks={"enabled": False})
    world.policy("ci", name, deletionPolicy="Retain")
    world.ready("WebhookPolicy", "ci")
    assert not world.harbor_policy(name, "ci").get("enabled")
    world.delete("WebhookPolicy", "ci")
    assert world.harbor_policy(name, "ci")["enabled"], "what stays in Harbor is as its spec says"


def test_the_status_counts_policies_and_names_those_that_nobody_declares(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    world.policy("bad", name, eventTypes=["NO_SUCH_EVENT"])
    world.ready("WebhookPolicy", "ci")
    world.make_policy(name, "jenkins")
    wanted = {"declared": 2, "ready": 1, "summary": "1/2", "unmanaged": ["jenkins"]}
    world.until("HarborProject", name, lambda item: item["status"].get("webhooks") == wanted, f"not {wanted}")
    world.delete("WebhookPolicy", "bad")
    wanted = {"declared": 1, "ready": 1, "summary": "1/1", "unmanaged": ["jenkins"]}
    world.until("HarborProject", name, lambda item: item["status"].get("webhooks") == wanted, f"not {wanted}")


def test_prune_announces_disables_and_then_removes_what_nobody_declares(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    world.ready("WebhookPolicy", "ci")
    world.make_policy(name, "jenkins")
    world.make_policy(name, "foreign", creator="harborhook/another-cluster/team-a/foreign")
    world.until("HarborProject", name, lambda item: item["status"]["webhooks"]["unmanaged"] == ["jenkins"], "unlisted")
    world.project(name, webhooks={"prune": True})
    eventually(lambda: notes(world, name, "PruneAnnounced"), lambda: "not announced")
    assert policy_in_harbor(world, name, "jenkins"), "an announcement removes nothing"
    eventually(lambda: policy_in_harbor(world, name, "jenkins") is None, lambda: str(world.harbor_policies(name)))
    reasons = [event["reason"] for event in world.events(name)]
    steps = [reason for reason in reasons if reason in ("PruneAnnounced", "PruneDisabled", "Pruned")]
    assert steps == ["PruneAnnounced", "PruneDisabled", "Pruned"]
    assert {policy["name"] for policy in world.harbor_policies(name)} == {"ci", "foreign"}


def test_a_prune_that_harbor_refuses_is_said_in_its_own_words_and_done_later(own: World) -> None:
    name = own.project_name()
    own.project(name, webhooks={"prune": True})
    own.ready("HarborProject", name)
    policy = own.make_policy(name, "jenkins")
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": "contains executions that aren't in final status"}]})
    refusal = {"method": "DELETE", "path": f"/policies/{policy}$"}
    standing(own).set_fault(refusal, status=412, body=body, headers={"Content-Type": "application/json"})
    (note,) = eventually(lambda: notes(own, name, "PruneRefused"), lambda: "not refused")
    assert "(412: contains executions that aren't in final status)" in note
    assert "'jenkins'" in note
    standing(own).clear_faults()
    eventually(lambda: policy_in_harbor(own, name, "jenkins") is None, lambda: str(own.harbor_policies(name)))


def test_policies_declared_after_prune_was_switched_on_are_adopted_and_not_pruned(world: World) -> None:
    name = world.project_name()
    project_id = world.make_project(name)
    policy_id = world.make_policy(name, "jenkins")
    world.project(name, creationPolicy="Adopt", deletionPolicy="Retain", webhooks={"prune": True})
    eventually(lambda: notes(world, name, "PruneAnnounced"), lambda: "not announced")
    world.policy("jenkins", name, creationPolicy="CreateOrAdopt")
    found = world.ready("WebhookPolicy", "jenkins")
    assert (found["status"]["policyID"], found["status"]["projectID"]) == (policy_id, project_id)
    for _ in range(3):
        world.reconcile_all()
    world.until("HarborProject", name, lambda item: item["status"]["webhooks"]["unmanaged"] == [], "still listed")
    assert policy_in_harbor(world, name, "jenkins")
    assert notes(world, name, "Pruned") == []


def test_a_declared_policy_that_may_not_adopt_is_not_pruned_either(world: World) -> None:
    name = world.project_name()
    world.make_project(name)
    world.make_policy(name, "jenkins")
    world.project(name, creationPolicy="Adopt", deletionPolicy="Retain", webhooks={"prune": True})
    world.policy("jenkins", name)
    world.reason("WebhookPolicy", "jenkins", "AlreadyExists")
    world.until("HarborProject", name, lambda item: item["status"]["webhooks"]["summary"] == "0/1", "not counted")
    assert world.get("HarborProject", name)["status"]["webhooks"]["unmanaged"] == []


# Ownership


def test_of_two_claims_one_wins_and_its_deletion_hands_over_to_the_other(world: World) -> None:
    name = world.project_name()
    world.project("first", projectName=name, deletionPolicy="Retain", public=False)
    world.ready("HarborProject", "first")
    world.project("second", projectName=name, deletionPolicy="Delete", creationPolicy="CreateOrAdopt", public=True)
    refused = world.reason("HarborProject", "second", "OwnedByOther")
    assert "first" in ready_condition(refused)["message"]
    assert everything(world, name)["metadata"]["public"] == "false"
    world.delete("HarborProject", "first")
    found = world.ready("HarborProject", "second")
    assert found["status"]["origin"] == "Adopted"
    assert everything(world, name)["metadata"]["public"] == "true"
    world.delete("HarborProject", "second")
    assert world.harbor_project(name) is None


def test_a_loser_that_is_deleted_touches_nothing(world: World) -> None:
    name = world.project_name()
    world.project("first", projectName=name)
    world.ready("HarborProject", "first")
    world.project("second", projectName=name, deletionPolicy="Delete")
    world.reason("HarborProject", "second", "OwnedByOther")
    world.delete("HarborProject", "second")
    assert world.harbor_project(name) is not None
    world.ready("HarborProject", "first")


def test_a_winner_that_deletes_its_project_lets_the_next_claim_recreate_it(world: World) -> None:
    name = world.project_name()
    world.project("first", projectName=name)
    before = world.ready("HarborProject", "first")["status"]["projectID"]
    world.project("second", projectName=name)
    world.reason("HarborProject", "second", "OwnedByOther")
    world.delete("HarborProject", "first")
    found = world.ready("HarborProject", "second")
    assert found["status"]["origin"] == "Created"
    assert found["status"]["projectID"] != before


def test_a_claim_over_a_connection_that_cannot_work_does_not_count(world: World) -> None:
    broken = f"broken-{world._unique}"
    world.connect(broken, url="http://127.0.0.1:9")
    world.reason("ClusterHarborConnection", broken, "HarborUnreachable")
    name = world.project_name()
    world.project("squatter", projectName=name, connectionRef={"name": broken})
    world.until("HarborProject", "squatter", lambda item: ready_condition(item).get("status") == "False")
    world.project(name)
    world.ready("HarborProject", name)
    world.delete("HarborProject", name)
    world.annotate("HarborProject", "squatter", release="true")
    world.delete("HarborProject", "squatter")
    world.delete("ClusterHarborConnection", broken)


def test_a_claim_without_access_to_the_project_does_not_count(world: World) -> None:
    narrow = f"narrow-{world._unique}"
    world.connect(narrow, access=[{"namespaces": ["nobody"], "projects": ["*"]}])
    world.ready("ClusterHarborConnection", narrow)
    name = world.project_name()
    world.project("squatter", projectName=name, connectionRef={"name": narrow})
    world.reason("HarborProject", "squatter", "NotAllowedByConnection")
    world.project(name)
    world.ready("HarborProject", name)
    world.delete("HarborProject", "squatter")
    world.delete("HarborProject", name)
    world.delete("ClusterHarborConnection", narrow)


def test_a_project_made_in_the_ui_is_refused_with_advice_and_adopted_on_request(world: World) -> None:
    name = lived_in(world)
    before = everything(world, name)
    world.project(name, deletionPolicy="Retain", public=True)
    refused = world.reason("HarborProject", name, "AlreadyExists")
    assert "creationPolicy" in ready_condition(refused)["message"]
    assert everything(world, name) == before
    world.project(name, deletionPolicy="Retain", creationPolicy="Adopt", public=True)
    world.ready("HarborProject", name)
    after = everything(world, name)
    assert after["metadata"].pop("public") == "true"
    before["metadata"].pop("public")
    assert after == before


def test_in_a_cluster_built_again_everything_is_adopted_without_a_write(world: World) -> None:
    name = world.project_name()
    stated = {**FULL, "creationPolicy": "CreateOrAdopt", "deletionPolicy": "Retain"}
    world.project(name, **stated)
    before = world.ready("HarborProject", name)["status"]["projectID"]
    world.delete("HarborProject", name)
    with world.counting() as writes:
        world.project(name, **stated)
        found = world.ready("HarborProject", name)
    assert found["status"]["projectID"] == before
    assert [line for line in writes.harbor if not line.startswith("POST /api/v2.0/projects")] == []


# Deletion


def test_a_project_that_is_already_gone_from_harbor_is_let_go(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.ready("HarborProject", name)
    world.operator.stop()
    world.api.delete(f"/projects/{name}").raise_for_status()
    world.delete("HarborProject", name, wait=False)
    world.operator.restart()
    world.gone("HarborProject", name)


def test_harbors_reason_not_to_delete_a_project_is_quoted(own_27: World) -> None:
    name = own_27.project_name()
    own_27.project(name)
    own_27.ready("HarborProject", name)
    said = "precondition failed: the project contains helm charts, can not be deleted"
    body = json.dumps({"errors": [{"code": "PRECONDITION", "message": said}]})
    refusal = {"method": "DELETE", "path": f"/projects/{name}$"}
    standing(own_27).set_fault(refusal, status=412, body=body, headers={"Content-Type": "application/json"})
    own_27.delete("HarborProject", name, wait=False)
    found = own_27.until(
        "HarborProject", name, lambda item: ready_condition(item).get("reason") == "ProjectNotEmpty", "not refused"
    )
    message = ready_condition(found)["message"]
    assert message.startswith(f"Harbor refused DELETE /api/v2.0/projects/{{project}} (412: {said}).")
    assert "repositories" not in message
    standing(own_27).clear_faults()
    own_27.gone("HarborProject", name)


def test_while_harbor_is_unreachable_a_deleted_project_is_kept_with_a_reason_and_goes_afterwards(own: World) -> None:
    name = own.project_name()
    own.project(name)
    own.ready("HarborProject", name)
    standing(own).settings(core="down")
    own.delete("HarborProject", name, wait=False)
    found = own.until(
        "HarborProject",
        name,
        lambda item: ready_condition(item).get("reason") in ("HarborUnreachable", "ConnectionNotReady"),
        "no reason",
    )
    assert FINALIZER in found["metadata"]["finalizers"]
    standing(own).settings(core="up")
    own.gone("HarborProject", name)
    assert own.harbor_project(name) is None


def test_a_project_that_somebody_else_recreated_is_not_deleted(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.ready("HarborProject", name)
    world.operator.stop()
    world.api.delete(f"/projects/{name}").raise_for_status()
    world.make_project(name)
    world.delete("HarborProject", name, wait=False)
    world.operator.restart()
    world.gone("HarborProject", name)
    assert world.harbor_project(name) is not None


PARTS = ("WebhookPolicy", "HarborProject", "ClusterHarborConnection", "Secret")


@pytest.mark.parametrize("order", list(itertools.permutations(PARTS))[::5], ids="-".join)
def test_everything_goes_in_any_order_of_deletion(own: World, order: tuple[str, ...]) -> None:
    name = own.project_name()
    own.project(name, **FULL)
    own.policy("ci", name)
    own.ready("HarborProject", name)
    own.ready("WebhookPolicy", "ci")
    names = {"WebhookPolicy": "ci", "HarborProject": name, "ClusterHarborConnection": own.connection}
    for kind in order:
        if kind == "Secret":
            path = f"/api/v1/namespaces/harborhook/secrets/{own.connection}-credentials"
            own.control_plane.admin.request("DELETE", path)
        else:
            own.delete(kind, names[kind], wait=False)
    for kind, item in names.items():
        own.gone(kind, item)
    assert own.harbor_project(name) is None


def test_a_deletion_policy_that_is_changed_while_suspended_is_obeyed(world: World) -> None:
    name = world.project_name()
    world.project(name, deletionPolicy="Retain")
    world.ready("HarborProject", name)
    world.project(name, deletionPolicy="Delete", suspend=True)
    found = world.reason("HarborProject", name, "Suspended")
    assert FINALIZER in found["metadata"].get("finalizers", [])
    world.delete("HarborProject", name)
    assert world.harbor_project(name) is None
