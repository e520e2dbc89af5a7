"""Redelivery step by step: what is sent and when, reasons not to send, and the resulting status."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client import generate_latest

from harborhook import telemetry
from harborhook.api.deliveries import REDELIVERED_LIMIT
from harborhook.harbor.errors import NotHarborError, UnreachableError
from harborhook.harbor.executions import Task
from harborhook.reconcile import redelivery_send, sender
from harborhook.runtime.leader import LeadershipLostError
from harness.policy_stage import POLICY, PROJECT, SECRET
from harness.receiver import Receiver
from harness.redelivery_stage import SLACK, START, RedeliveryStage

MINUTE, HOUR = 60.0, 3600.0
HTTP = {"type": "http", "address": "https://ci.example.com"}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> RedeliveryStage:
    return RedeliveryStage(monkeypatch)


def metric(stage: RedeliveryStage, result: str) -> float:
    return stage.context.metrics.registry.get_sample_value("harborhook_redeliveries_total", {"result": result}) or 0.0


# Attempts and their times


async def test_a_dead_receiver_gets_one_request_per_pause(stage: RedeliveryStage) -> None:
    stage.fail(*range(1, 41))
    await stage.poll()
    await stage.run(2 * HOUR)
    times = [one.at for one in stage.receivers.sent]
    assert [round(later - earlier) for earlier, later in zip([0.0, *times], times, strict=False)] == [
        60, 120, 240, 480, 960, 1800, 1800,
    ]  # fmt: skip
    assert set(stage.receivers.ids) == {1}, "the oldest alone"


async def test_all_follow_oldest_first_five_a_second_once_the_receiver_answers(stage: RedeliveryStage) -> None:
    stage.fail(*range(40, 0, -1))
    await stage.poll()
    await stage.run(2 * MINUTE)
    stage.receivers.status = 204
    await stage.run(10 * MINUTE)
    assert stage.receivers.ids == [1, *range(1, 41)]
    times = [one.at for one in stage.receivers.sent[1:]]
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.2 - 1e-6
    assert "undelivered" not in stage.deliveries or stage.deliveries["undelivered"] == 0
    assert metric(stage, "succeeded") == 40
    assert [event for event in stage.events if event.startswith("Redelivered")] == [
        "Redelivered: 40 notifications that Harbor could not deliver since 2026-01-02 03:04:05 UTC arrived when the "
        "operator sent them again."
    ]


async def test_none_is_sent_twice_however_many_there_are(stage: RedeliveryStage) -> None:
    """The status keeps the newest arrived ids; a hundred more must not bring the first ones back."""
    number = REDELIVERED_LIMIT + 20
    stage.receivers.status = 200
    stage.fail(*range(1, number + 1))
    await stage.poll()
    await stage.run(HOUR)
    assert stage.receivers.ids == list(range(1, number + 1))
    stage.restart()
    await stage.poll()
    await stage.run(2 * HOUR)
    assert len(stage.receivers.sent) == number


async def test_what_has_arrived_is_remembered_over_a_restart_and_only_while_harbor_has_it(
    stage: RedeliveryStage,
) -> None:
    stage.receivers.status = 200
    stage.fail(1, 2, 3)
    await stage.poll()
    await stage.run(2 * MINUTE)
    assert stage.deliveries["redeliveredIDs"] == [1, 2, 3]
    stage.restart()
    stage.harbor.sweep(2)
    stage.fail(4)
    await stage.poll()
    await stage.run(2 * MINUTE)
    assert stage.receivers.ids == [1, 2, 3, 4]
    assert stage.deliveries["redeliveredIDs"] == [2, 3, 4]


async def test_a_pause_outlives_a_restart(stage: RedeliveryStage) -> None:
    stage.fail(1)
    await stage.poll()
    await stage.run(5 * MINUTE)
    assert [one.at for one in stage.receivers.sent] == [60, 180]
    stage.restart()
    stage.clock.now = 5 * MINUTE
    await stage.poll()
    await stage.run(119)
    assert len(stage.receivers.sent) == 2
    await stage.run(1)
    assert len(stage.receivers.sent) == 3


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=3), timedelta(hours=-3)])
async def test_a_delivery_by_harbor_triggers_one_attempt_at_once_with_any_clocks(
    stage: RedeliveryStage, ahead: timedelta
) -> None:
    stage.harbor.ahead = ahead
    stage.fail(1, started=START + ahead)
    await stage.poll()
    await stage.run(8 * MINUTE)
    before = len(stage.receivers.sent)
    stage.fail(1001, started=stage.harbor.now())
    stage.becomes(1001, "Success")
    await stage.poll()
    await stage.run(1)
    assert len(stage.receivers.sent) == before + 1
    await stage.poll()
    await stage.run(5 * MINUTE)
    assert len(stage.receivers.sent) == before + 1, "the receiver is still dead: then the next pause is waited for"


async def test_one_that_is_refused_goes_behind_the_others(stage: RedeliveryStage) -> None:
    stage.receivers.status, stage.receivers.by_id = 200, {1: 400}
    stage.fail(1, 2, 3)
    await stage.poll()
    await stage.run(4 * MINUTE)
    assert stage.receivers.ids[:3] == [1, 2, 3]
    assert stage.deliveries["undelivered"] == 1


async def test_http_and_slack_wait_apart(stage: RedeliveryStage) -> None:
    stage.change(POLICY, targets=[{"type": "http", "address": "https://ci.example.com"}, SLACK])
    stage.fail(1, 3)
    stage.fail(2, 4, kind="SLACK", payload_format="Slack")
    stage.receivers.by_id = {2: 200, 4: 200}
    await stage.poll()
    await stage.run(10 * MINUTE)
    assert [one.id for one in stage.receivers.sent if one.address == SLACK["address"]] == [2, 4]
    assert {one.id for one in stage.receivers.sent if one.address != SLACK["address"]} == {1}
    assert [(row["target"], row["waiting"]) for row in stage.deliveries["redeliveries"]] == [(0, 2)]


@pytest.mark.parametrize(
    ("targets", "ids"),
    [([HTTP, {**HTTP, "payloadFormat": "CloudEvents"}], {0: [1], 1: [2]}), ([HTTP, HTTP], {})],
    ids=["of two formats", "of one format"],
)
async def test_the_format_tells_the_target_and_where_it_does_not_nothing_is_sent(
    stage: RedeliveryStage, targets: list[Any], ids: dict[int, list[int]]
) -> None:
    stage.receivers.status = 200
    addressed = [{**target, "address": f"https://ci.example.com/{index}"} for index, target in enumerate(targets)]
    stage.change(POLICY, targets=addressed, redelivery={"mode": "Manual"})
    stage.fail(1)
    stage.fail(2, payload_format="CloudEvents")
    answer = await stage.ask("1,2 now")
    sent = {index: [one.id for one in stage.receivers.sent if one.address.endswith(f"/{index}")] for index in range(2)}
    assert {index: numbers for index, numbers in sent.items() if numbers} == ids
    if not ids:
        assert answer["failed"] == 2
        assert "no target of the type" in answer["message"] or "Two targets have the same" in answer["message"]


# Reasons not to send


def _of_project(stage: RedeliveryStage) -> None:
    stage.change(PROJECT, webhooks={"enabled": False})


OBSTACLES: dict[str, Callable[[RedeliveryStage], object]] = {
    "the global switch": lambda stage: setattr(stage.link, "policies_off", True),
    "Harbor's own switch": lambda stage: setattr(stage.link, "notifications_enabled", False),
    "the project": _of_project,
    "the policy is off": lambda stage: stage.change(POLICY, enabled=False),
    "suspended": lambda stage: stage.change(POLICY, suspend=True),
    "Manual": lambda stage: stage.change(POLICY, redelivery={"mode": "Manual"}),
    "allowRedelivery is withdrawn": lambda stage: stage.change_connection(allowRedelivery=False),
    "access is withdrawn": lambda stage: stage.change_connection(access=[{"namespaces": ["other"], "projects": ["*"]}]),
    "the host is no longer allowed": lambda stage: stage.change_connection(allowedTargetHosts=["*.other.example"]),
    "the Secret is gone": lambda stage: stage.secrets.pop(SECRET),
}


@pytest.mark.parametrize("what", OBSTACLES)
async def test_nothing_is_sent_while_something_is_in_the_way(stage: RedeliveryStage, what: str) -> None:
    stage.receivers.status = 200
    stage.fail(1, 2)
    await stage.poll()
    OBSTACLES[what](stage)
    await stage.run(HOUR)
    assert stage.receivers.sent == []
    assert stage.deliveries["undelivered"] == 2, "what waits stays waiting"


async def test_what_waited_meanwhile_is_sent_when_it_is_allowed_again(stage: RedeliveryStage) -> None:
    stage.receivers.status = 200
    stage.fail(1, 2)
    await stage.poll()
    stage.change_connection(allowRedelivery=False)
    await stage.run(HOUR)
    stage.change_connection(allowRedelivery=True)
    await stage.poll()
    await stage.run(MINUTE)
    assert stage.receivers.ids == [1, 2]


@pytest.mark.parametrize("what", [what for what in OBSTACLES if what != "Manual"])
async def test_a_request_says_what_is_in_the_way(stage: RedeliveryStage, what: str) -> None:
    stage.fail(1)
    await stage.poll()
    OBSTACLES[what](stage)
    answer = await stage.ask("1 now")
    assert (answer.get("succeeded", 0), stage.receivers.sent) == (0, [])
    assert len(answer["message"]) > 30, answer


async def test_todays_address_and_header_are_used(stage: RedeliveryStage) -> None:
    stage.receivers.status = 200
    stage.fail(1)
    await stage.poll()
    header = {"secretKeyRef": {"name": SECRET.name, "key": "header"}}
    stage.change(POLICY, targets=[{**HTTP, "address": "https://new.example.com/x", "authHeaderFrom": header}])
    stage.write_secret("2", "Bearer two")
    await stage.run(2 * MINUTE)
    (sent,) = stage.receivers.sent
    assert (sent.address, sent.headers["Authorization"]) == ("https://new.example.com/x", "Bearer two")
    assert sent.content == b"body 1"


MEANWHILE = {
    name: change
    for name, change in OBSTACLES.items()
    if name not in ("Manual", "the Secret is gone", "Harbor's own switch")
}


@pytest.mark.parametrize("what", [*MEANWHILE, "it is being deleted", "its address changes"])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_change_while_the_notification_is_read_counts(
    stage: RedeliveryStage, monkeypatch: pytest.MonkeyPatch, what: str, asked: bool
) -> None:
    """Harbor may take a minute for the answers that a step needs."""
    changes: dict[str, Callable[[RedeliveryStage], object]] = {
        **MEANWHILE,
        "it is being deleted": lambda stage: stage.change_metadata(deletionTimestamp="2026-01-02T03:04:05Z"),
        "its address changes": lambda stage: stage.change(POLICY, targets=[{**HTTP, "address": "https://new.io"}]),
    }
    read, left = stage.harbor.stored_execution, [changes[what]]

    async def reading(*path: Any) -> Any:
        found = await read(*path)
        while left:
            left.pop()(stage)
        return found

    monkeypatch.setattr(stage.harbor, "stored_execution", reading)
    stage.receivers.status = 200
    stage.fail(1)
    if asked:
        await stage.ask("1 now")
    await stage.poll()
    await stage.run(HOUR)

    assert not left
    assert [one.address for one in stage.receivers.sent] == (["https://new.io"] if "address" in what else [])


@pytest.mark.parametrize(
    ("hosts", "may_be_local"),
    [(None, False), (["*"], False), (["ci.example.*"], False), (["ci.example.com"], True)],
)
async def test_a_host_may_be_the_operators_own_only_where_the_rule_names_it(
    stage: RedeliveryStage, hosts: list[str] | None, may_be_local: bool
) -> None:
    stage.receivers.status = 200
    stage.change_connection(allowedTargetHosts=hosts)
    stage.fail(1)
    await stage.poll()
    await stage.run(2 * MINUTE)
    assert [one.may_be_local for one in stage.receivers.sent] == [may_be_local]


async def test_a_team_cannot_send_by_a_secret_where_the_rule_forbids(stage: RedeliveryStage) -> None:
    stage.change_connection(allowedTargetHosts=["*.example.com"])
    stage.secrets[SECRET] = "2", {"header": b"x", "url": b"http://169.254.169.254/c4nary?.example.com"}
    where = {"secretKeyRef": {"name": SECRET.name, "key": "url"}}
    stage.change(POLICY, targets=[{"type": "http", "addressFrom": where}])
    stage.fail(1)
    answer = await stage.ask("failed now")
    assert stage.receivers.sent == []
    assert "do not include the host in the target's Secret" in answer["message"]
    assert "c4nary" not in str(stage.status) + str(stage.events)


async def test_a_process_that_leads_no_more_sends_nothing(stage: RedeliveryStage) -> None:
    def lost() -> None:
        raise LeadershipLostError("the lease is not held any more")

    stage.receivers.status = 200
    stage.fail(1)
    await stage.poll()
    stage.context.fence = lost
    await stage.run(HOUR)
    assert stage.receivers.sent == []


async def test_a_policy_that_is_being_deleted_sends_nothing(stage: RedeliveryStage) -> None:
    stage.fail(1)
    await stage.poll()
    stage.change_metadata(deletionTimestamp="2026-01-02T03:04:05Z")
    await stage.run(HOUR)
    assert stage.receivers.sent == []


async def test_a_lost_connection_delays_it(stage: RedeliveryStage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> None:
        raise UnreachableError("no answer")

    stage.receivers.status = 200
    stage.fail(1)
    await stage.poll()
    with monkeypatch.context() as broken:
        broken.setattr(stage.harbor, "stored_execution", fails)
        await stage.run(10 * MINUTE)
    assert (stage.receivers.sent, stage.deliveries["undelivered"]) == ([], 1)
    await stage.run(10 * MINUTE)
    assert stage.receivers.ids == [1]


# Changes in Harbor meanwhile


async def test_what_harbor_delivers_after_all_is_not_sent(stage: RedeliveryStage) -> None:
    stage.receivers.status = 200
    stage.fail(1, 2)
    await stage.poll()
    stage.becomes(1, "Success")
    await stage.run(2 * MINUTE)
    assert stage.receivers.ids == [2]
    assert "gone" not in str(stage.events)
    assert metric(stage, "gone") == 0


@pytest.mark.parametrize(
    ("task", "ids"),
    [("Running", []), ("Success", []), ("Error", []), (None, [1])],
    ids=["being sent", "just delivered", "to be tried again", "never had by the job service"],
)
async def test_what_harbor_may_still_send_is_not_sent(stage: RedeliveryStage, task: str | None, ids: list[int]) -> None:
    stage.receivers.status = 200
    stage.fail(1, started=START - timedelta(minutes=10))
    await stage.poll()
    stage.becomes(1, "Running")
    stage.harbor.tasks_by_id[1] = [Task(9, task, 1, stage.now() + timedelta(minutes=2))] if task else []
    await stage.run(2 * MINUTE)
    assert stage.receivers.ids == ids


async def test_nobody_can_ask_for_one_that_harbor_may_still_send(stage: RedeliveryStage) -> None:
    stage.fail(1001)
    stage.harbor.tasks_by_id[1001] = [Task(9, "Error", 1, stage.now())]
    answer = await stage.ask("1001 now")
    assert (answer["failed"], stage.receivers.sent) == (1, [])
    assert "Harbor has not stopped trying" in answer["message"]


async def test_of_120_the_newest_50_that_harbor_keeps_are_sent_and_the_others_reported(stage: RedeliveryStage) -> None:
    stage.fail(*range(1, 121))
    await stage.poll()
    await stage.run(10 * MINUTE)
    stage.receivers.sent.clear()
    stage.harbor.sweep()
    stage.receivers.status = 200
    await stage.run(HOUR)
    assert stage.receivers.ids == list(range(71, 121))
    assert [event for event in stage.events if event.startswith("RedeliveryExpired")] == [
        "RedeliveryExpired: 70 notifications that could not be delivered can no longer be sent: Harbor has forgotten "
        "them, since it keeps the newest 50 of each policy."
    ]
    assert metric(stage, "gone") == 70


async def test_what_harbor_forgets_while_no_operator_runs_is_reported_too(stage: RedeliveryStage) -> None:
    stage.fail(*range(1, 61))
    await stage.poll()
    await stage.run(MINUTE)
    stage.restart()
    stage.harbor.sweep()
    stage.receivers.status = 200
    await stage.poll()
    await stage.run(HOUR)
    assert stage.receivers.ids[1:] == list(range(11, 61))
    assert "RedeliveryExpired: 10 notifications that could not be delivered" in str(stage.events)


async def test_what_the_first_poll_passed_over_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls of a policy without a cursor read the newest notifications only."""
    stage = RedeliveryStage(monkeypatch, settled=0)
    stage.receivers.status = 200
    stage.fail(*range(1, 121))
    await stage.poll(above=20)
    await stage.run()
    await stage.poll(above=20)
    await stage.run(2 * MINUTE)
    assert stage.receivers.ids == list(range(1, 121))


async def test_one_that_harbor_turns_out_to_be_still_at_is_looked_for_again(stage: RedeliveryStage) -> None:
    stage.receivers.status = 200
    stage.fail(1)
    stage.harbor.tasks_by_id[1] = [Task(9, "Error", 1, stage.now())]
    await stage.poll()
    await stage.run(2 * MINUTE)
    assert stage.receivers.sent == []
    del stage.harbor.tasks_by_id[1]
    stage.fail(2)
    for _ in range(10):
        await stage.poll(above=1000)
        await stage.run(MINUTE)
    assert stage.receivers.ids == [1, 2] or stage.receivers.ids == [2, 1]


@pytest.mark.parametrize("mode", ["Manual", None])
async def test_undelivered_follows_harbors_sweep_also_where_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    stage = RedeliveryStage(monkeypatch, mode=mode)
    stage.fail(*range(1, 61))
    await stage.poll()
    await stage.run()
    assert stage.deliveries["undelivered"] == 60
    stage.restart()
    stage.harbor.sweep()
    await stage.poll()
    await stage.run()
    assert stage.deliveries["undelivered"] == 50
    assert stage.events == []


async def test_what_is_too_old_is_announced_once_and_can_still_be_asked_for(stage: RedeliveryStage) -> None:
    stage.change(POLICY, redelivery={"mode": "Automatic", "maxAge": "1h"})
    stage.fail(1, 2)
    await stage.poll()
    await stage.run(30 * MINUTE)
    stage.fail(3)
    await stage.poll()
    await stage.run(40 * MINUTE)
    assert [event.partition(" could")[0] for event in stage.events] == ["RedeliveryExpired: 2 notifications"]
    stage.restart()
    stage.clock.now = 71 * MINUTE
    await stage.poll()
    await stage.run(MINUTE)
    assert stage.events[1:] == [], "not after each restart again"
    stage.receivers.status = 200
    assert (await stage.ask("failed now"))["succeeded"] == 3


async def test_a_policy_that_was_recreated_in_harbor_starts_without_a_backlog(stage: RedeliveryStage) -> None:
    stage.fail(1, 2)
    await stage.poll()
    await stage.run()
    stage.harbor.executions_by_id.clear()
    body = stage.stored(POLICY)
    stage.context.store.upsert(POLICY, {**body, "status": {**body["status"], "policyID": 6}})
    stage.fail(1003)
    stage.receivers.status = 200
    await stage.poll()
    await stage.run(5 * MINUTE)
    assert stage.receivers.ids == [1003]


async def test_a_policy_that_was_renamed_keeps_its_backlog(stage: RedeliveryStage) -> None:
    stage.fail(1)
    await stage.poll()
    stage.change(POLICY, policyName="another name")
    stage.receivers.status = 200
    await stage.run(5 * MINUTE)
    assert stage.receivers.ids == [1]


async def test_after_a_restore_the_same_ids_are_other_notifications(stage: RedeliveryStage) -> None:
    stage.receivers.status = 200
    stage.fail(1, 2, 3)
    await stage.poll()
    await stage.run(2 * MINUTE)
    assert stage.deliveries["redeliveredIDs"] == [1, 2, 3]
    stage.harbor.executions_by_id.clear()
    stage.fail(2, 3, event="another", started=stage.now() - timedelta(hours=1))
    stage.fail(4, started=stage.now())
    stage.harbor.tasks_by_id[4] = [Task(9, "Running", 1, None)]
    stage.becomes(4, "Running")
    await stage.poll(renumbered_from=1000)
    await stage.run(5 * MINUTE)
    assert stage.receivers.ids == [1, 2, 3, 2, 3]


async def test_one_policy_whose_notifications_cannot_be_read_does_not_keep_the_news_of_others_back(
    stage: RedeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise NotHarborError("Harbor's answer is not a JSON list.")

    monkeypatch.setattr(stage.harbor, "undelivered_executions", fails)
    stage.fail(1)
    await stage.poll()
    await stage.run()
    assert stage.receivers.sent == []


# Requests


async def test_a_request_goes_on_after_a_restart(stage: RedeliveryStage) -> None:
    stage.change(POLICY, redelivery={"mode": "Manual"})
    stage.receivers.status = 200
    stage.fail(*range(1, 21))
    stage.annotate("failed now")
    await stage.poll()
    await stage.run(1.5)
    begun = len(stage.receivers.sent)
    assert 0 < begun < 20
    stage.restart()
    await stage.poll()
    await stage.run(MINUTE)
    assert stage.receivers.ids == list(range(1, 21))
    assert stage.status["redelivery"]["succeeded"] == 20


async def test_a_request_passes_over_none_that_harbor_did_not_show_at_first(
    stage: RedeliveryStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.change(POLICY, redelivery={"mode": "Manual"})
    stage.receivers.status = 200
    stage.fail(1, 2, 3)
    read, failures = stage.harbor.stored_execution, [1, 2, 2, 3]

    async def reading(project: str, policy_id: int, execution_id: int) -> Any:
        if execution_id in failures:
            failures.remove(execution_id)
            raise UnreachableError("no answer")
        return await read(project, policy_id, execution_id)

    monkeypatch.setattr(stage.harbor, "stored_execution", reading)
    answer = await stage.ask("1,2,3 now")

    assert stage.receivers.ids == [1, 2, 3]
    assert answer["message"] == "3 of 3 notifications arrived."


async def test_a_request_that_is_stopped_midway_says_how_far_it_came(stage: RedeliveryStage) -> None:
    stage.change(POLICY, redelivery={"mode": "Manual"})
    stage.receivers.status = 200
    stage.fail(*range(1, 21))
    stage.annotate("failed now")
    await stage.poll()
    await stage.run(1.5)
    stage.change_connection(allowRedelivery=False)
    await stage.run(MINUTE)
    answer = stage.status["redelivery"]
    assert answer["succeeded"] == len(stage.receivers.sent)
    assert answer["message"].startswith("The rest was not sent: An administrator")


async def test_the_condition_says_how_many_wait_and_when_the_next_attempt_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = RedeliveryStage(monkeypatch, settled=0)
    stage.fail(1, 2)
    await stage.poll()
    await stage.run(MINUTE)
    reason, message = stage.condition
    assert reason == "LastDeliveryFailed"
    assert message.endswith("2 events are not delivered; the next attempt is at 2026-01-02 03:07:05 UTC.")
    stage.receivers.status = 200
    await stage.run(3 * MINUTE)
    assert stage.condition[0] == "Redelivered"


# Secrets


@pytest.mark.parametrize("status", [200, 500])
async def test_body_header_and_path_are_shown_nowhere(
    stage: RedeliveryStage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    canary = "c4nary"
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    telemetry.set_up_logging("DEBUG")
    root.addHandler(caplog.handler)
    monkeypatch.setattr(redelivery_send, "send", sender.send)
    monkeypatch.setattr(stage.harbor, "body", f"{canary} body")
    stage.secrets[SECRET] = "2", {"header": f"Bearer {canary}".encode()}
    header = {"secretKeyRef": {"name": SECRET.name, "key": "header"}}
    with Receiver() as receiver:
        receiver.down(status)
        address = f"{receiver.url}/{canary}?{canary}={canary}"
        stage.change(POLICY, targets=[{**HTTP, "address": address, "authHeaderFrom": header}])
        stage.change_connection(allowedTargetHosts=["127.0.0.1"])
        stage.fail(1)
        await stage.poll()
        await stage.run(5 * MINUTE)
        await stage.ask("1 now")
        sent = receiver.received()
    root.handlers[:], root.level = handlers, level
    assert all(canary in part for part in (sent[0].text, sent[0].authorization or "", sent[0].path))
    metrics = generate_latest(stage.context.metrics.registry).decode()
    assert canary not in f"{stage.status} {stage.events} {metrics} {caplog.text} {stage.link.mailbox!r}"
