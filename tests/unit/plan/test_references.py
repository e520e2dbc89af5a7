"""The dependencies of an object, and the objects that compete with it."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.base import AnyKey, DeliveriesKey, Key
from harborhook.plan.references import (
    DEFAULT_CONNECTION,
    POLICY_CLAIM,
    PROJECT_CLAIM,
    admission_secrets,
    connection_key,
    is_claim,
    policy_claim,
    project_claim,
    recorded_connection,
    references,
)

RECORDED = {"kind": "HarborConnection", "name": "own", "url": "https://harbor.example.com"}
OWN = Key("HarborConnection", "team", "own")


def cluster_connection(**spec: Any) -> dict[str, Any]:
    credentials = {"namespace": "harborhook", "name": "credentials"}
    return {
        "kind": "ClusterHarborConnection",
        "metadata": {"name": "default"},
        "spec": {"url": "https://harbor.example.com", "credentialsSecretRef": credentials, **spec},
    }


def connection(**spec: Any) -> dict[str, Any]:
    return {
        "kind": "HarborConnection",
        "metadata": {"name": "own", "namespace": "team"},
        "spec": {"url": "https://harbor.example.com", "credentialsSecretRef": {"name": "credentials"}, **spec},
    }


def project(*, name: str = "p", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "HarborProject",
        "metadata": {"name": name, "namespace": "team"},
        "spec": spec,
        "status": status or {},
    }


def policy(*, name: str = "hook", namespace: str = "team", **parts: Any) -> dict[str, Any]:
    status = parts.pop("status", {})
    if "projectName" not in parts:
        parts.setdefault("projectRef", {"name": "p"})
    parts.setdefault("targets", [{"type": "http", "address": "https://ci.example.com"}])
    return {
        "kind": "WebhookPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"eventTypes": ["PUSH_ARTIFACT"], **parts},
        "status": status,
    }


def header_from(secret: str) -> dict[str, Any]:
    source = {"secretKeyRef": {"name": secret, "key": "header"}}
    return {"type": "http", "address": "https://ci.example.com", "authHeaderFrom": source}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (cluster_connection(), {Key("Secret", "harborhook", "credentials")}),
        (
            cluster_connection(tls={"caBundleRef": {"namespace": "harborhook", "name": "ca"}}),
            {Key("Secret", "harborhook", "credentials"), Key("ConfigMap", "harborhook", "ca")},
        ),
        (
            cluster_connection(tls={"caBundleRef": {"kind": "Secret", "namespace": "pki", "name": "ca"}}),
            {Key("Secret", "harborhook", "credentials"), Key("Secret", "pki", "ca")},
        ),
        (cluster_connection(tls={"insecureSkipVerify": True}), {Key("Secret", "harborhook", "credentials")}),
        (
            connection(tls={"caBundleRef": {"kind": "Secret", "name": "ca"}}),
            {Key("Secret", "team", "credentials"), Key("Secret", "team", "ca")},
        ),
    ],
    ids=["credentials", "CA in a ConfigMap", "CA in a Secret", "no CA", "a team's own"],
)
def test_a_connection_depends_on_its_credentials_and_its_ca(body: dict[str, Any], expected: set[Key]) -> None:
    assert set(references(body)) == expected


def test_a_connection_depends_on_what_a_gateway_in_front_of_harbor_wants() -> None:
    body = cluster_connection(
        tls={"clientCertificateRef": {"namespace": "pki", "name": "mtls"}},
        headersFrom=[
            {"name": "X-One", "secretKeyRef": {"namespace": "gateway", "name": "one", "key": "token"}},
            {"name": "X-Two", "secretKeyRef": {"namespace": "gateway", "name": "two", "key": "token"}},
        ],
    )
    own = connection(
        tls={"clientCertificateRef": {"name": "mtls"}},
        headersFrom=[{"name": "X-One", "secretKeyRef": {"name": "one", "key": "token"}}],
    )
    wanted = {Key("Secret", "pki", "mtls"), Key("Secret", "gateway", "one"), Key("Secret", "gateway", "two")}
    assert set(references(body)) == wanted | {Key("Secret", "harborhook", "credentials")}
    assert set(references(own)) == {Key("Secret", "team", name) for name in ("credentials", "mtls", "one")}
    assert set(admission_secrets(own)) == set(references(own))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (project(), {DEFAULT_CONNECTION, project_claim("p")}),
        (project(projectName="team_a"), {DEFAULT_CONNECTION, project_claim("team_a")}),
        (project(connectionRef={"name": "east"}), {Key("ClusterHarborConnection", "", "east"), project_claim("p")}),
        (project(connectionRef={"kind": "HarborConnection", "name": "own"}), {OWN, project_claim("p")}),
        (project(status={"connection": RECORDED}), {DEFAULT_CONNECTION, OWN, project_claim("p")}),
    ],
    ids=["by default", "another name", "a connection", "a team's own connection", "a recorded connection"],
)
def test_a_project_depends_on_its_connections_and_claims_its_name(body: dict[str, Any], expected: set[Key]) -> None:
    assert set(references(body)) == expected


def test_a_project_without_a_spec_has_references_too() -> None:
    body = project()
    del body["spec"], body["status"]

    assert set(references(body)) == {DEFAULT_CONNECTION, project_claim("p")}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (policy(), {Key("HarborProject", "team", "p"), Key(POLICY_CLAIM, "team/p", "hook")}),
        (
            policy(policyName="Slack notifications"),
            {Key("HarborProject", "team", "p"), Key(POLICY_CLAIM, "team/p", "Slack notifications")},
        ),
        (
            policy(projectName="library"),
            {DEFAULT_CONNECTION, project_claim("library"), Key(POLICY_CLAIM, "library", "hook")},
        ),
        (
            policy(projectName="library", connectionRef={"kind": "HarborConnection", "name": "own"}),
            {OWN, project_claim("library"), Key(POLICY_CLAIM, "library", "hook")},
        ),
        (
            policy(targets=[header_from("one"), header_from("two"), header_from("one")]),
            {
                Key("HarborProject", "team", "p"),
                Key(POLICY_CLAIM, "team/p", "hook"),
                Key("Secret", "team", "one"),
                Key("Secret", "team", "two"),
            },
        ),
        (
            policy(status={"connection": RECORDED, "projectName": "p"}),
            {
                Key("HarborProject", "team", "p"),
                Key(POLICY_CLAIM, "team/p", "hook"),
                OWN,
                DeliveriesKey(OWN, "p"),
            },
        ),
    ],
    ids=["projectRef", "policyName", "projectName", "a team's own connection", "headers", "once it is in Harbor"],
)
def test_a_policy_depends_on_its_project_or_connection_its_secrets_and_its_deliveries(
    body: dict[str, Any], expected: set[AnyKey]
) -> None:
    assert set(references(body)) == expected


def test_an_object_whose_status_names_no_connection_records_none() -> None:
    assert recorded_connection(project()) is None
    assert recorded_connection({"metadata": {"name": "p"}}) is None


@pytest.mark.parametrize(
    ("ref", "key"),
    [
        (None, DEFAULT_CONNECTION),
        ({"name": "east"}, Key("ClusterHarborConnection", "", "east")),
        ({"kind": "ClusterHarborConnection", "name": "east"}, Key("ClusterHarborConnection", "", "east")),
        ({"kind": "HarborConnection", "name": "own"}, OWN),
    ],
)
def test_a_connection_of_a_team_is_looked_for_in_the_teams_namespace_only(ref: Any, key: Key) -> None:
    assert connection_key(ref, "team") == key


# Rivals


def test_policies_compete_within_a_project_of_one_namespace() -> None:
    mine = policy_claim(policy())

    assert policy_claim(policy(name="another", policyName="hook")) == mine
    assert policy_claim(policy(namespace="other")) != mine
    assert policy_claim(policy(projectRef={"name": "q"})) != mine
    assert policy_claim(policy(name="another")) != mine


def test_a_policy_claims_the_name_it_has_in_harbor_too() -> None:
    held = {**policy(policyName="new"), "status": {"origin": "Created", "policyName": "old"}}
    claims = {key for key in references(held) if key.kind == POLICY_CLAIM}
    assert claims == {policy_claim(held), policy_claim(held, "old")}
    lost = {**held, "status": {"policyName": "old"}}
    assert {key for key in references(lost) if key.kind == POLICY_CLAIM} == {policy_claim(lost)}


def test_policies_of_a_project_named_directly_compete_across_namespaces() -> None:
    assert policy_claim(policy(projectName="library")) == policy_claim(policy(projectName="library", namespace="other"))


def test_a_policy_by_reference_and_one_by_name_never_meet() -> None:
    assert policy_claim(policy(projectRef={"name": "library"})) != policy_claim(policy(projectName="library"))


def test_claims_are_told_from_things_that_exist() -> None:
    claims = {key for body in (project(), policy(projectName="library")) for key in references(body) if is_claim(key)}

    assert claims == {project_claim("p"), project_claim("library"), Key(POLICY_CLAIM, "library", "hook")}
    assert {key.kind for key in claims} == {PROJECT_CLAIM, POLICY_CLAIM}


# Deliveries


def test_the_deliveries_of_a_project_are_no_claim_and_read_apart_over_each_connection() -> None:
    key = DeliveriesKey(OWN, "p")

    assert not is_claim(key)
    assert key != DeliveriesKey(DEFAULT_CONNECTION, "p")
    assert str(key) == "Deliveries of project p over HarborConnection team/own"
