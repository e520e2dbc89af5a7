"""Webhook policies that conflict, or are edited while they cannot be written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.test_global_switch import remove_switch, switch, until_enforced, until_shown, use_a_robot
from e2e.test_policies import change_in_ui, declare, drift
from harness.own import standing
from harness.world import FINALIZER, World, condition, header_from, http_target, ready_condition


@pytest.fixture
def switched(own: World) -> Iterator[World]:
    """A Harbor for one test, whose switch in the ConfigMap is removed afterwards."""
    yield own
    remove_switch(own)
    until_enforced(own, "None")


def names(world: World, project: str) -> list[str]:
    return sorted(policy["name"] for policy in world.harbor_policies(project))


def is_on(world: World, project: str, name: str = "ci") -> bool:
    return world.harbor_policy(project, name).get("enabled", False) is True


# One name, two resources


def test_a_policy_renamed_onto_one_that_another_resource_holds_does_not_take_its_name(world: World) -> None:
    project = declare(world, name="older")
    world.policy("younger", project)
    world.ready("WebhookPolicy", "younger")
    world.policy("older", project, policyName="younger")
    world.reason("WebhookPolicy", "older", "OwnedByOther")
    world.policy("younger", project, description="still mine")
    world.ready("WebhookPolicy", "younger")
    assert names(world, project) == ["older", "younger"]
    world.policy("older", project, policyName="another")
    world.ready("WebhookPolicy", "older")
    assert names(world, project) == ["another", "younger"]


@pytest.mark.parametrize("creation", ["Create", "CreateOrAdopt"])
def test_a_name_that_one_resource_gives_up_goes_to_the_next_and_neither_loses_its_policy(
    world: World, creation: str
) -> None:
    project = declare(world, name="first", policyName="shared", creationPolicy=creation)
    before = world.get("WebhookPolicy", "first")["status"]["policyID"]
    world.policy("second", project, policyName="shared", creationPolicy=creation)
    world.reason("WebhookPolicy", "second", "OwnedByOther")
    world.policy("first", project, policyName="moved", creationPolicy=creation)
    second = world.ready("WebhookPolicy", "second")["status"]
    assert world.ready("WebhookPolicy", "first")["status"]["policyID"] == before
    assert (second["origin"], second["policyID"] != before) == ("Created", True)
    assert names(world, project) == ["moved", "shared"]


def test_what_a_resource_holds_under_its_old_name_is_not_adopted_by_another(world: World) -> None:
    project = declare(world, name="first", policyName="shared")
    before = world.get("WebhookPolicy", "first")["status"]["policyID"]
    world.make_policy(project, "taken")
    world.policy("first", project, policyName="taken")
    world.reason("WebhookPolicy", "first", "AlreadyExists")
    world.policy("second", project, policyName="shared", creationPolicy="CreateOrAdopt")
    world.reason("WebhookPolicy", "second", "OwnedByOther")
    world.policy("first", project, policyName="free")
    assert world.ready("WebhookPolicy", "first")["status"]["policyID"] == before
    assert world.ready("WebhookPolicy", "second")["status"]["origin"] == "Created"
    assert names(world, project) == ["free", "shared", "taken"]


def test_a_policy_does_not_follow_its_project_resource_to_another_project(world: World) -> None:
    first, second = world.project_name("first"), world.project_name("second")
    world.project("team", projectName=first, deletionPolicy="Retain")
    world.policy("ci", "team")
    world.ready("WebhookPolicy", "ci")
    world.delete("HarborProject", "team")
    world.reason("WebhookPolicy", "ci", "ProjectNotReady")
    world.project("team", projectName=second)
    world.reason("WebhookPolicy", "ci", "ImmutableField")
    assert (names(world, first), names(world, second)) == (["ci"], [])
    world.delete("WebhookPolicy", "ci")
    assert names(world, first) == []


def test_a_policy_made_again_in_a_crash_is_found_although_it_was_renamed(world: World) -> None:
    project = declare(world)
    made = world.get("WebhookPolicy", "ci")
    world.operator.kill()
    policy = world.harbor_policy(project, "ci")
    world.api.delete(f"/projects/{project}/webhook/policies/{policy['id']}").raise_for_status()
    again = world.make_policy(project, "ci", creator=policy["creator"])
    world.policy("ci", project, policyName="Renamed")
    world.operator.restart()
    found = world.ready("WebhookPolicy", "ci", generation=made["metadata"]["generation"] + 1)
    assert found["status"]["policyID"] == again
    assert names(world, project) == ["Renamed"]


def test_a_policy_made_again_in_a_crash_is_deleted_with_its_resource(world: World) -> None:
    project = declare(world)
    world.operator.kill()
    policy = world.harbor_policy(project, "ci")
    world.api.delete(f"/projects/{project}/webhook/policies/{policy['id']}").raise_for_status()
    world.make_policy(project, "ci", creator=policy["creator"])
    world.delete("WebhookPolicy", "ci", wait=False)
    world.operator.restart()
    world.gone("WebhookPolicy", "ci")
    assert names(world, project) == []


def test_what_another_resource_has_by_project_name_is_adopted_only_when_it_is_gone(world: World) -> None:
    project = world.project_name()
    world.make_project(project)
    world.policy("first", projectName=project)
    before = world.ready("WebhookPolicy", "first")["status"]["policyID"]
    world.project(project, creationPolicy="Adopt", deletionPolicy="Retain")
    world.reason("WebhookPolicy", "first", "OwnedByOther")
    world.policy("second", project, policyName="first", creationPolicy="CreateOrAdopt")
    refused = world.reason("WebhookPolicy", "second", "OwnedByOther")
    assert "WebhookPolicy" in ready_condition(refused)["message"]
    world.policy("first", projectName=project, deletionPolicy="Retain")
    world.delete("WebhookPolicy", "first")
    world.annotate("WebhookPolicy", "second", reconcile_at="now")
    found = world.ready("WebhookPolicy", "second")["status"]
    assert (found["policyID"], found["origin"]) == (before, "Adopted")


# Deletion policies


def test_a_policy_that_was_never_made_and_is_not_allowed_any_more_goes(own: World) -> None:
    project = own.project_name()
    own.make_project(project)
    refusal = '{"errors":[{"code":"FORBIDDEN","message":"no"}]}'
    standing(own).set_fault({"method": "POST", "path": "/webhook/policies$"}, status=403, body=refusal)
    own.policy("ci", projectName=project, connectionRef={"name": own.connection})
    own.reason("WebhookPolicy", "ci", "Forbidden")
    own.connect(own.connection, access=[{"namespaces": ["*"], "projects": ["another"]}])
    own.reason("WebhookPolicy", "ci", "NotAllowedByConnection")
    own.delete("WebhookPolicy", "ci")


def test_a_deletion_policy_that_is_changed_while_suspended_is_obeyed(world: World) -> None:
    project = declare(world, deletionPolicy="Retain")
    world.policy("ci", project, deletionPolicy="Delete", suspend=True)
    found = world.reason("WebhookPolicy", "ci", "Suspended")
    assert FINALIZER in found["metadata"].get("finalizers", [])
    world.delete("WebhookPolicy", "ci")
    assert names(world, project) == []


def test_a_policy_that_is_to_be_retained_after_all_does_not_wait_for_harbor(own: World) -> None:
    project = declare(own)
    standing(own).set_fault(status=502, html=True, body="<html>502</html>")
    own.reason("ClusterHarborConnection", own.connection, "HarborUnreachable")
    own.delete("WebhookPolicy", "ci", wait=False)
    own.reason("WebhookPolicy", "ci", "HarborUnreachable")
    own.patch("WebhookPolicy", "ci", {"spec": {"deletionPolicy": "Retain"}})
    own.gone("WebhookPolicy", "ci")
    standing(own).clear_faults()
    assert names(own, project) == ["ci"]


def test_a_retained_policy_is_switched_on_although_its_project_went_first(world: World) -> None:
    project = world.project_name()
    world.project(project, deletionPolicy="Retain", webhooks={"enabled": False})
    world.policy("ci", project, deletionPolicy="Retain")
    world.ready("WebhookPolicy", "ci")
    assert not is_on(world, project)
    world.operator.stop()
    world.delete("HarborProject", project)
    world.delete("WebhookPolicy", "ci", wait=False)
    world.operator.restart()
    world.gone("WebhookPolicy", "ci")
    assert is_on(world, project)


def test_what_harbor_says_of_a_stored_address_that_it_refuses_now_does_not_show_it(own: World) -> None:
    own.secret("hooks", url="https://ci.example.com/ours")
    project = declare(own, {"type": "http", "addressFrom": header_from("hooks", "url")})
    own.policy("ci", project, suspend=True)
    own.reason("WebhookPolicy", "ci", "Suspended")
    address = "https://ci.example.com/c4nary-path"
    change_in_ui(own, project, "ci", targets=[http_target(address)])
    refusal = f'{{"errors":[{{"code":"BAD_REQUEST","message":"bad address {address}"}}]}}'
    standing(own).set_fault({"method": "PUT", "path": "/webhook/policies/"}, status=400, body=refusal)
    own.delete("WebhookPolicy", "ci", wait=False)
    found = own.reason("WebhookPolicy", "ci", "InvalidSpec")
    assert "bad address" in ready_condition(found)["message"]
    assert "c4nary" not in str([found, own.events("ci"), own.operator.log.read_text()])


# Switches above a policy that cannot be written, or is reported on, or suspended


def test_a_policy_whose_spec_cannot_be_applied_is_switched_off_all_the_same(switched: World) -> None:
    use_a_robot(switched)
    project = declare(switched)
    switched.make_policy(project, "taken")
    left = switched.project_name("left")
    switched.project("left", projectName=left, deletionPolicy="Retain")
    switched.policy("orphan", "left")
    switched.ready("WebhookPolicy", "orphan")
    switched.delete("HarborProject", "left")
    switched.reason("WebhookPolicy", "orphan", "ProjectNotReady")
    for name in ("refused", "renamed", "loser"):
        switched.policy(name, project)
        switched.ready("WebhookPolicy", name)
    switched.policy("refused", project, eventTypes=["NO_SUCH_EVENT"])
    switched.reason("WebhookPolicy", "refused", "UnsupportedEventType")
    switched.policy("renamed", project, policyName="taken")
    switched.reason("WebhookPolicy", "renamed", "AlreadyExists")
    switched.policy("loser", project, policyName="ci")
    switched.reason("WebhookPolicy", "loser", "OwnedByOther")
    switch(switched, "false")
    for name, where in (*((one, project) for one in ("ci", "refused", "renamed", "loser")), ("orphan", left)):
        until_shown(switched, name, False)
        assert not is_on(switched, where, name)
    assert is_on(switched, project, "taken")


def test_under_report_harbors_own_switch_does_not_turn_on_what_somebody_turned_off(switched: World) -> None:
    project = declare(switched, driftPolicy="Report")
    change_in_ui(switched, project, "ci", enabled=False)
    switched.reason("WebhookPolicy", "ci", "DriftDetected")
    switch(switched, "false")
    until_enforced(switched, "Harbor", enabled=False)
    delivering(switched, "GloballyDisabled")
    switched.reconcile_all()
    switch(switched, "true")
    until_enforced(switched, "Harbor", enabled=True)
    switched.reconcile_all()
    assert not is_on(switched, project)
    assert list(drift(switched.get("WebhookPolicy", "ci"))) == ["enabled"]


def test_under_report_a_missing_secret_changes_nothing_in_harbor(world: World) -> None:
    world.secret("ci", header="Bearer one")
    project = declare(world, http_target(authHeaderFrom=header_from("ci")), driftPolicy="Report", enabled=False)
    change_in_ui(world, project, "ci", enabled=True)
    world.reason("WebhookPolicy", "ci", "DriftDetected")
    world.patch("Secret", "ci", {"data": None})
    world.reason("WebhookPolicy", "ci", "SecretKeyMissing")
    assert is_on(world, project)


def delivering(world: World, reason: str, name: str = "ci") -> None:
    def is_so(found: dict[str, object]) -> bool:
        status = found.get("status")
        conditions = status["conditions"] if isinstance(status, dict) else []
        return any(one["type"] == "Delivering" and one["reason"] == reason for one in conditions)

    world.until("WebhookPolicy", name, is_so, f"Delivering has not become {reason}")


def test_a_suspended_policy_goes_on_telling_its_news_after_harbors_switch_is_on_again(switched: World) -> None:
    project = declare(switched)
    switched.policy("ci", project, suspend=True)
    switched.reason("WebhookPolicy", "ci", "Suspended")
    switch(switched, "false")
    delivering(switched, "GloballyDisabled")
    switch(switched, "true")
    until_enforced(switched, "Harbor", enabled=True)
    delivering(switched, "NeverTriggered")


def test_a_suspended_policy_says_that_its_project_is_off_only_if_that_has_reached_it(own: World) -> None:
    project = declare(own)
    own.policy("off", project)
    own.ready("WebhookPolicy", "off")
    own.policy("ci", project, suspend=True)
    own.reason("WebhookPolicy", "ci", "Suspended")
    own.project(project, webhooks={"enabled": False})
    delivering(own, "ProjectDisabled", "off")
    own.policy("off", project, suspend=True)
    own.reason("WebhookPolicy", "off", "Suspended")
    standing(own).happen("PUSH_ARTIFACT", project)
    own.until("WebhookPolicy", "ci", lambda found: found["status"].get("lastTriggerTime"), "no trigger")
    assert condition(own.get("WebhookPolicy", "ci"), "Delivering")["reason"] != "ProjectDisabled"
    assert condition(own.get("WebhookPolicy", "off"), "Delivering")["reason"] == "ProjectDisabled"
