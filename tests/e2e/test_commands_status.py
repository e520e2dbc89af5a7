"""`harborhook status` with a running operator: from a failing receiver to the reason in one command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness import console
from harness.push import push_artifact
from harness.receiver import Receiver
from harness.world import World, condition, http_target

CANARY = "c4nary"


@pytest.fixture
def failing(own: World) -> Iterator[World]:
    """A project with a policy `events`, whose receiver answers 500, and one `ci`, which is refused."""
    with Receiver() as receiver:
        project = own.project_name()
        own.project(project)
        own.policy("events", project, targets=[http_target(f"{receiver.url}/status/500/{CANARY}")])
        own.ready("WebhookPolicy", "events")
        own.policy("ci", project, eventTypes=["NO_SUCH_TYPE"])
        own.reason("WebhookPolicy", "ci", "UnsupportedEventType")
        push_artifact(own.harbor.url, own.harbor.username, own.harbor.password, f"{project}/app", "v1")
        own.until("WebhookPolicy", "events", lambda found: condition(found, "Delivering").get("status") == "False")
        yield own


def kubeconfig(world: World) -> Path:
    """An administrator's, in the namespace of the test."""
    return console.in_namespace(world.control_plane.kubeconfig, world.namespace)


def test_a_failing_receiver_is_found_in_one_command(failing: World) -> None:
    ended = console.run(kubeconfig(failing), "status", "events")
    assert ended.code == 0, "a receiver that fails leaves the policy Ready"
    first, second, *rest = ended.output.splitlines()
    assert first.startswith(f"WebhookPolicy {failing.namespace}/events: Failing for ")
    assert second.startswith("  receiver: The newest event was not delivered: 127.0.0.1 answered with status 500")
    assert ". Failing since 20" in second
    shown = "\n".join(rest)
    for part in ("chconn/own-", "v2.16.0", "PUSH_ARTIFACT", "(id ", "enabled", "DeliveryFailed", "Created"):
        assert part in shown
    assert CANARY not in ended.output, "the path of an address can be a credential"


def test_everything_is_shown_worst_first_and_counted(failing: World) -> None:
    ended = console.run(kubeconfig(failing), "status")
    assert ended.code == 1, "one policy is not Ready"
    lines = ended.output.splitlines()
    assert lines[0].split() == ["STATE", "RESOURCE", "SINCE", "MESSAGE"]
    assert [line.split()[:2] for line in lines[1:3]] == [["Stalled", "whp/ci"], ["Failing", "whp/events"]]
    assert {line.split()[0] for line in lines[3:5]} == {"Ready"}
    assert "has no event type NO_SUCH_TYPE. It has DELETE_ARTIFACT, " in lines[1], "in full, on one line"
    assert lines[-1] == "1 connection, 1 project, 2 policies: 1 stalled, 1 failing, 2 ready."
    assert "chconn/default" not in ended.output, "nothing here uses it"
    assert console.run(kubeconfig(failing), "status", "--exit-zero").code == 0


def test_programs_get_json_yaml_and_names(failing: World) -> None:
    found = json.loads(console.run(kubeconfig(failing), "status", "-o", "json").output)
    assert found == yaml.safe_load(console.run(kubeconfig(failing), "status", "-o", "yaml").output)
    events = next(one for one in found["resources"] if one["name"] == "events")
    assert {"kind", "namespace", "name", "state", "ready", "reason", "message", "since"} <= set(events)
    assert (events["state"], events["ready"], events["reason"]) == ("Failing", True, "LastDeliveryFailed")
    assert found["counts"] == {"total": 4, "Stalled": 1, "Failing": 1, "Ready": 2}
    names = console.run(kubeconfig(failing), "status", "-o", "name").output.split()
    assert names[:2] == ["webhookpolicy.harborhook.io/ci", "webhookpolicy.harborhook.io/events"]
    one = json.loads(console.run(kubeconfig(failing), "status", "events", "-o", "json").output)
    assert [found["where"] for found in one["findings"]] == ["receiver"]
    assert one["targets"][0]["address"].endswith("/…")
    assert one["connection"]["state"] == one["project"]["state"] == "Ready"


def test_wide_and_all_namespaces_add_columns(failing: World) -> None:
    ended = console.run(kubeconfig(failing), "status", "-A", "-o", "wide")
    header, *rows = ended.output.splitlines()
    columns = ["STATE", "NAMESPACE", "RESOURCE", "SINCE", "REASON", "PROJECT", "CONNECTION", "MESSAGE"]
    assert header.split() == columns
    (row,) = (row.split() for row in rows if "whp/events" in row)
    assert row[1] == failing.namespace
    assert "LastDeliveryFailed" in row


def test_an_unready_connection_is_named_as_the_cause(own: World) -> None:
    project = own.project_name()
    own.project(project)
    own.policy("events", project)
    own.ready("WebhookPolicy", "events")
    own.connect(own.connection, credentialsSecretRef={"namespace": "harborhook", "name": "no-such"})
    own.reason("ClusterHarborConnection", own.connection, "SecretNotFound")
    own.annotate("WebhookPolicy", "events", reconcile_at="now")
    own.reason("WebhookPolicy", "events", "ConnectionNotReady")
    found = json.loads(console.run(kubeconfig(own), "status", "events", "-o", "json").output)
    own.connect(own.connection)
    own.ready("ClusterHarborConnection", own.connection)
    (cause,) = found["findings"]
    assert cause["where"] == "connection", "and what follows from it is not repeated"
    assert "Secret harborhook/no-such does not exist" in cause["message"]


def test_what_a_person_has_switched_off_is_said_for_each_place(own: World) -> None:
    project = own.project_name()
    own.project(project, webhooks={"enabled": False})
    own.policy("events", project, suspend=True, enabled=False)
    own.until("WebhookPolicy", "events", lambda found: condition(found, "Ready"))
    own.ready("HarborProject", project)
    found = json.loads(console.run(kubeconfig(own), "status", "events", "-o", "json").output)
    assert [(one["where"], one["message"].split(" by ")[-1]) for one in found["findings"]] == [
        ("project", "spec.webhooks.enabled."),
        ("policy", "The policy is suspended: nothing is written to Harbor for it."),
        ("policy", "spec.enabled."),
    ]
