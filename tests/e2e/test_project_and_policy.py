"""The main job: a project and its webhook policy, declared, kept, and deleted."""

from __future__ import annotations

from typing import Any

import pytest

from harness.push import push_artifact
from harness.world import FINALIZER, World, condition, header_from, http_target, ready_condition


def test_a_declared_project_and_its_policy_are_made_in_harbor(world: World) -> None:
    name = world.project_name()
    world.project(name, public=True)
    world.policy("ci", name, description="to CI", eventTypes=["PUSH_ARTIFACT", "DELETE_ARTIFACT"])
    project, policy = world.ready("HarborProject", name), world.ready("WebhookPolicy", "ci")
    in_harbor = world.harbor_project(name)
    assert in_harbor is not None
    assert in_harbor["metadata"]["public"] == "true"
    assert project["status"]["projectID"] == in_harbor["project_id"]
    assert project["status"]["origin"] == policy["status"]["origin"] == "Created"
    made = world.harbor_policy(name, "ci")
    assert made["enabled"] is True
    assert made["description"] == "to CI"
    assert sorted(made["event_types"]) == ["DELETE_ARTIFACT", "PUSH_ARTIFACT"]
    assert policy["status"]["policyID"] == made["id"]
    assert policy["status"]["enabled"] is True
    assert [event["reason"] for event in world.events("ci")] == ["Created"]


def test_a_new_resource_costs_one_request_and_three_writes(world: World) -> None:
    name = world.project_name()
    with world.counting() as writes:
        world.project(name)
        world.ready("HarborProject", name)
        world.policy("ci", name)
        world.ready("WebhookPolicy", "ci")
    if world.harbor.stand_in:
        assert writes.harbor == ["POST /api/v2.0/projects", f"POST /api/v2.0/projects/{name}/webhook/policies"][1:]
    about_policy = [write for write in writes.kubernetes if write.endswith(" ci") or "events" in write]
    assert about_policy.count("patch webhookpolicies/ ci") == 1
    assert about_policy.count("patch webhookpolicies/status ci") == 1


def test_a_second_reconcile_of_everything_writes_nothing(world: World) -> None:
    name = world.project_name()
    world.secret("ci", header="Bearer s3cret")
    world.project(name, public=False)
    world.policy("default", name, targets=[http_target()])
    world.policy("cloud", name, targets=[http_target(payloadFormat="CloudEvents", verifyRemoteCertificate=True)])
    world.policy("header", name, targets=[http_target(authHeaderFrom=header_from("ci"))], description="")
    world.policy("slack", name, targets=[{"type": "slack", "address": "https://hooks.slack.com/services/T/B/x"}])
    for policy in ("default", "cloud", "header", "slack"):
        world.ready("WebhookPolicy", policy)
    world.reconcile_all()  # writes its answer to the annotation
    world.counted(name)
    resources = [("HarborProject", name), *(("WebhookPolicy", p) for p in ("default", "cloud", "header", "slack"))]
    before = {key: world.get(*key)["metadata"]["resourceVersion"] for key in resources}
    with world.counting() as writes:
        world.operator.stop()
        world.operator.restart()
        world.reconciled_since_restart(name)
    assert writes.harbor == []
    assert writes.kubernetes == []
    assert {key: world.get(*key)["metadata"]["resourceVersion"] for key in resources} == before


def test_a_cloudevents_target_stays_cloudevents(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name, targets=[http_target(payloadFormat="CloudEvents")])
    world.ready("WebhookPolicy", "ci")
    world.reconcile_all()
    assert world.harbor_policy(name, "ci")["targets"][0]["payload_format"] == "CloudEvents"


def test_a_slack_target_needs_no_format(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("chat", name, targets=[{"type": "slack", "address": "https://hooks.slack.com/services/T/B/x"}])
    world.ready("WebhookPolicy", "chat")
    assert world.harbor_policy(name, "chat")["targets"][0]["type"] == "slack"


@pytest.mark.parametrize("stated", [{}, {"verifyRemoteCertificate": True}])
def test_verifying_the_certificate_shows_no_flag_in_harbor(world: World, stated: dict[str, Any]) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name, targets=[http_target(**stated)])
    world.ready("WebhookPolicy", "ci")
    assert "skip_cert_verify" not in world.harbor_policy(name, "ci")["targets"][0]


def test_a_project_named_with_digits_is_never_mistaken_for_an_id(world: World) -> None:
    other = world.project_name("other")
    victim_id = world.make_project(other)
    digits = str(victim_id)
    world._projects.append(digits)
    world.project(digits, projectName=digits)
    world.policy("ci", digits)
    world.ready("HarborProject", digits)
    policy = world.ready("WebhookPolicy", "ci")
    assert policy["status"]["projectID"] != victim_id
    assert world.harbor_policies(other) == []
    world.policy("ci", digits, enabled=False)
    world.ready("WebhookPolicy", "ci")
    world.delete("WebhookPolicy", "ci")
    world.delete("HarborProject", digits)
    assert world.harbor_project(other) is not None, "the project with that id must survive"
    assert world.harbor_project(digits) is None


def test_a_project_made_in_harbors_ui_is_not_taken_unasked(world: World) -> None:
    name = world.project_name()
    world.make_project(name, public="true", auto_scan="true")
    before = world.harbor_project(name)
    world.project(name, public=False)
    refused = world.reason("HarborProject", name, "AlreadyExists")
    assert "creationPolicy" in ready_condition(refused)["message"]
    assert world.harbor_project(name) == before
    world.project(name, public=False, creationPolicy="Adopt")
    adopted = world.ready("HarborProject", name)
    assert adopted["status"]["origin"] == "Adopted"
    after = world.harbor_project(name)
    assert before is not None
    assert after is not None
    assert after["metadata"] == {**before["metadata"], "public": "false"}


def test_adopting_never_makes_a_project(world: World) -> None:
    name = world.project_name()
    world.project(name, creationPolicy="Adopt")
    world.reason("HarborProject", name, "NotFound")
    assert world.harbor_project(name) is None
    world.make_project(name)
    world.ready("HarborProject", name)


def test_a_harbor_name_that_kubernetes_cannot_have_goes_into_project_name(world: World) -> None:
    name = world.project_name("team_a")
    world.project("team-a", projectName=name)
    assert world.ready("HarborProject", "team-a")["status"]["projectName"] == name
    assert world.harbor_project(name) is not None


def test_an_address_with_query_and_credentials_is_kept_exactly_and_shown_nowhere_else(world: World) -> None:
    name = world.project_name()
    address = "https://user:c4nary-in-address@ci.example.com/hook?a=b&c=%20d"
    world.project(name)
    world.policy("ci", name, targets=[http_target(address)])
    shown = world.ready("WebhookPolicy", "ci")
    assert world.harbor_policy(name, "ci")["targets"][0]["address"] == address
    assert "c4nary-in-address" not in str(shown["status"])
    assert "c4nary-in-address" not in str(world.events("ci"))
    assert "c4nary-in-address" not in world.operator.log.read_text()


def test_a_change_of_the_spec_is_made_in_place(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    first = world.ready("WebhookPolicy", "ci")["status"]["policyID"]
    made = world.harbor_policy(name, "ci")
    changed = [http_target("https://other.example.com/x", verifyRemoteCertificate=False)]
    world.policy("ci", name, policyName="Renamed", enabled=False, eventTypes=["PULL_ARTIFACT"], targets=changed)
    policy = world.ready("WebhookPolicy", "ci")
    after = world.harbor_policy(name, "Renamed")
    assert after["id"] == first == policy["status"]["policyID"]
    assert policy["status"]["policyName"] == "Renamed"
    assert policy["status"]["enabled"] is False
    assert after.get("enabled", False) is False
    assert after["event_types"] == ["PULL_ARTIFACT"]
    assert after["targets"][0]["skip_cert_verify"] is True
    assert (after["creator"], after["creation_time"]) == (made["creator"], made["creation_time"])
    updated = [event["note"] for event in world.events("ci") if event["reason"] == "Updated"]
    assert updated == [
        "Updated policyName, enabled, eventTypes, targets[0].address, targets[0].verifyRemoteCertificate "
        "of webhook policy Renamed."
    ]


def test_what_somebody_changes_in_harbor_is_set_back(world: World) -> None:
    name = world.project_name()
    world.secret("ci", header="Bearer s3cret")
    world.project(name, public=False)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    world.ready("WebhookPolicy", "ci")
    policy = world.harbor_policy(name, "ci")
    changed = {**policy, "enabled": False, "targets": [{**policy["targets"][0], "auth_header": "Bearer other"}]}
    world.api.put(f"/projects/{name}/webhook/policies/{policy['id']}", json=changed).raise_for_status()
    world.api.put(f"/projects/{name}", json={"metadata": {"public": "true"}}).raise_for_status()
    world.until("WebhookPolicy", "ci", lambda _: world.harbor_policy(name, "ci") == policy, "drift is corrected")
    world.until("HarborProject", name, lambda _: world.harbor_project(name)["metadata"]["public"] == "false")  # type: ignore[index]
    notes = [event["note"] for event in world.events("ci") if event["reason"] == "DriftCorrected"]
    assert notes == ["Set enabled, targets[0].authHeaderFrom of webhook policy ci back to the spec."]


def test_a_policy_removed_in_harbor_is_made_again(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    first = world.ready("WebhookPolicy", "ci")["status"]["policyID"]
    world.api.delete(f"/projects/{name}/webhook/policies/{first}").raise_for_status()
    world.until("WebhookPolicy", "ci", lambda found: found["status"]["policyID"] != first, "made again")
    assert world.harbor_policy(name, "ci")["id"] != first
    assert "Recreated" in [event["reason"] for event in world.events("ci")]


def test_a_project_removed_in_harbor_is_made_again_with_its_policies(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    first = world.ready("WebhookPolicy", "ci")["status"]
    world.api.delete(f"/projects/{name}").raise_for_status()
    world.until("WebhookPolicy", "ci", lambda found: found["status"]["projectID"] != first["projectID"], "made again")
    world.ready("WebhookPolicy", "ci")
    assert len(world.harbor_policies(name)) == 1


def test_a_push_shows_as_last_trigger_time(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy(
        "ci", name, eventTypes=["PUSH_ARTIFACT", "DELETE_ARTIFACT"], targets=[http_target("http://127.0.0.1:9/")]
    )
    world.ready("WebhookPolicy", "ci")
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{name}/app")
    found = world.until("WebhookPolicy", "ci", lambda policy: policy["status"].get("lastTriggerTime"), "triggered")
    rows = {row["eventType"]: row.get("lastTriggerTime") for row in found["status"]["triggers"]}
    assert rows == {"PUSH_ARTIFACT": found["status"]["lastTriggerTime"], "DELETE_ARTIFACT": None}
    if world.harbor.is_real:
        return  # its retries take minutes, and are news
    world.until("WebhookPolicy", "ci", lambda policy: condition(policy, "Delivering")["status"] == "False", "given up")
    world.counted(name, repositories=1)
    with world.counting() as writes:
        world.operator.stop()
        world.operator.restart()
        world.reconciled_since_restart(name)
    assert writes.kubernetes == []


def test_a_policy_waits_for_its_project_and_then_goes_on(world: World) -> None:
    name = world.project_name()
    world.policy("ci", name)
    world.reason("WebhookPolicy", "ci", "ProjectNotReady")
    world.project(name)
    world.ready("WebhookPolicy", "ci")


def test_a_policy_waits_for_its_secret_and_its_key(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci", "token"))])
    world.reason("WebhookPolicy", "ci", "SecretNotFound")
    world.secret("ci", header="x")
    world.reason("WebhookPolicy", "ci", "SecretKeyMissing")
    assert world.harbor_policies(name) == []
    world.secret("ci", header="x", token="Bearer t0ken\n")
    world.ready("WebhookPolicy", "ci")
    assert world.harbor_policy(name, "ci")["targets"][0]["auth_header"] == "Bearer t0ken"


def test_a_rotated_secret_reaches_harbor(world: World) -> None:
    name = world.project_name()
    world.secret("ci", header="Bearer one")
    world.project(name)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    before = world.ready("WebhookPolicy", "ci")
    world.secret("ci", header="Bearer two")
    world.until(
        "WebhookPolicy",
        "ci",
        lambda _: world.harbor_policy(name, "ci")["targets"][0]["auth_header"] == "Bearer two",
        "the new header is in Harbor",
    )
    assert world.get("WebhookPolicy", "ci")["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.parametrize("value", ["", "zwölf", "two\nlines", "\x07bell"])
def test_a_header_that_harbor_cannot_send_is_refused_with_a_sentence(world: World, value: str) -> None:
    name = world.project_name()
    world.secret("ci", header=value)
    world.project(name)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    found = world.reason("WebhookPolicy", "ci", "InvalidSpec")
    assert "printable ASCII" in ready_condition(found)["message"]
    assert world.harbor_policies(name) == []


def test_two_policies_of_one_name_in_a_project_are_not_fought_over(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("first", name, policyName="ci")
    world.ready("WebhookPolicy", "first")
    world.policy("second", name, policyName="ci", enabled=False)
    loser = world.reason("WebhookPolicy", "second", "OwnedByOther")
    assert "first" in ready_condition(loser)["message"]
    assert world.harbor_policy(name, "ci")["enabled"] is True
    world.delete("WebhookPolicy", "first")
    world.ready("WebhookPolicy", "second")
    assert len(world.harbor_policies(name)) == 1


def test_two_resources_for_one_project_are_not_fought_over(world: World) -> None:
    name = world.project_name()
    world.project("first", projectName=name, public=True)
    world.ready("HarborProject", "first")
    world.project("second", projectName=name, public=False)
    world.reason("HarborProject", "second", "OwnedByOther")
    world.delete("HarborProject", "second")
    found = world.harbor_project(name)
    assert found is not None
    assert found["metadata"]["public"] == "true"


def test_a_policy_can_belong_to_a_project_nobody_manages(world: World) -> None:
    name = world.project_name()
    project_id = world.make_project(name)
    world.policy("ci", projectName=name)
    found = world.ready("WebhookPolicy", "ci")
    assert found["status"]["projectID"] == project_id
    world.delete("WebhookPolicy", "ci")
    assert world.harbor_policies(name) == []


def test_a_policy_stops_writing_when_its_project_becomes_managed(world: World) -> None:
    name = world.project_name()
    world.make_project(name)
    world.policy("ci", projectName=name)
    world.ready("WebhookPolicy", "ci")
    world.project(name, creationPolicy="Adopt", deletionPolicy="Retain")
    world.reason("WebhookPolicy", "ci", "OwnedByOther")
    assert len(world.harbor_policies(name)) == 1


def test_suspend_stops_writing_and_resuming_catches_up(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    world.ready("WebhookPolicy", "ci")
    with world.counting() as writes:
        world.policy("ci", name, suspend=True, enabled=False)
        found = world.reason("WebhookPolicy", "ci", "Suspended")
    assert ready_condition(found)["status"] == "True"
    assert writes.harbor == []
    world.policy("ci", name, enabled=False)
    world.ready("WebhookPolicy", "ci")
    assert not world.harbor_policy(name, "ci").get("enabled")


def test_a_project_with_images_is_never_deleted(world: World) -> None:
    name = world.project_name()
    world.project(name)
    world.ready("HarborProject", name)
    push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{name}/app")
    world.delete("HarborProject", name, wait=False)
    found = world.until(
        "HarborProject", name, lambda item: ready_condition(item).get("reason") == "ProjectNotEmpty", "not empty"
    )
    message = ready_condition(found)["message"]
    assert "(412: precondition failed: the project contains repositories, can not be deleted)" in message
    assert "It has 1 repository." in message
    assert world.harbor_project(name) is not None


def test_a_retained_project_stays_and_needs_no_finalizer(world: World) -> None:
    name = world.project_name()
    world.project(name, deletionPolicy="Retain")
    assert FINALIZER not in world.ready("HarborProject", name)["metadata"].get("finalizers", [])
    world.delete("HarborProject", name)
    assert world.harbor_project(name) is not None


def test_deleting_and_applying_again_finds_a_retained_project_and_remakes_a_policy(world: World) -> None:
    name = world.project_name()
    for _ in range(2):
        world.project(name, deletionPolicy="Retain")
        world.policy("ci", name)
        if _ == 0:
            world.ready("WebhookPolicy", "ci")
            world.delete("WebhookPolicy", "ci")
            world.delete("HarborProject", name)
    refused = world.reason("HarborProject", name, "AlreadyExists")
    assert "Adopt" in ready_condition(refused)["message"]
    world.project(name, deletionPolicy="Retain", creationPolicy="CreateOrAdopt")
    world.ready("HarborProject", name)
    world.ready("WebhookPolicy", "ci")
    assert len(world.harbor_policies(name)) == 1


def test_what_was_made_just_before_a_crash_is_known_again(world: World) -> None:
    """Recreates the state after a kill between Harbor's 201 and the status write: everything except the status
    exists."""
    name = world.project_name()
    world.project(name)
    world.policy("ci", name)
    before = world.ready("HarborProject", name)["status"], world.ready("WebhookPolicy", "ci")["status"]
    world.operator.kill()
    for kind, item in (("HarborProject", name), ("WebhookPolicy", "ci")):
        world.patch(kind, item, {"status": None}, status=True)
    world.operator.restart()
    project, policy = world.ready("HarborProject", name)["status"], world.ready("WebhookPolicy", "ci")["status"]
    assert (project["projectID"], project["origin"]) == (before[0]["projectID"], "Created")
    assert (policy["policyID"], policy["origin"]) == (before[1]["policyID"], "Created")
    assert len(world.harbor_policies(name)) == 1


def test_deleting_everything_at_once_leaves_nothing(world: World) -> None:
    names = [world.project_name(f"team{number}") for number in range(5)]
    for name in names:
        world.project(name)
        for number in range(3):
            world.policy(f"{name}-{number}", name)
    for name in names:
        for number in range(3):
            world.ready("WebhookPolicy", f"{name}-{number}")
    for kind in ("HarborProject", "WebhookPolicy"):
        for item in world.all(kind):
            world.delete(kind, item["metadata"]["name"], wait=False)
    for kind in ("HarborProject", "WebhookPolicy"):
        for item in world.all(kind):
            world.gone(kind, item["metadata"]["name"])
    assert [name for name in names if world.harbor_project(name) is not None] == []


def test_deleting_the_namespace_leaves_nothing(world: World) -> None:
    name = world.project_name()
    world.secret("ci", header="Bearer s3cret")
    world.project(name)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    world.ready("WebhookPolicy", "ci")
    world.control_plane.delete_namespace(world.namespace)
    world.gone("WebhookPolicy", "ci")
    world.gone("HarborProject", name)
    assert world.harbor_project(name) is None


def test_an_access_rule_keeps_projects_to_their_namespaces(world: World) -> None:
    connection = f"narrow-{world._unique}"
    world.connect(connection, access=[{"namespaces": ["*"], "projects": ["{namespace}", "{namespace}.*"]}])
    world.ready("ClusterHarborConnection", connection)
    name = world.project_name()
    world.project(name, connectionRef={"name": connection})
    refused = world.reason("HarborProject", name, "NotAllowedByConnection")
    assert world.namespace in ready_condition(refused)["message"]
    allowed = f"{world.namespace}.app"
    world._projects.append(allowed)
    world.project("app", projectName=allowed, connectionRef={"name": connection})
    world.ready("HarborProject", "app")
    world.delete("HarborProject", "app")
    world.delete("HarborProject", name)
    world.delete("ClusterHarborConnection", connection)


def test_a_connection_stays_while_resources_use_it(world: World) -> None:
    connection = f"used-{world._unique}"
    world.connect(connection)
    name = world.project_name()
    world.project(name, connectionRef={"name": connection})
    world.ready("HarborProject", name)
    world.until("ClusterHarborConnection", connection, lambda item: FINALIZER in item["metadata"].get("finalizers", []))
    world.delete("ClusterHarborConnection", connection, wait=False)
    world.reason("ClusterHarborConnection", connection, "InUse")
    world.delete("HarborProject", name)
    world.gone("ClusterHarborConnection", connection)
    assert world.harbor_project(name) is None


def test_no_secret_value_shows_anywhere(world: World) -> None:
    name = world.project_name()
    world.secret("ci", header="Bearer c4nary-header")
    world.project(name)
    world.policy("ci", name, targets=[http_target(authHeaderFrom=header_from("ci"))])
    world.ready("WebhookPolicy", "ci")
    policy = world.harbor_policy(name, "ci")
    world.api.put(f"/projects/{name}/webhook/policies/{policy['id']}", json={**policy, "enabled": False})
    world.until("WebhookPolicy", "ci", lambda _: world.harbor_policy(name, "ci")["enabled"])
    world.secret("ci", header="Bearer c4nary-header-zwölf")
    world.reason("WebhookPolicy", "ci", "InvalidSpec")
    everything = [world.get("WebhookPolicy", "ci"), world.get("HarborProject", name), world.events("ci")]
    assert "c4nary-header" not in str(everything)
    assert "c4nary-header" not in world.operator.log.read_text()
    assert world.harbor.password not in world.operator.log.read_text()
