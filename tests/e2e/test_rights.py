"""The operator runs under its shipped roles; the API server's audit log shows which of these rights it uses."""

from __future__ import annotations

from pathlib import Path

import yaml

from harness.world import World

ROLE = Path(__file__).parents[2] / "manifests/base/rbac-operator.yaml"
LOGGED = {"create", "update", "patch", "delete", "deletecollection"}


def granted() -> set[tuple[str, str]]:
    """The writes that the shipped ClusterRole permits, as resource and verb."""
    role = next(found for found in yaml.safe_load_all(ROLE.read_text()) if found["kind"] == "ClusterRole")
    return {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in set(rule["verbs"]) & LOGGED
    }


def test_every_write_that_the_role_permits_is_made_and_none_is_refused(own: World) -> None:
    """`own` declares another ClusterHarborConnection, and removes it."""
    user = "system:serviceaccount:harborhook:harborhook"
    name = own.project_name()
    own.secret("login", username=own.harbor.username, password=own.harbor.password)
    spec = {"url": own.harbor.url, "allowInsecureHTTP": True, "credentialsSecretRef": {"name": "login"}}
    own.apply({"kind": "HarborConnection", "metadata": {"name": "own"}, "spec": spec})
    own.ready("HarborConnection", "own")
    other = own.project_name()
    own.project(name)
    own.project(other, connectionRef={"kind": "HarborConnection", "name": "own"})
    own.policy("ci", name)
    own.ready("HarborProject", other)
    own.ready("HarborProject", name)
    own.ready("WebhookPolicy", "ci")
    for kind, resource in (("WebhookPolicy", "ci"), ("HarborProject", name), ("HarborProject", other)):
        own.delete(kind, resource)
    own.delete("HarborConnection", "own")

    writes = own.control_plane.writes(user)

    # The log has the writes of all tests so far, and a namespace that is terminating refuses new Events.
    refused = [entry for entry in writes if entry.code == 403]
    assert [entry for entry in refused if entry.resource != "events" or entry.namespace == own.namespace] == []
    assert {
        (f"{entry.resource}/{entry.subresource}" if entry.subresource else entry.resource, entry.verb)
        for entry in writes
        if entry.code < 300
    } == granted()
