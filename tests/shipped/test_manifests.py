"""The shipped manifests: consistent examples, and a Deployment and roles that match the code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook.api.kinds import KINDS
from harness.paths import REPOSITORY

BASE = REPOSITORY / "manifests/base"
EXAMPLES = sorted((REPOSITORY / "manifests/examples").glob("*.yaml"))

Manifest = dict[str, Any]


def manifests(*paths: Path) -> list[Manifest]:
    return [manifest for path in paths for manifest in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str, *paths: Path) -> list[Manifest]:
    return [manifest for manifest in manifests(*paths) if manifest["kind"] == kind]


def place(manifest: Manifest) -> tuple[str, str]:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def references(node: Any, name: str) -> Iterator[Manifest]:
    """Returns all values of fields with that name, at any depth."""
    if isinstance(node, dict):
        if name in node:
            yield node[name]
        for child in node.values():
            yield from references(child, name)
    if isinstance(node, list):
        for child in node:
            yield from references(child, name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_explains_itself_before_it_begins(path: Path) -> None:
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_operator_reads_every_field_of_an_example(path: Path) -> None:
    for manifest in manifests(path):
        if manifest["kind"] in KINDS:
            read = KINDS[manifest["kind"]].model.model_validate(manifest).wire()
            assert stated_but_not_read(manifest["spec"], read["spec"]) == []


def stated_but_not_read(stated: Any, read: Any, path: str = "spec") -> list[str]:
    if isinstance(stated, dict) and isinstance(read, dict):
        return [p for key, value in stated.items() for p in stated_but_not_read(value, read.get(key), f"{path}.{key}")]
    if isinstance(stated, list) and isinstance(read, list) and len(stated) == len(read):
        return [p for s, r in zip(stated, read, strict=True) for p in stated_but_not_read(s, r, f"{path}[]")]
    return [] if stated == read else [path]


def test_what_the_examples_refer_to_is_in_the_examples() -> None:
    projects = {place(project) for project in of_kind("HarborProject", *EXAMPLES)}
    connections = {place(connection)[1] for connection in of_kind("ClusterHarborConnection", *EXAMPLES)}
    keys = {(*place(secret), key) for secret in of_kind("Secret", *EXAMPLES) for key in secret.get("stringData", {})}
    for policy in of_kind("WebhookPolicy", *EXAMPLES):
        namespace = policy["metadata"]["namespace"]
        assert {(namespace, ref["name"]) for ref in references(policy, "projectRef")} <= projects
        assert {ref["name"] for ref in references(policy, "connectionRef")} <= connections
        assert {(namespace, ref["name"], ref["key"]) for ref in references(policy, "secretKeyRef")} <= keys
    for connection in of_kind("ClusterHarborConnection", *EXAMPLES):
        secret = connection["spec"]["credentialsSecretRef"]
        assert {(secret["namespace"], secret["name"], key) for key in ("username", "password")} <= keys


def test_the_connection_of_the_examples_serves_resources_that_name_none() -> None:
    assert "default" in {place(connection)[1] for connection in of_kind("ClusterHarborConnection", *EXAMPLES)}


def test_the_examples_hold_no_credentials() -> None:
    values = [value for secret in of_kind("Secret", *EXAMPLES) for value in secret["stringData"].values()]
    assert [value for value in values if "REPLACE" not in value and value != "admin"] == []


def test_the_kustomization_has_every_manifest_beside_it() -> None:
    listed = set(yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"])
    assert listed == {"../../crds"} | {path.name for path in BASE.glob("*.yaml")} - {"kustomization.yaml"}


USED: dict[tuple[str, str], dict[str, str]] = {
    **{
        ("harborhook.io", kind.plural): {
            "list": "what is declared, when a watch begins",
            "watch": "what changes",
            "get": "before something is made in Harbor: whether the resource is still there",
            "patch": "finalizer and annotations",
        }
        for kind in KINDS.values()
    },
    **{
        ("harborhook.io", f"{kind.plural}/status"): {"patch": "the only way a status is written"}
        for kind in KINDS.values()
    },
    ("", "secrets"): {"list": "metadata", "watch": "a new version", "get": "values of those that a resource names"},
    ("", "configmaps"): {"list": "metadata", "watch": "a new version", "get": "authorities, the global switch"},
    ("", "namespaces"): {"get": "the UID of kube-system"},
    ("events.k8s.io", "events"): {"create": "an Event is created, never changed"},
}
"""The operator's actions in the cluster, and their purpose. It sets no ownerReferences, so the admission plug-in
OwnerReferencesPermissionEnforcement requires no `update` on finalizers."""


def test_the_role_of_the_operator_has_no_right_that_is_not_used_and_lacks_none() -> None:
    (role,) = of_kind("ClusterRole", BASE / "rbac-operator.yaml")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    assert granted == {(*what, verb) for what, verbs in USED.items() for verb in verbs}


def test_nothing_in_the_operator_sets_an_owner_reference() -> None:
    sources = [path.read_text() for path in (REPOSITORY / "operator").rglob("*.py")]

    assert [source for source in sources if "ownerReferences" in source or "owner_references" in source] == []


def test_the_deployment_elects_a_leader_and_may() -> None:
    (deployment,) = of_kind("Deployment", BASE / "deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (role,) = of_kind("Role", BASE / "rbac-leader-election.yaml")
    assert {"name": "HARBORHOOK_LEADER_ELECTION", "value": "true"} in container["env"]
    assert role["rules"] == [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
    ]


@pytest.mark.parametrize("path", sorted(BASE.glob("rbac-*.yaml")), ids=lambda path: path.stem)
def test_no_role_has_a_wildcard(path: Path) -> None:
    words = {
        word for role in of_kind("ClusterRole", path) for rule in role["rules"] for ws in rule.values() for word in ws
    }
    assert "*" not in words


@pytest.mark.parametrize(("role", "weaker"), [("edit", "view"), ("admin", "edit")])
def test_a_role_for_people_adds_to_the_weaker_one_instead_of_repeating_it(role: str, weaker: str) -> None:
    def rights(name: str) -> set[tuple[str, str]]:
        (found,) = of_kind("ClusterRole", BASE / f"rbac-{name}.yaml")
        assert found["metadata"]["labels"] == {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}
        return {(what, verb) for rule in found["rules"] for what in rule["resources"] for verb in rule["verbs"]}

    assert rights(role) & rights(weaker) == set()
