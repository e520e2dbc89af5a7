"""Switches above a policy, writes of `enabled` alone, and how the policy notices a changed switch."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.conditions import NotReady, Reason
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.reconcile import changes, connection, webhook_policy
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause
from harness.policy_stage import CONNECTION, POLICY, PROJECT, SECRET, Stage


async def made(project: dict[str, Any] | None = None, **spec: Any) -> Stage:
    stage = Stage(project, **spec)
    await stage.visit(Cause.CHANGE)
    return stage


def turn_off(stage: Stage, by: str) -> None:
    if by == "global":
        stage.link.policies_off = True
    elif by == "project":
        stage.change(PROJECT, webhooks={"enabled": False})
    else:
        stage.change(POLICY, enabled=False)


@pytest.mark.parametrize("by", ["global", "project", "policy"])
async def test_a_policy_whose_spec_cannot_be_applied_is_disabled_all_the_same(by: str) -> None:
    stage = await made()
    turn_off(stage, by)
    del stage.secrets[SECRET]
    stage.context.secrets.saw(SECRET, None)

    with pytest.raises(NotReady) as refusal:
        await stage.visit(Cause.SWITCH)

    assert refusal.value.verdict.reason is Reason.SECRET_NOT_FOUND
    assert stage.in_harbor["enabled"] is False
    assert stage.in_harbor["targets"][0]["auth_header"] == "Bearer one"


@pytest.mark.parametrize("by", ["policy", "nothing"])
async def test_under_report_a_policy_whose_spec_cannot_be_applied_stays_as_somebody_set_it(by: str) -> None:
    stage = await made(driftPolicy="Report", enabled=by == "nothing")
    stage.in_ui(enabled=True)
    del stage.secrets[SECRET]
    stage.context.secrets.saw(SECRET, None)

    with pytest.raises(NotReady):
        await stage.visit(Cause.RESYNC)

    assert stage.in_harbor["enabled"] is True


@pytest.mark.parametrize(("by", "enabled"), [("global", False), ("project", True)])
async def test_without_its_project_a_policy_obeys_the_global_switch(by: str, enabled: bool) -> None:
    stage = await made()
    turn_off(stage, by)
    changes.forget(stage.context, PROJECT)

    with pytest.raises(NotReady) as refusal:
        await stage.visit(Cause.PROJECT)

    assert refusal.value.verdict.reason is Reason.PROJECT_NOT_READY
    assert stage.in_harbor["enabled"] is enabled


@pytest.mark.parametrize(
    ("by", "spec", "enabled"),
    [
        ("global", {}, True),
        ("project", {}, True),
        ("global", {"enabled": False}, False),
        ("global", {"suspend": True}, False),
    ],
)
async def test_a_policy_that_stays_is_left_as_its_spec_says(by: str, spec: dict[str, Any], enabled: bool) -> None:
    stage = await made(deletionPolicy="Retain")
    turn_off(stage, by)
    await stage.visit(Cause.SWITCH)
    assert stage.in_harbor["enabled"] is False
    stage.change(POLICY, **spec)
    resource = WebhookPolicy.model_validate(stage.stored(POLICY))

    await webhook_policy.delete(Visit(stage.context, resource, Cause.CHANGE, status=resource.status))

    assert stage.in_harbor["enabled"] is enabled


async def test_a_policy_that_stays_and_was_never_switched_off_costs_no_request() -> None:
    stage = await made(deletionPolicy="Retain")
    stage.in_ui(enabled=False)
    stage.harbor.requests.clear()
    resource = WebhookPolicy.model_validate(stage.stored(POLICY))

    await webhook_policy.delete(Visit(stage.context, resource, Cause.CHANGE, status=resource.status))

    assert stage.harbor.requests == []


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"policies_off": True}, Cause.CONNECTION | Cause.SWITCH),
        ({"notifications_enabled": False}, Cause.CONNECTION | Cause.SWITCH),
        ({"read_only": True}, Cause.CONNECTION),
        ({}, None),
    ],
)
async def test_a_connection_wakes_its_policies_with_the_cause(change: dict[str, Any], cause: Cause | None) -> None:
    stage = await made()
    stage.context.queue.drop(POLICY)
    for name, value in change.items():
        setattr(stage.link, name, value)

    connection._offer_to_dependents(stage.context, CONNECTION)

    assert stage.context.queue.waits(POLICY) is (cause is not None)
    if cause is not None:
        assert stage.waiting() == cause
