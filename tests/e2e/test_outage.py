"""Harbor is away for a while: each status tells it once, nobody asks in vain, and everything comes right again."""

from __future__ import annotations

import time
from collections import Counter

from harness.harbor.process import StandIn
from harness.own import own_harbor
from harness.world import World

POLICIES = 6


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
        written = Counter(
            f"{entry.resource}/{entry.subresource} {entry.name}"
            for entry in own.control_plane.writes(since=position)
            if entry.namespace == own.namespace
        )
        stand_in.restart()
        for kind, name in everybody:
            own.ready(kind, name)
        asked = Counter(request.path for request in stand_in.requests())

        statuses = {f"harborprojects/status {project}"}
        statuses |= {f"webhookpolicies/status hook-{number}" for number in range(POLICIES)}
        assert written == dict.fromkeys(statuses, 1)
        # The policies of the project were read at once: none of them was asked for by its id.
        assert [path for path in asked if "/webhook/policies/" in path] == []
