"""Webhook policies: addresses and headers from Secrets, changes in place, drift, ownership of a policy's name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.receiver import Received, Receiver
from harness.world import FINALIZER, GROUP, Object, World, eventually, header_from, http_target, ready_condition

PUSH, PULL = "PUSH_ARTIFACT", "PULL_ARTIFACT"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def address_from(secret: str, key: str = "url") -> Object:
    return {"type": "http", "addressFrom": header_from(secret, key)}


def declare(world: World, *targets: Object, name: str = "ci", **spec: Any) -> str:
    """A project with one policy, both ready; the project's name."""
    project = world.project_name()
    world.project(project)
    world.policy(name, project, targets=list(targets) or [http_target()], **spec)
    world.ready("WebhookPolicy", name)
    return project


def change_in_ui(world: World, project: str, name: str, **fields: Any) -> Object:
    """Writes the policy as Harbor's UI does, with these fields changed."""
    policy = {**world.harbor_policy(project, name), **fields}
    world.api.put(f"/projects/{project}/webhook/policies/{policy['id']}", json=policy).raise_for_status()
    return policy


def targets(world: World, project: str, name: str = "ci") -> list[Object]:
    return list(world.harbor_policy(project, name)["targets"])


def notes(world: World, reason: str, name: str = "ci") -> list[str]:
    return [str(event["note"]) for event in world.events(name) if event["reason"] == reason]


def drift(found: Object) -> dict[str, tuple[str, str]]:
    return {row["field"]: (row["desired"], row["observed"]) for row in found["status"]["drift"]}


# Addresses and headers from Secrets


def test_an_address_out_of_a_secret_is_in_harbor_and_nowhere_else(own: World, receiver: Receiver) -> None:
    own.secret("hooks", url=f"{receiver.url}/services/c4nary-path?token=c4nary-query\n")
    project = declare(own, {"type": "slack", "addressFrom": header_from("hooks", "url")}, address_from("hooks"))
    assert {target["address"] for target in targets(own, project)} == {
        f"{receiver.url}/services/c4nary-path?token=c4nary-query"
    }
    standing(own).happen(PUSH, project)
    until_arrived(receiver, 2)
    own.until("WebhookPolicy", "ci", lambda found: found["status"].get("lastTriggerTime"), "no trigger")
    shown = [own.get("WebhookPolicy", "ci"), own.events("ci"), own.operator.log.read_text(), own.operator.metrics()]
    assert "c4nary" not in str(shown)


def test_a_rotated_address_and_header_reach_harbor_without_a_write_to_the_policy(world: World) -> None:
    world.secret("hooks", url="https://ci.example.com/one", header="Bearer one")
    project = declare(world, {**address_from("hooks"), "authHeaderFrom": header_from("hooks")})
    world.counted(project)
    with world.counting() as writes:
        world.secret("hooks", url="https://ci.example.com/two", header="Bearer two")
        eventually(
            lambda: targets(world, project)[0]["address"].endswith("two"), lambda: "the new address is not there"
        )
        eventually(lambda: notes(world, "Updated"), lambda: "no Event says so")
    (target,) = targets(world, project)
    assert target["auth_header"] == "Bearer two"
    assert notes(world, "Updated") == ["Updated targets[0].address, targets[0].authHeaderFrom of webhook policy ci."]
    assert [write for write in writes.kubernetes if "/events" not in write and "events/" not in write] == []


def test_a_missing_key_leaves_the_old_address_and_header(world: World) -> None:
    world.secret("hooks", url="https://ci.example.com/one", header="Bearer one")
    project = declare(world, {**address_from("hooks"), "authHeaderFrom": header_from("hooks")})
    before = targets(world, project)
    world.delete("Secret", "hooks")
    world.secret("hooks", url="https://ci.example.com/two")
    found = world.reason("WebhookPolicy", "ci", "SecretKeyMissing")
    assert "has no key 'header'" in ready_condition(found)["message"]
    assert targets(world, project) == before


@pytest.mark.parametrize("value", ["c4nary.example.com/x", "HTTP://c4nary.example.com", "https://c4nary:port/", ""])
def test_a_secret_that_holds_no_address_is_refused_without_showing_it(world: World, value: str) -> None:
    project = world.project_name()
    world.secret("hooks", url=value)
    world.project(project)
    world.policy("ci", project, targets=[address_from("hooks")])
    found = world.reason("WebhookPolicy", "ci", "InvalidSpec")
    assert "Key 'url' of Secret hooks is not an address" in ready_condition(found)["message"]
    assert "c4nary" not in str([found, world.events("ci")])
    assert world.harbor_policies(project) == []


def test_what_harbor_says_of_a_refused_address_does_not_show_it(own: World) -> None:
    project = own.project_name()
    own.secret("hooks", url="https://ci.example.com/c4nary-path")
    own.project(project)
    own.ready("HarborProject", project)
    said = '{"errors":[{"code":"BAD_REQUEST","message":"invalid target https://ci.example.com/c4nary-path"}]}'
    standing(own).set_fault({"method": "POST", "path": "/webhook/policies$"}, status=400, body=said)
    own.policy("ci", project, targets=[address_from("hooks")])
    found = own.until(
        "WebhookPolicy", "ci", lambda found: "invalid target" in ready_condition(found).get("message", "")
    )
    assert "c4nary" not in str([found, own.events("ci"), own.operator.log.read_text()])
    standing(own).clear_faults()


def test_allowed_target_hosts_hold_for_an_address_out_of_a_secret_too(own: World) -> None:
    own.connect(own.connection, allowedTargetHosts=["*.example.com"])
    own.secret("hooks", url="https://c4nary.elsewhere.org/x")
    project = own.project_name()
    own.project(project)
    own.policy("ci", project, targets=[address_from("hooks")])
    found = own.reason("WebhookPolicy", "ci", "TargetHostNotAllowed")
    assert "c4nary" not in str([found, own.events("ci")])
    own.secret("hooks", url="https://user@CI.example.com:8443/x")
    own.ready("WebhookPolicy", "ci")


def test_a_policy_that_is_to_be_off_is_switched_off_although_its_secret_is_missing(world: World) -> None:
    world.secret("hooks", header="Bearer one")
    target = http_target(authHeaderFrom=header_from("hooks"))
    project = declare(world, target)
    world.policy("ci", project, targets=[http_target(authHeaderFrom=header_from("missing"))], enabled=False)
    world.reason("WebhookPolicy", "ci", "SecretNotFound")
    found = world.harbor_policy(project, "ci")
    assert not found.get("enabled")
    assert found["targets"][0]["auth_header"] == "Bearer one"


# Changes in place, verified by a receiver


def test_the_header_survives_every_kind_of_update(own: World, receiver: Receiver) -> None:
    own.secret("ci", header="Bearer s3cret")
    target = http_target(f"{receiver.url}/ours", authHeaderFrom=header_from("ci"))
    other = http_target(f"{receiver.url}/other")
    project = declare(own, target)
    first = own.harbor_policy(project, "ci")
    edits: list[Object] = [
        {"policyName": "Renamed"},
        {"eventTypes": [PUSH, PULL]},
        {"targets": [target, other]},
        {"targets": [other, target]},
        {"targets": [{**target, "payloadFormat": "CloudEvents"}]},
        {"description": "to CI"},
        {"enabled": False},
        {"enabled": True},
    ]
    spec: Object = {"targets": [target]}
    for edit in edits:
        spec = {**spec, **edit}
        own.policy("ci", project, **spec)
        own.ready("WebhookPolicy", "ci")
        before = len(receiver.received("/ours"))
        standing(own).happen(PUSH, project)
        if spec.get("enabled") is False:
            continue
        (arrived,) = until_arrived(receiver, before + 1, "/ours")[before:]
        assert authorization(arrived) == "Bearer s3cret", edit
    last = own.harbor_policy(project, "Renamed")
    assert [last[field] for field in ("id", "creator", "creation_time")] == [
        first[field] for field in ("id", "creator", "creation_time")
    ]
    assert [authorization(one) for one in receiver.received("/other")] == [None] * len(receiver.received("/other"))


def until_arrived(receiver: Receiver, count: int, path: str | None = None) -> list[Received]:
    """Waits until so many requests have arrived in total (at that path)."""
    eventually(lambda: len(receiver.received(path)) >= count, lambda: f"{receiver.received(path)} instead of {count}")
    return receiver.received(path)


def authorization(one: Received) -> str | None:
    return one.headers.get("authorization")


def test_no_old_header_reaches_a_new_address_and_reordered_targets_are_what_the_spec_says(
    own: World, receiver: Receiver
) -> None:
    own.secret("one", header="Bearer one")
    own.secret("two", header="Bearer two")
    one = http_target(f"{receiver.url}/one", authHeaderFrom=header_from("one"))
    two = http_target(f"{receiver.url}/two", authHeaderFrom=header_from("two"))
    project = declare(own, one, two)
    for stated, expected in (
        ([two, one], {"/one": "Bearer one", "/two": "Bearer two"}),
        ([http_target(f"{receiver.url}/new"), one], {"/new": None, "/one": "Bearer one"}),
    ):
        own.policy("ci", project, targets=stated)
        own.ready("WebhookPolicy", "ci")
        start = len(receiver.received())
        standing(own).happen(PUSH, project)
        arrived = until_arrived(receiver, start + 2)[start:]
        assert {got.path: authorization(got) for got in arrived} == expected


@pytest.mark.parametrize("stated", [{}, {"authHeaderFrom": header_from("ci")}], ids=["without", "with"])
def test_an_adopted_policy_has_the_header_that_the_spec_states(world: World, stated: Object) -> None:
    project = world.project_name()
    made = world.make_project(project)
    world.make_policy(project, "ci", targets=[http_target(auth_header="Bearer typed-by-hand")], description="by hand")
    before = world.harbor_policy(project, "ci")
    world.secret("ci", header="Bearer ours")
    world.policy("ci", None, projectName=project, creationPolicy="Adopt", targets=[http_target(**stated)])
    found = world.ready("WebhookPolicy", "ci")["status"]
    after = world.harbor_policy(project, "ci")
    assert (found["origin"], found["policyID"], found["projectID"]) == ("Adopted", before["id"], made)
    assert after["targets"][0].get("auth_header") == ("Bearer ours" if stated else None)
    assert {**after, "targets": None} == {**before, "targets": None}


def test_a_policy_renamed_onto_an_existing_name_stays_as_it_was(world: World) -> None:
    project = declare(world)
    world.make_policy(project, "taken")
    before = world.harbor_policies(project)
    world.policy("ci", project, policyName="taken", enabled=False)
    found = world.reason("WebhookPolicy", "ci", "AlreadyExists")
    assert "choose another policyName" in ready_condition(found)["message"]
    assert world.harbor_policies(project) == before
    assert found["status"]["policyName"] == "ci"
    world.policy("ci", project, policyName="free", enabled=False)
    world.ready("WebhookPolicy", "ci")
    assert [policy["name"] for policy in world.harbor_policies(project)] == ["free", "taken"]


def test_a_policy_is_found_among_250_and_by_its_exact_name(world: World) -> None:
    project = world.project_name()
    world.make_project(project)
    ids = {name: world.make_policy(project, name) for name in [*(f"hook-{number}" for number in range(250)), "Hook-7"]}
    for name, wanted in (("low", "hook-7"), ("high", "Hook-7"), ("last", "hook-249")):
        world.policy(name, None, projectName=project, policyName=wanted, creationPolicy="Adopt")
    world.policy("new", None, projectName=project, policyName="HOOK-7")
    for name, wanted in (("low", "hook-7"), ("high", "Hook-7"), ("last", "hook-249")):
        assert world.ready("WebhookPolicy", name)["status"]["policyID"] == ids[wanted]
    assert world.ready("WebhookPolicy", "new")["status"]["origin"] == "Created"
    for name in ("low", "high", "last", "new"):
        world.delete("WebhookPolicy", name)
    answer = world.api.get(f"/projects/{project}/webhook/policies", params={"page_size": 1})
    assert answer.headers["X-Total-Count"] == "251"


def test_harbor_up_to_2_10_is_warned_of_with_several_targets(world: World, stand_in_27: StandIn) -> None:
    with own_harbor(world, stand_in_27, "2.7") as old:
        declare(old, http_target(), http_target("https://other.example.com"))
        assert "may go to the last target" in ready_condition(old.get("WebhookPolicy", "ci"))["message"]


# Drift


def test_under_report_drift_is_listed_and_left_until_the_spec_changes(world: World) -> None:
    world.secret("ci", header="Bearer c4nary-ours")
    stated = http_target(authHeaderFrom=header_from("ci"))
    project = declare(world, stated, driftPolicy="Report")
    hand = {**stated, "auth_header": "Bearer c4nary-hand", "payload_format": "CloudEvents"}
    del hand["authHeaderFrom"]
    changed = change_in_ui(world, project, "ci", enabled=False, targets=[hand])
    found = world.reason("WebhookPolicy", "ci", "DriftDetected")
    assert ready_condition(found)["status"] == "True"
    assert drift(found) == {
        "enabled": ("true", "false"),
        "targets[0].authHeaderFrom": ("differs", "differs"),
        "targets[0].payloadFormat": ("Default", "CloudEvents"),
    }
    assert found["status"]["enabled"] is False
    assert "c4nary" not in str([found, world.events("ci")])
    assert notes(world, "DriftDetected") == [
        "Harbor differs from the spec in enabled, targets[0].authHeaderFrom, targets[0].payloadFormat."
    ]
    assert world.harbor_policy(project, "ci") == changed
    world.policy("ci", project, targets=[stated], driftPolicy="Report", description="again")
    found = world.ready("WebhookPolicy", "ci")
    assert found["status"]["drift"] == []
    assert targets(world, project)[0]["auth_header"] == "Bearer c4nary-ours"


def test_under_report_a_rotated_secret_is_applied_and_other_drift_is_left(world: World) -> None:
    world.secret("ci", header="Bearer one")
    project = declare(world, http_target(authHeaderFrom=header_from("ci")), driftPolicy="Report")
    change_in_ui(world, project, "ci", enabled=False)
    world.reason("WebhookPolicy", "ci", "DriftDetected")
    world.operator.stop()
    world.secret("ci", header="Bearer two")
    world.operator.restart()
    eventually(lambda: targets(world, project)[0]["auth_header"] == "Bearer two", lambda: "the new header is not there")
    world.reconcile_all()
    assert list(drift(world.get("WebhookPolicy", "ci"))) == ["enabled"]
    assert not world.harbor_policy(project, "ci").get("enabled")


def test_under_report_a_secret_that_is_touched_without_a_change_leaves_what_somebody_changed_in_harbor(
    world: World,
) -> None:
    world.secret("ci", header="Bearer one")
    project = declare(world, http_target(authHeaderFrom=header_from("ci")), driftPolicy="Report")
    by_hand = change_in_ui(world, project, "ci", targets=[http_target(auth_header="Bearer typed-by-hand")])
    world.reason("WebhookPolicy", "ci", "DriftDetected")
    world.annotate("Secret", "ci", synced="now")
    touched = {"name": "ci", "resourceVersion": world.get("Secret", "ci")["metadata"]["resourceVersion"]}
    world.until("WebhookPolicy", "ci", lambda found: found["status"]["appliedSecrets"] == [touched], "not recorded")
    world.reconcile_all()
    assert world.harbor_policy(project, "ci")["targets"][0]["auth_header"] == by_hand["targets"][0]["auth_header"]
    world.secret("ci", header="Bearer two")
    eventually(lambda: targets(world, project)[0]["auth_header"] == "Bearer two", lambda: "the new header is not there")


def test_under_report_an_adopted_policy_is_not_written_to(world: World) -> None:
    project = world.project_name()
    world.make_project(project)
    world.make_policy(project, "ci", event_types=[PULL])
    before = world.harbor_policies(project)
    spec = {"projectName": project, "creationPolicy": "Adopt", "driftPolicy": "Report"}
    world.policy("ci", None, **spec)
    found = world.reason("WebhookPolicy", "ci", "DriftDetected")
    assert drift(found) == {"eventTypes": (PUSH, PULL)}
    assert world.harbor_policies(project) == before
    world.policy("ci", None, **spec, description="now apply it")
    world.ready("WebhookPolicy", "ci")
    assert world.harbor_policy(project, "ci")["event_types"] == [PUSH]


def until_enabled(world: World, project: str, enabled: bool) -> None:
    eventually(
        lambda: world.harbor_policy(project, "ci").get("enabled", False) is enabled, lambda: f"enabled is not {enabled}"
    )


def test_a_switch_takes_precedence_over_report_and_restores_the_former_state(world: World) -> None:
    project = declare(world, driftPolicy="Report")
    for enabled in (False, True):
        world.project(project, webhooks={"enabled": enabled})
        until_enabled(world, project, enabled)
        world.ready("WebhookPolicy", "ci")


# Ownership


def test_a_policy_of_another_cluster_is_left_alone_unless_it_is_adopted_in_so_many_words(world: World) -> None:
    project = world.project_name()
    world.make_project(project)
    world.make_policy(project, "ci", creator="harborhook/elsewhere/team/ci", event_types=[PULL])
    before = world.harbor_policies(project)
    world.policy("ci", None, projectName=project, creationPolicy="CreateOrAdopt")
    found = world.reason("WebhookPolicy", "ci", "OwnedByOther")
    message = ready_condition(found)["message"]
    assert "another cluster (elsewhere)" in message
    assert "creationPolicy Adopt" in message
    assert world.harbor_policies(project) == before
    world.policy("ci", None, projectName=project, creationPolicy="Adopt")
    world.ready("WebhookPolicy", "ci")
    after = world.harbor_policy(project, "ci")
    assert after["event_types"] == [PUSH]
    assert after["creator"].endswith(f"/{world.namespace}/ci")


def test_what_another_cluster_has_taken_over_is_not_touched_any_more(world: World) -> None:
    project = declare(world)
    theirs = change_in_ui(world, project, "ci", creator="harborhook/elsewhere/team/ci", event_types=[PULL])
    world.reason("WebhookPolicy", "ci", "OwnedByOther")
    world.delete("WebhookPolicy", "ci")
    assert world.harbor_policy(project, "ci") == theirs


def test_a_policy_whose_id_was_lost_in_a_crash_is_found_although_it_was_renamed(world: World) -> None:
    project = declare(world)
    before = world.get("WebhookPolicy", "ci")["status"]["policyID"]
    world.operator.kill()
    world.patch("WebhookPolicy", "ci", {"status": None}, status=True)
    world.policy("ci", project, policyName="Renamed")
    world.operator.restart()
    found = world.ready("WebhookPolicy", "ci")
    assert FINALIZER in found["metadata"]["finalizers"]
    assert (found["status"]["policyID"], found["status"]["origin"]) == (before, "Created")
    assert [policy["name"] for policy in world.harbor_policies(project)] == ["Renamed"]


def test_what_an_earlier_resource_of_the_name_left_is_not_taken_for_ours(world: World) -> None:
    project = world.project_name()
    world.project(project)
    world.policy("hook", project, policyName="kept", deletionPolicy="Retain")
    kept = world.ready("WebhookPolicy", "hook")["status"]["policyID"]
    world.delete("WebhookPolicy", "hook")
    time.sleep(1.1)  # times of creation have whole seconds
    world.policy("hook", project, policyName="other")
    other = world.ready("WebhookPolicy", "hook")["status"]["policyID"]
    assert world.harbor_policy(project, "kept")["creator"] == world.harbor_policy(project, "other")["creator"]

    world.api.delete(f"/projects/{project}/webhook/policies/{other}").raise_for_status()

    found = world.until("WebhookPolicy", "hook", lambda found: found["status"]["policyID"] != other, "not made again")
    assert found["status"]["policyID"] != kept
    world.delete("WebhookPolicy", "hook")
    assert [policy["id"] for policy in world.harbor_policies(project)] == [kept]
    world.api.delete(f"/projects/{project}/webhook/policies/{kept}").raise_for_status()


def test_in_a_cluster_built_again_under_its_name_policies_are_known_again_without_a_write(world: World) -> None:
    project = declare(world, deletionPolicy="Retain")
    before = world.harbor_policies(project)
    world.delete("WebhookPolicy", "ci")
    assert world.harbor_policies(project) == before
    with world.counting() as writes:
        world.policy("ci", project, creationPolicy="CreateOrAdopt")
        found = world.ready("WebhookPolicy", "ci")["status"]
    assert (found["origin"], found["policyID"]) == ("Created", before[0]["id"])
    assert world.harbor_policies(project) == before
    assert [write for write in writes.harbor if not write.startswith("POST")] == []


def test_a_policy_of_a_resource_with_the_longest_name_is_made_known_again_and_deleted(world: World) -> None:
    """Harbor refuses a `creator` of more than 256 characters with 500, for ever."""
    name = "w" * 253
    project = declare(world, name=name, policyName="ci")
    (made,) = world.harbor_policies(project)
    assert len(made["creator"]) == 255
    assert f"/{world.namespace}/www" in made["creator"]
    world.operator.kill()
    world.patch("WebhookPolicy", name, {"status": None}, status=True)
    world.operator.restart()
    found = world.ready("WebhookPolicy", name)["status"]
    assert (found["policyID"], found["origin"]) == (made["id"], "Created")
    world.delete("WebhookPolicy", name)
    assert world.harbor_policies(project) == []


def test_labels_annotations_and_a_replacing_sync_write_nothing_to_harbor(world: World) -> None:
    declare(world)
    before = world.get("WebhookPolicy", "ci")
    with world.counting() as writes:
        world.patch("WebhookPolicy", "ci", {"metadata": {"labels": {"app.kubernetes.io/instance": "app"}}})
        world.patch("WebhookPolicy", "ci", {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": "app:x"}}})
        bare = {"name": "ci", "namespace": world.namespace, "resourceVersion": ""}
        replaced = {"apiVersion": GROUP, "kind": "WebhookPolicy", "metadata": bare, "spec": before["spec"]}
        bare["resourceVersion"] = world.get("WebhookPolicy", "ci")["metadata"]["resourceVersion"]
        world.control_plane.admin.request("PUT", world._path("WebhookPolicy", "ci"), replaced)
        world.reconcile_all()
        after = world.until("WebhookPolicy", "ci", lambda item: FINALIZER in item["metadata"].get("finalizers", []))
    assert writes.harbor == []
    assert after["status"]["policyID"] == before["status"]["policyID"]
