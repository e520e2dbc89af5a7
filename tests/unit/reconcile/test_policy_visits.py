"""The requests of a visit to a WebhookPolicy, and whether its writes count as requested or as drift."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.reconcile import changes
from harborhook.runtime.queue import Cause
from harness.policy_stage import CONNECTION, POLICY, PROJECT, Stage


async def made(project: dict[str, Any] | None = None, **spec: Any) -> Stage:
    """A policy that matches its spec in Harbor."""
    stage = Stage(project, **spec)
    await stage.visit(Cause.CHANGE)
    assert stage.harbor.requests[-1] == "POST"
    return stage


CAUSES = [cause for cause in Cause if cause not in Cause.NEWS and cause is not Cause.POLL]


@pytest.mark.parametrize("cause", CAUSES)
async def test_what_nobody_asked_for_is_drift_for_every_cause_of_the_visit(cause: Cause) -> None:
    stage = await made()
    stage.in_ui(event_types=["PULL_ARTIFACT"])

    await stage.visit(cause)

    assert stage.events == ["DriftCorrected: Set eventTypes of webhook policy ci back to the spec."]
    assert stage.drift == 1
    assert stage.in_harbor["event_types"] == ["PUSH_ARTIFACT"]


@pytest.mark.parametrize("cause", [Cause.RESYNC, Cause.CONNECTION, Cause.RESYNC | Cause.CONNECTION])
async def test_what_is_found_after_a_restart_is_drift(cause: Cause) -> None:
    stage = await made()
    stage.restart()
    stage.in_ui(enabled=False, targets=[])

    await stage.visit(cause)

    assert stage.events == ["DriftCorrected: Set enabled, targets of webhook policy ci back to the spec."]
    assert stage.drift == 2


async def test_a_changed_spec_is_an_update() -> None:
    stage = await made()
    stage.change(POLICY, description="changed")

    assert await stage.visit() == ["GET", "PUT"]

    assert stage.events == ["Updated: Updated description of webhook policy ci."]
    assert stage.drift == 0


async def test_a_rotated_secret_is_an_update_that_costs_two_requests() -> None:
    stage = await made()
    stage.write_secret("2", "Bearer two")

    assert await stage.visit() == ["GET", "PUT"]

    assert stage.events == ["Updated: Updated targets[0].authHeaderFrom of webhook policy ci."]
    assert stage.in_harbor["targets"][0]["auth_header"] == "Bearer two"
    assert stage.drift == 0


async def test_a_secret_that_was_rotated_before_a_failure_is_still_an_update_when_it_is_tried_again() -> None:
    stage = await made()
    stage.write_secret("2", "Bearer two")
    stage.waiting()

    await stage.visit(Cause.RETRY)

    assert stage.events == ["Updated: Updated targets[0].authHeaderFrom of webhook policy ci."]


async def test_a_secret_that_was_written_again_without_a_change_asks_for_nothing() -> None:
    stage = await made()
    stage.in_ui(targets=[])
    stage.write_secret("2", "Bearer one")

    assert await stage.visit() == ["GET", "PUT"]

    assert stage.events == ["DriftCorrected: Set targets of webhook policy ci back to the spec."]
    assert stage.drift == 1


async def test_one_visit_can_find_both_an_update_and_drift() -> None:
    stage = await made()
    stage.in_ui(enabled=False)
    stage.write_secret("2", "Bearer two")

    assert await stage.visit() == ["GET", "PUT"]

    assert stage.events == [
        "Updated: Updated targets[0].authHeaderFrom of webhook policy ci.",
        "DriftCorrected: Set enabled of webhook policy ci back to the spec.",
    ]
    assert stage.drift == 1


@pytest.mark.parametrize(
    "cause", [cause for cause in CAUSES if not cause & (Cause.CHANGE | Cause.RETRY | Cause.SECRET)]
)
async def test_where_no_write_is_expected_a_reading_is_shared_and_nothing_more_is_asked(cause: Cause) -> None:
    stage = await made()
    stage.link.readings.forget()

    assert await stage.visit(cause) == ["list"]
    assert await stage.visit(cause) == []


async def test_what_differs_in_a_shared_reading_is_read_again_before_it_is_written() -> None:
    stage = await made()
    stage.link.readings.forget()
    stage.in_ui(enabled=False)

    assert await stage.visit(Cause.RESYNC) == ["list", "GET", "PUT"]


# Causes


async def test_a_project_that_turns_its_webhooks_off_gives_another_cause_than_one_that_changes_otherwise() -> None:
    stage = await made()

    stage.change(PROJECT, public=True)
    assert stage.waiting() == Cause.PROJECT

    stage.change(PROJECT, webhooks={"enabled": False})
    assert stage.waiting() == Cause.PROJECT | Cause.SWITCH


async def test_a_secret_is_a_cause_of_its_own() -> None:
    stage = await made()
    stage.write_secret("2", "Bearer two")

    assert stage.waiting() == Cause.SECRET


async def test_a_connection_that_is_gone_is_a_cause_of_its_own() -> None:
    stage = await made()
    changes.forget(stage.context, CONNECTION)

    assert stage.waiting() == Cause.CONNECTION


# Switches


@pytest.mark.parametrize("enabled", [False, True])
async def test_what_a_turned_switch_writes_is_an_update(enabled: bool) -> None:
    stage = await made({"webhooks": {"enabled": not enabled}})
    assert stage.in_harbor["enabled"] is not enabled
    stage.change(PROJECT, webhooks={"enabled": enabled})

    await stage.visit()

    assert stage.in_harbor["enabled"] is enabled
    assert stage.events == ["Updated: Updated enabled of webhook policy ci."]
    assert stage.drift == 0


@pytest.mark.parametrize("cause", [Cause.CONNECTION, Cause.RESYNC, Cause.RETRY])
async def test_a_switch_that_was_turned_during_an_outage_is_an_update_afterwards(cause: Cause) -> None:
    stage = await made()
    stage.change(PROJECT, webhooks={"enabled": False})
    stage.restart()

    await stage.visit(cause)

    assert stage.events == ["Updated: Updated enabled of webhook policy ci."]


async def test_a_policy_that_somebody_enables_in_harbor_below_a_switch_is_drift() -> None:
    stage = await made({"webhooks": {"enabled": False}})
    stage.in_ui(enabled=True)

    await stage.visit(Cause.RESYNC)

    assert stage.in_harbor["enabled"] is False
    assert stage.events == ["DriftCorrected: Set enabled of webhook policy ci back to the spec."]


# Deletion


async def test_a_policy_in_a_recreated_project_is_deleted_though_neither_is_recorded() -> None:
    """Its project was removed in Harbor, both were created again, and no status could be written."""
    stage = await made()
    (row,) = stage.harbor.policies_by_id.values()
    stage.harbor.policies_by_id = {6: {**row, "id": 6, "project_id": 7}}

    assert await stage.delete() == ["GET", "list", "PUT", "DELETE"]

    assert stage.harbor.policies_by_id == {}


@pytest.mark.parametrize("former", [{"id": 5, "project_id": 7}, {"id": 6, "project_id": 7}])
async def test_a_policy_in_a_recreated_project_without_our_mark_stays(former: dict[str, Any]) -> None:
    """Early versions of Harbor look up an id in all projects."""
    stage = await made()
    (row,) = stage.harbor.policies_by_id.values()
    stage.harbor.policies_by_id = {former["id"]: {**row, **former, "creator": "somebody"}}

    assert await stage.delete() == ["GET", "list"]

    assert len(stage.harbor.policies_by_id) == 1
