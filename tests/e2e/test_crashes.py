"""The operator is killed at any moment; afterwards every declared object exists exactly once."""

from __future__ import annotations

import random
import time

import pytest

from harness.world import World, http_target

PROJECTS = 20
POLICIES = 9
"""Per project: 20 projects and 180 policies are 200 objects."""


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_a_random_moment_the_operator_ends_with_exactly_what_was_declared(world: World, seed: int) -> None:
    moments = random.Random(seed)
    names = [world.project_name(f"team{number}") for number in range(PROJECTS)]
    world.apply_all([_project(name) for name in names])
    time.sleep(moments.uniform(0, 0.3))
    world.apply_all([_policy(name, number) for name in names for number in range(POLICIES)])
    for _ in range(3):
        time.sleep(moments.uniform(0, 0.4))
        world.operator.kill()
        world.operator.restart()
    for name in names:
        world.ready("HarborProject", name)
        for number in range(POLICIES):
            world.ready("WebhookPolicy", f"{name}-{number}")
    for name in names:
        found = [policy["name"] for policy in world.harbor_policies(name)]
        assert sorted(found) == [f"{name}-{number}" for number in range(POLICIES)]
    assert {item["status"]["origin"] for kind in ("HarborProject", "WebhookPolicy") for item in world.all(kind)} == {
        "Created"
    }
    with world.counting() as writes:
        world.reconcile_all()
    assert writes.harbor == []


def _project(name: str) -> dict[str, object]:
    return {"kind": "HarborProject", "metadata": {"name": name}, "spec": {"deletionPolicy": "Delete"}}


def _policy(project: str, number: int) -> dict[str, object]:
    spec = {"projectRef": {"name": project}, "eventTypes": ["PUSH_ARTIFACT"], "targets": [http_target()]}
    return {"kind": "WebhookPolicy", "metadata": {"name": f"{project}-{number}"}, "spec": spec}
