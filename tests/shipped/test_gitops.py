"""The files for Argo CD and Flux: health by the operator's conditions, and consistent examples.

tests/e2e/test_argocd.py tests that the ConfigMap accepts the entries, and that the operator performs the action.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook.api.base import ANNOTATION_RECONCILE_AT, ANNOTATION_REDELIVER, ANNOTATION_TEST_ENDPOINT, Condition
from harborhook.api.conditions import (
    Delivering,
    DeliveringReason,
    Outcome,
    Reason,
    Verdict,
    conditions_for,
    with_delivering,
)
from harborhook.api.kinds import KINDS
from harborhook.plan.redelivery import RedeliveryRequest, parse_request
from harness.argocd import ArgoCD, LuaError, ScriptError
from harness.paths import REPOSITORY
from harness.readme import blocks

ARGOCD = REPOSITORY / "manifests/argocd"
FLUX = REPOSITORY / "manifests/flux"
PAGE = (REPOSITORY / "docs/gitops.md").read_text()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Object = dict[str, Any]

EXPECTED = {
    Outcome.READY: "Healthy",
    Outcome.STALLED: "Degraded",
    Outcome.RECONCILING: "Progressing",
    Outcome.UNCHANGED: "Suspended",
}

each_kind = pytest.mark.parametrize("kind", KINDS)
each_reason = pytest.mark.parametrize("reason", list(Reason))
each_delivering = pytest.mark.parametrize("delivering", list(DeliveringReason))


@pytest.fixture(scope="module")
def argocd() -> ArgoCD:
    """With the entries that the kustomization lists."""
    (generator,) = yaml.safe_load((ARGOCD / "kustomization.yaml").read_text())["configMapGenerator"]
    pairs = [entry.split("=") for entry in generator["files"]]
    return ArgoCD({key: (ARGOCD / file).read_text() for key, file in pairs})


def resource(kind: str, conditions: list[Condition], *, generation: int = 3, **metadata: Any) -> Object:
    """Returns an object in the state after a visit of generation 3."""
    status: Object = {"observedGeneration": 3, "conditions": [condition.wire() for condition in conditions]}
    return {
        "apiVersion": "harborhook.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": "ci", "generation": generation, **metadata},
        "spec": {},
        "status": status,
    }


def visited(reason: Reason, previous: list[Condition] | None = None) -> list[Condition]:
    return conditions_for(Verdict(reason), previous or [], generation=3, now=NOW)


def policy(reason: Reason, delivering: DeliveringReason, **metadata: Any) -> Object:
    conditions = with_delivering(Delivering(delivering), visited(reason), generation=3, now=NOW)
    return resource("WebhookPolicy", conditions, **metadata)


# Health


@each_kind
@each_reason
def test_health_follows_what_a_reason_means_and_shows_its_message(argocd: ArgoCD, kind: str, reason: Reason) -> None:
    assert argocd.health(resource(kind, visited(reason))) == (EXPECTED[reason.outcome], reason.sentence)


@each_reason
@each_delivering
def test_deliveries_change_no_health_and_only_the_global_switch_changes_the_message(
    argocd: ArgoCD, reason: Reason, delivering: DeliveringReason
) -> None:
    off = delivering is DeliveringReason.GLOBALLY_DISABLED and reason.outcome is Outcome.READY
    message = delivering.sentence if off else reason.sentence
    assert argocd.health(policy(reason, delivering)) == (EXPECTED[reason.outcome], message)


@pytest.fixture(scope="module")
def suspending(argocd: ArgoCD) -> ArgoCD:
    """As if an admin had changed the health check's line for this."""
    line = 'local globally_disabled = "Healthy"'
    checks = {key: script for key, script in argocd.data.items() if ".health." in key}
    assert {script.count(line) for script in checks.values()} == {1}
    return ArgoCD({key: script.replace(line, line.replace("Healthy", "Suspended")) for key, script in checks.items()})


@each_reason
@each_delivering
def test_by_option_the_global_switch_suspends_what_needs_nobody(
    suspending: ArgoCD, reason: Reason, delivering: DeliveringReason
) -> None:
    health, message = suspending.health(policy(reason, delivering))
    if delivering is DeliveringReason.GLOBALLY_DISABLED and reason.outcome in (
        Outcome.READY,
        Outcome.RECONCILING,
    ):
        assert (health, message) == ("Suspended", delivering.sentence)
    else:
        assert (health, message) == (EXPECTED[reason.outcome], reason.sentence)


@pytest.mark.parametrize("before", list(Reason))
def test_a_suspended_resource_is_suspended_after_any_former_state(argocd: ArgoCD, before: Reason) -> None:
    suspended = resource("HarborProject", visited(Reason.SUSPENDED, visited(before)))
    assert argocd.health(suspended)[0] == "Suspended"


@each_kind
@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": 3}, {"observedGeneration": 3, "conditions": []}])
def test_a_resource_that_has_not_been_visited_is_progressing(argocd: ArgoCD, kind: str, status: Object | None) -> None:
    fresh = resource(kind, [])
    fresh["status"] = status
    assert argocd.health(fresh)[0] == "Progressing"


@each_reason
def test_what_was_said_of_an_older_spec_does_not_count(argocd: ArgoCD, reason: Reason) -> None:
    health, message = argocd.health(resource("HarborProject", visited(reason), generation=4))
    assert (health, message) == ("Progressing", "The operator has not seen this version yet.")


@each_kind
@each_reason
def test_what_is_being_deleted_is_progressing_and_says_what_it_waits_for(
    argocd: ArgoCD, kind: str, reason: Reason
) -> None:
    going = resource(kind, visited(reason), generation=4, deletionTimestamp="2026-01-02T03:04:05Z")
    health, message = argocd.health(going)
    waits = reason.outcome in (Outcome.STALLED, Outcome.RECONCILING)
    assert health == "Progressing"
    assert message == (f"Being deleted: {reason.sentence}" if waits else "Being deleted.")


# Actions


@each_kind
def test_every_action_that_is_offered_is_defined_and_the_other_way_round(argocd: ArgoCD, kind: str) -> None:
    found = resource(kind, visited(Reason.RECONCILED))
    parsed = yaml.safe_load(argocd.data[f"resource.customizations.actions.harborhook.io_{kind}"])
    assert set(argocd.actions(found)) == {definition["name"] for definition in parsed["definitions"]}


ACTIONS = {
    "reconcile": ANNOTATION_RECONCILE_AT,
    "test-endpoint": ANNOTATION_TEST_ENDPOINT,
    "redeliver-failed": ANNOTATION_REDELIVER,
}


@each_kind
@pytest.mark.parametrize("annotations", [None, {"team": "a"}])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_sets_its_annotation_to_the_time_and_nothing_else(
    argocd: ArgoCD, kind: str, annotations: Object | None, action: str
) -> None:
    before = resource(kind, visited(Reason.RECONCILED), annotations=annotations)
    after = argocd.act(deepcopy(before), action)
    stamp = after["metadata"]["annotations"].pop(ACTIONS[action]).removeprefix("failed ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp)
    assert after["metadata"]["annotations"] == (annotations or {})
    assert after["metadata"] | {"annotations": annotations} == before["metadata"]
    assert after["status"] == before["status"]


@each_kind
def test_an_endpoint_can_be_tested_where_there_is_one(argocd: ArgoCD, kind: str) -> None:
    offered = argocd.actions(resource(kind, visited(Reason.RECONCILED)))
    assert offered["test-endpoint"]["disabled"] is (kind != "WebhookPolicy")
    assert offered["redeliver-failed"]["disabled"] is (kind != "WebhookPolicy")


def test_what_the_action_asks_for_is_understood(argocd: ArgoCD) -> None:
    wanted = argocd.act(resource("WebhookPolicy", visited(Reason.RECONCILED)), "redeliver-failed")
    assert parse_request(wanted["metadata"]["annotations"][ANNOTATION_REDELIVER]) == RedeliveryRequest()


# The tests' interpreter is as limited as Argo CD's


@pytest.mark.parametrize(
    "script",
    [
        'io.open("/etc/passwd")',
        'os.execute("true")',
        'os.getenv("HOME")',
        'string.format("%s", 1)',
        '("a"):upper()',
        "math.floor(1.5)",
        'require("io")',
        'return {status = "Fine"}',
        'return "Healthy"',
    ],
)
def test_a_script_that_argo_cd_would_refuse_fails_here_too(script: str) -> None:
    argocd = ArgoCD({"resource.customizations.health.harborhook.io_HarborProject": script})
    with pytest.raises((LuaError, ScriptError)):
        argocd.health(resource("HarborProject", []))


# The page and the examples


def test_the_page_has_the_table_of_health() -> None:
    assert {word for word in EXPECTED.values() if f"| {word} |" in PAGE} == set(EXPECTED.values())


def test_the_health_of_an_application_as_the_page_gives_it_is_what_the_application_says() -> None:
    (patch,) = [yaml.safe_load(block) for block in blocks(PAGE, "yaml") if "argoproj.io_Application" in block]
    argocd = ArgoCD(patch["data"])
    application: Object = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {}}
    assert argocd.health(application)[0] == "Progressing"
    application["status"] = {"health": {"status": "Degraded", "message": "why"}}
    assert argocd.health(application) == ("Degraded", "why")


def manifests(directory: Path) -> Iterator[Object]:
    for path in sorted(directory.rglob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def wave(manifest: Object) -> int:
    return int(manifest["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"])


def test_argo_cd_brings_the_operator_then_the_connection_then_what_teams_declare() -> None:
    applications = {app["metadata"]["name"]: wave(app) for app in manifests(ARGOCD / "example/apps")}
    assert sorted(applications, key=lambda name: applications[name]) == [
        "harborhook-operator",
        "harborhook-connection",
        "harborhook-team-a",
    ]


def test_a_project_comes_before_its_policies_which_are_in_the_last_wave() -> None:
    waves = {manifest["kind"]: wave(manifest) for manifest in manifests(ARGOCD / "example/team-a")}
    assert waves["Namespace"] < waves["HarborProject"] < waves["WebhookPolicy"] == max(waves.values())


def test_flux_brings_them_in_the_same_order_and_waits_for_each() -> None:
    found = {one["metadata"]["name"]: one["spec"] for one in manifests(FLUX) if "toolkit" in one["apiVersion"]}
    steps = {name: spec for name, spec in found.items() if "path" in spec}
    depends = {name: [one["name"] for one in spec.get("dependsOn", [])] for name, spec in steps.items()}
    assert depends == {
        "harborhook-operator": [],
        "harborhook-connection": ["harborhook-operator"],
        "harborhook-team-a": ["harborhook-connection"],
    }
    assert all(spec["wait"] and spec["sourceRef"]["name"] in found for spec in steps.values())


def test_argo_cd_and_flux_read_the_same_directories_of_one_repository() -> None:
    sources = [app["spec"]["source"] for app in manifests(ARGOCD / "example/apps")]
    steps = [one["spec"] for one in manifests(FLUX) if "path" in one.get("spec", {})]
    assert {source["path"] for source in sources} == {step["path"].removeprefix("./") for step in steps}
    (repository,) = {source["repoURL"] for source in sources}
    assert repository in [one["spec"]["url"] for one in manifests(FLUX) if one["kind"] == "GitRepository"]


def test_the_directories_are_there() -> None:
    for application in [*manifests(ARGOCD / "example/apps"), *manifests_of(ARGOCD / "example/root.yaml")]:
        path = application["spec"]["source"]["path"]
        place = ARGOCD / "example" / path.removeprefix("harborhook/")
        assert (place if path.startswith("harborhook/") else REPOSITORY / path).is_dir()


def manifests_of(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text()))


def test_the_operator_reads_every_field_of_the_example() -> None:
    ours = [manifest for manifest in manifests(ARGOCD / "example") if manifest["kind"] in KINDS]
    assert {manifest["kind"] for manifest in ours} == {"ClusterHarborConnection", "HarborProject", "WebhookPolicy"}
    for manifest in ours:
        read = KINDS[manifest["kind"]].model.model_validate(manifest).wire()["spec"]
        assert set(manifest["spec"]) <= set(read)


def test_no_list_of_ours_holds_defaults_so_git_and_cluster_do_not_differ_for_ever() -> None:
    """Argo CD compares lists as a whole, and a default within one would be a difference that no sync removes."""
    schemas = [
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path in (REPOSITORY / "crds").glob("harborhook.io_*.yaml")
        for crd in manifests_of(path)
    ]
    assert len(schemas) == len(KINDS)
    assert [found for schema in schemas for found in defaults_in_lists(schema, "spec", False)] == []


def defaults_in_lists(schema: Object, path: str, in_list: bool) -> Iterator[str]:
    if in_list and "default" in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from defaults_in_lists(child, f"{path}.{name}", in_list)
    if "items" in schema:
        yield from defaults_in_lists(schema["items"], f"{path}[]", True)
