"""The global-enable ConfigMap, for a system administrator, for a robot, and through restarts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from harness.control_plane import RefusedError
from harness.own import (
    EVERYTHING,
    connection,
    make_robot,
    make_user,
    standing,
    until_connection,
    use_robot,
)
from harness.world import World, eventually

SWITCH = "harborhook-global"
PASSWORD = "Test-Passw0rd"


@pytest.fixture(autouse=True)
def policies(own: World) -> Iterator[None]:
    """One project and two policies, one of them disabled by its spec."""
    name = own.project_name()
    own.project(name)
    own.policy("on", name)
    own.policy("off", name, enabled=False)
    for policy in ("on", "off"):
        own.ready("WebhookPolicy", policy)
    yield
    remove_switch(own)
    until_enforced(own, "None")


def switch(world: World, value: str) -> None:
    """Only for the test's own Harbor: the other tests share the ConfigMap."""
    world.config_map(SWITCH, "harborhook", **{f"enabled.{world.connection}": value})


def remove_switch(world: World) -> None:
    with suppress(RefusedError):
        world.control_plane.admin.request("DELETE", f"/api/v1/namespaces/harborhook/configmaps/{SWITCH}")


def until_enforced(world: World, enforcement: str, **fields: object) -> None:
    wanted = {"enforcement": enforcement, **fields}
    world.until(
        "ClusterHarborConnection",
        world.connection,
        lambda found: wanted.items() <= (found["status"].get("notifications") or {}).items(),
        f"notifications are {wanted}",
    )


def until_shown(world: World, policy: str, enabled: bool) -> None:
    world.until("WebhookPolicy", policy, lambda found: found["status"].get("enabled") is enabled, f"enabled {enabled}")


def harbor_sends(world: World) -> bool:
    return bool(world.api.get("/systeminfo").json()["notification_enable"])


def enabled_in_harbor(world: World) -> dict[str, bool]:
    return {policy["name"]: policy.get("enabled", False) for policy in world.harbor_policies(world._projects[0])}


def use_a_robot(world: World) -> None:
    use_robot(world, *make_robot(world, *EVERYTHING))


def test_an_administrator_sets_harbors_own_switch_with_one_request(own: World) -> None:
    before = own.get("WebhookPolicy", "on")
    with own.counting() as writes:
        switch(own, "false")
        until_enforced(own, "Harbor", enabled=False, source="ConfigMap")
        until_shown(own, "on", False)
    assert harbor_sends(own) is False
    assert writes.harbor == [], "no policy is touched"
    puts = [r for r in standing(own).requests() if (r.method, r.path) == ("PUT", "/api/v2.0/configurations")]
    assert len(puts) == 1
    assert own.get("WebhookPolicy", "on")["spec"] == before["spec"]
    switch(own, "true")
    until_shown(own, "on", True)
    assert harbor_sends(own) is True


def test_a_change_in_the_ui_is_set_back_until_it_is_contested(own: World) -> None:
    switch(own, " FALSE\n")
    until_enforced(own, "Harbor", enabled=False)
    for number in range(3):
        own.api.put("/configurations", json={"notification_enable": True}).raise_for_status()
        own.annotate("ClusterHarborConnection", own.connection, reconcile_at=str(number))
        eventually(lambda: not harbor_sends(own), lambda: "the switch is not set back")
    own.api.put("/configurations", json={"notification_enable": True}).raise_for_status()
    own.annotate("ClusterHarborConnection", own.connection, reconcile_at="last")
    until_enforced(own, "None", enabled=True, source="Harbor")
    assert harbor_sends(own) is True


def test_without_the_map_harbors_value_stays_as_it_is_and_is_shown(own: World) -> None:
    switch(own, "false")
    until_enforced(own, "Harbor", enabled=False)
    remove_switch(own)
    until_enforced(own, "None", enabled=False, source="Harbor")
    assert harbor_sends(own) is False
    until_shown(own, "on", False)
    own.api.put("/configurations", json={"notification_enable": True}).raise_for_status()
    own.annotate("ClusterHarborConnection", own.connection, reconcile_at="now")
    until_shown(own, "on", True)


def test_a_value_that_cannot_be_understood_leaves_the_last_good_one_and_warns(own: World) -> None:
    switch(own, "false")
    until_enforced(own, "Harbor", enabled=False)
    switch(own, "ja")
    own.annotate("ClusterHarborConnection", own.connection, reconcile_at="now")
    own.until("ClusterHarborConnection", own.connection, lambda f: f["status"].get("lastHandledReconcileAt") == "now")
    until_enforced(own, "Harbor", enabled=False, source="ConfigMap")
    events = own.control_plane.admin.request("GET", "/apis/events.k8s.io/v1/namespaces/harborhook/events")["items"]
    notes = [event["note"] for event in events if event["regarding"]["name"] == SWITCH]
    assert any(own.connection in note for note in notes)


def test_with_a_robot_each_managed_policy_is_switched_and_others_are_not(own: World) -> None:
    use_a_robot(own)
    project = own._projects[0]
    own.make_policy(project, "by-hand")
    with own.counting() as writes:
        switch(own, "false")
        until_enforced(own, "ManagedPolicies", enabled=False)
        until_shown(own, "on", False)
        eventually(lambda: not enabled_in_harbor(own)["on"], lambda: "the policy is still on in Harbor")
    assert enabled_in_harbor(own) == {"on": False, "off": False, "by-hand": True}
    assert len(writes.harbor) == 1, "one request per policy that was on"
    assert "managed policy" in connection(own)["status"]["notifications"]["message"]
    switch(own, "true")
    until_shown(own, "on", True)
    eventually(lambda: enabled_in_harbor(own)["on"], lambda: "the policy is not on again")
    assert enabled_in_harbor(own)["off"] is False


def test_a_project_administrator_cannot_set_harbors_switch_either(own: World) -> None:
    make_user(own, "pa", PASSWORD)
    use_robot(own, "pa", PASSWORD, kind="User")
    switch(own, "false")
    until_enforced(own, "ManagedPolicies", enabled=False)
    assert harbor_sends(own) is True


def test_where_harbors_environment_locks_the_setting_policies_are_switched(own: World) -> None:
    standing(own).settings(config_overwrite=True)
    switch(own, "false")
    until_enforced(own, "ManagedPolicies", enabled=False)
    eventually(lambda: not enabled_in_harbor(own)["on"], lambda: "the policy is still on in Harbor")
    assert harbor_sends(own) is True


def test_a_map_that_goes_away_gives_policies_back_to_their_specs(own: World) -> None:
    use_a_robot(own)
    switch(own, "false")
    eventually(lambda: not enabled_in_harbor(own)["on"], lambda: "the policy is still on in Harbor")
    remove_switch(own)
    eventually(lambda: enabled_in_harbor(own)["on"], lambda: "the policy is not on again")


def test_a_suspended_policy_is_passed_over_and_counted(own: World) -> None:
    use_a_robot(own)
    own.policy("on", own._projects[0], suspend=True)
    own.reason("WebhookPolicy", "on", "Suspended")
    switch(own, "false")
    until_enforced(own, "ManagedPolicies", enabled=False)
    assert "1 suspended policy was skipped" in connection(own)["status"]["notifications"]["message"]
    assert enabled_in_harbor(own)["on"] is True


def test_toggled_quickly_the_last_value_wins(own: World) -> None:
    use_a_robot(own)
    for number in range(20):
        switch(own, "true" if number % 2 else "false")
    eventually(lambda: enabled_in_harbor(own)["on"], lambda: "the policy is not on")
    until_shown(own, "on", True)
    own.reconcile_all()
    assert enabled_in_harbor(own) == {"on": True, "off": False}


def test_what_changed_while_the_operator_was_stopped_is_done_when_it_starts(own: World) -> None:
    use_a_robot(own)
    switch(own, "false")
    eventually(lambda: not enabled_in_harbor(own)["on"], lambda: "the policy is still on in Harbor")
    own.operator.stop()
    switch(own, "true")
    own.operator.restart()
    eventually(lambda: enabled_in_harbor(own)["on"], lambda: "the policy is not on again")
    until_shown(own, "on", True)


def test_a_retained_policy_is_left_in_harbor_as_its_spec_says(own: World) -> None:
    use_a_robot(own)
    own.policy("on", own._projects[0], deletionPolicy="Retain")
    own.ready("WebhookPolicy", "on")
    switch(own, "false")
    eventually(lambda: not enabled_in_harbor(own)["on"], lambda: "the policy is still on in Harbor")
    own.delete("WebhookPolicy", "on")
    assert enabled_in_harbor(own)["on"] is True


def test_an_immutable_map_with_labels_works(own: World) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": SWITCH, "labels": {"app.kubernetes.io/instance": "git"}},
        "immutable": True,
        "data": {f"enabled.{own.connection}": "false"},
    }
    own.apply(manifest, "harborhook")
    until_enforced(own, "Harbor", enabled=False)
    assert until_connection(own, "Reconciled")
