"""Harbor is down for a while, or restored from a backup: everything recovers, with few requests."""

from __future__ import annotations

import re
import shutil
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from e2e.test_policies import change_in_ui, notes
from harness.harbor.process import StandIn
from harness.own import own_harbor, standing
from harness.world import World, eventually, http_target, ready_condition

POLICIES = 6


def writes(own: World, position: int) -> Counter[str]:
    """Returns writes about the test's namespace since a position, by object."""
    entries = [entry for entry in own.control_plane.writes(since=position) if entry.namespace == own.namespace]
    return Counter(f"{entry.resource}/{entry.subresource} {entry.name}" for entry in entries)


def test_an_outage_costs_one_status_write_per_resource_and_no_event_and_few_requests_afterwards(
    world: World, stand_in: StandIn
) -> None:
    with own_harbor(world, stand_in) as own:
        project = own.project_name()
        own.project(project)
        for number in range(POLICIES):
            own.policy(f"hook-{number}", project)
        for number in range(POLICIES):
            own.ready("WebhookPolicy", f"hook-{number}")
        own.counted(project)
        everybody = [("HarborProject", project), *(("WebhookPolicy", f"hook-{number}") for number in range(POLICIES))]

        position = own.control_plane.audit_position()
        stand_in.kill()
        for kind, name in everybody:
            own.reason(kind, name, "HarborUnreachable")
        time.sleep(6)  # three drift checks
        during, position = writes(own, position), own.control_plane.audit_position()
        stand_in.restart()
        for kind, name in everybody:
            own.ready(kind, name)
        own.counted(project)
        time.sleep(3)  # the counts of a project are written every other second
        afterwards = writes(own, position)
        asked = Counter(request.path for request in stand_in.requests())

        statuses = {f"harborprojects/status {project}"}
        statuses |= {f"webhookpolicies/status hook-{number}" for number in range(POLICIES)}
        assert during == dict.fromkeys(statuses, 1)
        assert afterwards == dict.fromkeys(statuses, 1)
        # The policies of the project were read in one list: none was requested by its id.
        assert [path for path in asked if "/webhook/policies/" in path] == []


@pytest.mark.parametrize("interruption", ["outage", "restart"])
def test_what_was_changed_in_harbor_meanwhile_is_reported_and_counted_as_drift(own: World, interruption: str) -> None:
    project = own.project_name()
    own.project(project, public=False)
    own.policy("hook", project)
    own.ready("WebhookPolicy", "hook")
    own.counted(project)
    before = drift_corrected(own) if interruption == "outage" else {}

    if interruption == "outage":
        # Only the requests of the connection's check fail, so that the test can change objects meanwhile.
        standing(own).set_fault({"path": "/systeminfo"}, status=502, html=True, body="<html>502</html>")
        for kind, name in (("HarborProject", project), ("WebhookPolicy", "hook")):
            own.until(kind, name, lambda found: ready_condition(found)["status"] != "True", "it has not heard")
    else:
        own.operator.stop()
    own.change_project(project, public="true")
    change_in_ui(own, project, "hook", enabled=False)
    if interruption == "outage":
        standing(own).clear_faults()
    else:
        own.operator.restart()

    def is_corrected() -> bool:
        found = own.harbor_project(project)
        return (
            found is not None
            and found["metadata"]["public"] == "false"
            and own.harbor_policy(project, "hook")["enabled"]
        )

    eventually(is_corrected, lambda: "it is not set back")
    for name in (project, "hook"):
        eventually(partial(notes, own, "DriftCorrected", name), lambda: "no Event says so")
        assert notes(own, "Updated", name) == []
    counted = {name: number - before.get(name, 0) for name, number in drift_corrected(own).items()}
    assert counted["HarborProject", "public"] == counted["WebhookPolicy", "enabled"] == 1


def drift_corrected(world: World) -> Counter[tuple[str, str]]:
    """Returns the counts in the operator's metrics, by kind and field."""
    pattern = re.compile(r'harborhook_drift_corrected_total{field="(.*)",kind="(.*)"}')
    found = {match: number for name, number in world.operator.metrics().items() if (match := pattern.fullmatch(name))}
    return Counter({(match[2], match[1]): int(number) for match, number in found.items()})


@pytest.mark.parametrize("end", ["goes on", "is deleted"])
def test_a_policy_that_a_restored_harbor_has_under_an_older_name_is_not_made_a_second_time(
    world: World, stand_in: StandIn, end: str
) -> None:
    with own_harbor(world, stand_in) as own:
        project = own.project_name()
        own.project(project)
        own.policy("hook", project, policyName="first")
        old = own.ready("WebhookPolicy", "hook")["status"]["policyID"]
        backup = back_up(stand_in)
        own.api.delete(f"/projects/{project}/webhook/policies/{old}").raise_for_status()
        own.until("WebhookPolicy", "hook", lambda found: found["status"]["policyID"] != old, "it is not made again")
        own.policy("hook", project, policyName="second")
        own.until("WebhookPolicy", "hook", lambda found: found["status"]["policyName"] == "second", "not renamed")
        if end == "is deleted":
            own.policy("hook", project, policyName="second", suspend=True)

        restore(stand_in, backup)

        if end == "is deleted":
            own.delete("WebhookPolicy", "hook")
            assert own.harbor_policies(project) == []
        else:
            own.until("WebhookPolicy", "hook", lambda found: found["status"]["policyID"] == old, "not known again")
            own.ready("WebhookPolicy", "hook")
            assert [policy["name"] for policy in own.harbor_policies(project)] == ["second"]


def back_up(stand_in: StandIn) -> Path:
    state = stand_in.directory / "state.jsonl"
    return Path(shutil.copyfile(state, state.with_suffix(".backup")))


def restore(stand_in: StandIn, backup: Path) -> None:
    stand_in.kill()
    shutil.copyfile(backup, stand_in.directory / "state.jsonl")
    stand_in.restart()


def test_an_id_that_a_restored_harbor_has_given_to_a_stranger_is_not_ours(world: World, stand_in: StandIn) -> None:
    with own_harbor(world, stand_in) as own:
        project = own.project_name()
        own.project(project)
        own.ready("HarborProject", project)
        backup = back_up(stand_in)
        own.policy("hook", project)
        before = own.ready("WebhookPolicy", "hook")["status"]["policyID"]
        own.policy("hook", project, suspend=True)
        own.reason("WebhookPolicy", "hook", "Suspended")

        restore(stand_in, backup)
        address = "https://stranger.example.com/hook"
        assert own.make_policy(project, "stranger", targets=[http_target(address)]) == before
        own.policy("hook", project, suspend=False)

        own.until("WebhookPolicy", "hook", lambda found: found["status"]["policyID"] != before, "it keeps the id")
        own.ready("WebhookPolicy", "hook")
        assert own.harbor_policy(project, "stranger")["id"] == before
        assert own.harbor_policy(project, "stranger")["targets"][0]["address"] == address
        own.delete("WebhookPolicy", "hook")
        assert [policy["name"] for policy in own.harbor_policies(project)] == ["stranger"]
