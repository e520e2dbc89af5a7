"""Harbor is away for a while, or comes back from a backup: everything comes right again, at a low price."""

from __future__ import annotations

import shutil
import time
from collections import Counter

from harness.harbor.process import StandIn
from harness.own import own_harbor
from harness.world import World, http_target

POLICIES = 6


def writes(own: World, position: int) -> Counter[str]:
    """Those about the test's namespace since a position, by object."""
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
        time.sleep(6)  # three looks for drift
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
        # The policies of the project were read at once: none of them was asked for by its id.
        assert [path for path in asked if "/webhook/policies/" in path] == []


def test_an_id_that_a_restored_harbor_has_given_to_a_stranger_is_not_ours(world: World, stand_in: StandIn) -> None:
    with own_harbor(world, stand_in) as own:
        project = own.project_name()
        own.project(project)
        own.ready("HarborProject", project)
        state = stand_in.directory / "state.jsonl"
        shutil.copyfile(state, backup := state.with_suffix(".backup"))
        own.policy("hook", project)
        before = own.ready("WebhookPolicy", "hook")["status"]["policyID"]
        own.policy("hook", project, suspend=True)
        own.reason("WebhookPolicy", "hook", "Suspended")

        stand_in.kill()
        shutil.copyfile(backup, state)
        stand_in.restart()
        address = "https://stranger.example.com/hook"
        assert own.make_policy(project, "stranger", targets=[http_target(address)]) == before
        own.policy("hook", project, suspend=False)

        own.until("WebhookPolicy", "hook", lambda found: found["status"]["policyID"] != before, "it keeps the id")
        own.ready("WebhookPolicy", "hook")
        assert own.harbor_policy(project, "stranger")["id"] == before
        assert own.harbor_policy(project, "stranger")["targets"][0]["address"] == address
        own.delete("WebhookPolicy", "hook")
        assert [policy["name"] for policy in own.harbor_policies(project)] == ["stranger"]
