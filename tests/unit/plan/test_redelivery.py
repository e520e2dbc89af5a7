"""Redelivery: the waiting notifications, the next one, and the resulting status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harborhook.api.conditions import Delivering, DeliveringReason
from harborhook.api.deliveries import REDELIVERED_LIMIT, Deliveries, RecentDelivery, TargetRedelivery
from harborhook.api.webhook_policy import WebhookPolicySpec
from harborhook.plan.deliveries import Delivery
from harborhook.plan.redelivery import (
    Attempt,
    AttemptOutcome,
    Backlog,
    Candidate,
    Pauses,
    RedeliveryRequest,
    brought_up_to_date,
    next_attempt,
    outstanding,
    parse_request,
    recorded,
    waiting,
    with_waiting,
)

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAUSES = Pauses()

HTTP = {"type": "http", "address": "https://ci.example.com"}
CLOUD_EVENTS = {**HTTP, "payloadFormat": "CloudEvents"}
SLACK = {"type": "slack", "address": "https://hooks.slack.com/x"}


def spec(*targets: dict[str, Any], mode: str = "Automatic", max_age: str = "24h") -> WebhookPolicySpec:
    return WebhookPolicySpec.model_validate(
        {
            "projectName": "library",
            "eventTypes": ["PUSH_ARTIFACT"],
            "targets": list(targets or (HTTP,)),
            "redelivery": {"mode": mode, "maxAge": max_age},
        }
    )


def candidate(number: int, event: str = "", **fields: Any) -> Candidate:
    made: dict[str, Any] = {"started": T0, "target_type": "http", "format": "Default", **fields}
    return Candidate(id=number, event=event or f"e{number}", **made)


def backlog(*candidates: Candidate) -> Backlog:
    return Backlog(1, {one.id: one for one in candidates}, is_complete=True)


def at_next(found: Backlog, of: WebhookPolicySpec, status: Deliveries, now: datetime = T0) -> Any:
    return next_attempt(waiting(found, of, status, now), found, status, now)


def row(target: int = 0, **fields: Any) -> TargetRedelivery:
    return TargetRedelivery(target=target, waiting=1, **fields)


# Waiting notifications


def test_what_harbor_delivers_after_all_does_not_wait() -> None:
    found = Backlog(1)
    failed = Delivery(4, "PUSH_ARTIFACT", "e4", T0, "Failed", final=True, time=T0)
    retried = Delivery(5, "PUSH_ARTIFACT", "e5", T0, "Retrying", final=False, time=T0)
    found.take_in([failed, retried])
    assert list(found.candidates) == [4]
    found.take_in([Delivery(4, "PUSH_ARTIFACT", "e4", T0, "Succeeded", final=True, time=T0)])
    assert found.candidates == {}


def test_what_has_arrived_does_not_wait() -> None:
    assert [one.id for one in outstanding(backlog(candidate(1), candidate(2)), Deliveries(redelivered_ids=[1]))] == [2]


def test_nothing_waits_under_manual() -> None:
    assert waiting(backlog(candidate(1)), spec(mode="Manual"), None, T0).count == 0


def test_older_ones_than_max_age_have_expired() -> None:
    found = waiting(backlog(candidate(1), candidate(2, started=T0 + MINUTE)), spec(max_age="5m"), None, T0 + 6 * MINUTE)
    assert ([one.id for one in found.expired], found.count) == ([1], 1)


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, 0),
        ({"format": "CloudEvents"}, 1),
        ({"target_type": "slack", "format": "Slack"}, 2),
    ],
)
def test_type_and_format_tell_the_target(fields: dict[str, Any], target: int) -> None:
    found = waiting(backlog(candidate(1, **fields)), spec(HTTP, CLOUD_EVENTS, SLACK), None, T0)
    assert list(found.by_target) == [target]


@pytest.mark.parametrize("targets", [(HTTP, HTTP), (CLOUD_EVENTS,), (SLACK,)], ids=["alike", "format", "type"])
def test_a_notification_that_no_target_or_two_can_have_been_for_does_not_wait(targets: Any) -> None:
    found = waiting(backlog(candidate(1)), spec(*targets), None, T0)
    assert (found.count, [one.id for one in found.unsendable]) == (0, [1])


# The next one


def test_the_oldest_is_next_and_comes_when_the_pause_of_its_target_is_over() -> None:
    found, status = backlog(candidate(7), candidate(3)), Deliveries(redeliveries=[row(next_attempt_time=T0 + MINUTE)])
    assert at_next(found, spec(), status) == T0 + MINUTE
    assert at_next(found, spec(), status, T0 + MINUTE) == Attempt(candidate(3), 0)


def test_a_dead_receiver_does_not_hold_up_another_one() -> None:
    found = backlog(candidate(1), candidate(2, target_type="slack", format="Slack"))
    status = Deliveries(redeliveries=[row(0, next_attempt_time=T0 + MINUTE), row(1)])
    assert at_next(found, spec(HTTP, SLACK), status) == Attempt(found.candidates[2], 1)


def test_one_that_a_living_receiver_refuses_does_not_hold_up_the_others() -> None:
    found = backlog(candidate(1), candidate(2))
    found.refused.add(1)
    status = Deliveries(redeliveries=[row()])
    assert at_next(found, spec(), status) == Attempt(candidate(2), 0)
    found.drop(2)
    assert at_next(found, spec(), status) == Attempt(candidate(1), 0)


def test_what_the_status_does_not_know_of_is_not_sent_yet() -> None:
    assert at_next(backlog(candidate(1)), spec(), Deliveries()) is None


def test_nothing_is_next_where_nothing_waits() -> None:
    assert at_next(backlog(), spec(), Deliveries()) is None


# The status


def test_pauses_double_up_to_half_an_hour() -> None:
    assert [PAUSES.after(attempts) / MINUTE for attempts in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert PAUSES.after(10**9) == 30 * MINUTE


def test_a_failed_attempt_makes_the_next_pause_longer_and_is_told() -> None:
    status = recorded(
        Deliveries(), AttemptOutcome(1, "Failed", T0, 0, "ci.example.com answered with status 503."), PAUSES
    )
    assert status.redeliveries[0].attempts == 1
    assert status.redeliveries[0].next_attempt_time == T0 + 2 * MINUTE
    assert status.redeliveries[0].message == "ci.example.com answered with status 503."
    assert status.redelivered_ids == []


def test_after_a_success_the_others_follow_at_once_and_none_is_sent_twice() -> None:
    before = Deliveries(redeliveries=[row(attempts=5, next_attempt_time=T0)])
    status = recorded(before, AttemptOutcome(1, "Succeeded", T0, 0), PAUSES)
    assert status.redelivered_ids == [1]
    assert status.redeliveries[0].attempts == 0
    found = backlog(candidate(1), candidate(2))
    assert at_next(found, spec(), status) == Attempt(candidate(2), 0)


def test_the_memory_of_what_has_arrived_is_bounded_by_what_harbor_keeps() -> None:
    status = Deliveries()
    for number in range(REDELIVERED_LIMIT + 20):
        status = recorded(status, AttemptOutcome(number, "Succeeded", T0, 0), PAUSES)
    assert status.redelivered_ids == list(range(20, REDELIVERED_LIMIT + 20))
    found = backlog(*map(candidate, range(REDELIVERED_LIMIT + 21)))
    assert [one.id for one in outstanding(found, status)] == [REDELIVERED_LIMIT + 20], "none comes back"


def up_to_date(
    status: Deliveries, found: Backlog, of: WebhookPolicySpec, now: datetime = T0, *, has_news_of_success: bool = False
) -> Deliveries:
    waits = waiting(found, of, status, now)
    return brought_up_to_date(status, found, waits, now, PAUSES, has_news_of_success=has_news_of_success)


def test_the_first_attempt_comes_a_pause_after_the_failure_is_known() -> None:
    status = up_to_date(Deliveries(), backlog(candidate(1)), spec())
    assert (status.undelivered, status.redeliveries[0].waiting) == (1, 1)
    assert status.redeliveries[0].next_attempt_time == T0 + MINUTE
    assert up_to_date(status, backlog(candidate(1)), spec(), T0 + MINUTE / 2) == status


def test_a_success_of_harbors_own_brings_the_next_attempt_at_once() -> None:
    tried = row(attempts=4, last_attempt_time=T0, next_attempt_time=T0 + 30 * MINUTE)
    before = Deliveries(redeliveries=[tried], last_success_time=T0 + MINUTE)
    assert up_to_date(before, backlog(candidate(1)), spec(), T0 + MINUTE) == before.model_copy(
        update={"undelivered": 1}
    )
    status = up_to_date(before, backlog(candidate(1)), spec(), T0 + MINUTE, has_news_of_success=True)
    assert status.redeliveries[0].next_attempt_time is None


def test_undelivered_counts_events_and_not_notifications() -> None:
    slack = candidate(2, "e1", target_type="slack", format="Slack")
    assert up_to_date(Deliveries(), backlog(candidate(1, "e1"), slack), spec(HTTP, SLACK)).undelivered == 1


def test_an_event_has_arrived_when_all_its_notifications_have() -> None:
    slack = candidate(2, "e1", target_type="slack", format="Slack")
    found, of = backlog(candidate(1, "e1"), slack), spec(HTTP, SLACK)
    before = Deliveries(consecutive_failures=1, recent=[recent(2)])
    status = up_to_date(recorded(before, AttemptOutcome(2, "Succeeded", T0, 1), PAUSES), found, of)
    assert (redelivery_of(status), status.consecutive_failures) == ("Pending", 1)
    status = up_to_date(recorded(status, AttemptOutcome(1, "Succeeded", T0, 0), PAUSES), found, of)
    assert (redelivery_of(status), status.undelivered, status.consecutive_failures) == ("Succeeded", 0, 0)


def recent(number: int) -> RecentDelivery:
    return RecentDelivery(execution_id=number, event_type="PUSH_ARTIFACT", time=T0, status="Failed")


def redelivery_of(status: Deliveries) -> str | None:
    found = status.recent[0].redelivery
    return found.status if found else None


def test_a_recent_event_shows_how_its_redelivery_goes() -> None:
    found, of = backlog(candidate(1)), spec(max_age="1h")
    status = up_to_date(Deliveries(recent=[recent(1)]), found, of)
    assert redelivery_of(status) == "Pending"
    status = up_to_date(recorded(status, AttemptOutcome(1, "Failed", T0, 0, "no"), PAUSES), found, of)
    assert redelivery_of(status) == "Failed"
    status = up_to_date(status, found, of, T0 + 61 * MINUTE)
    assert (redelivery_of(status), status.undelivered, status.redeliveries) == ("Expired", 1, [])


# The condition

FAILED = Delivering(DeliveringReason.LAST_DELIVERY_FAILED, "The newest event was not delivered: status 500")


@pytest.mark.parametrize(
    ("status", "hint", "end"),
    [
        (Deliveries(undelivered=1), "", "1 event is not delivered."),
        (Deliveries(undelivered=2), "Suspended.", "2 events are not delivered. Suspended."),
        (
            Deliveries(undelivered=3, redeliveries=[row(next_attempt_time=T0)]),
            "",
            "3 events are not delivered; the next attempt is at 2026-01-02 03:04:05 UTC.",
        ),
        (Deliveries(undelivered=3, redeliveries=[row()]), "", "3 events are not delivered; redelivery is in progress."),
    ],
)
def test_a_failure_names_how_many_wait_and_when_the_next_attempt_is(status: Deliveries, hint: str, end: str) -> None:
    assert with_waiting(FAILED, status, hint).message == f"{FAILED.message}. {end}"


@pytest.mark.parametrize("hint", ["", "Nothing is sent while suspend is true."])
def test_what_was_added_to_a_message_before_a_restart_is_not_added_again(hint: str) -> None:
    status = Deliveries(undelivered=2, redeliveries=[row(next_attempt_time=T0)])
    once = with_waiting(FAILED, status, hint)
    assert with_waiting(once, status, hint) == once
    later = with_waiting(once, Deliveries(undelivered=1), "")
    assert later.message == f"{FAILED.message}. 1 event is not delivered."
    assert with_waiting(once, Deliveries()).message == f"{FAILED.message}."


def test_a_success_is_left_as_it_is() -> None:
    succeeded = Delivering(DeliveringReason.LAST_DELIVERY_SUCCEEDED)
    assert with_waiting(succeeded, Deliveries(undelivered=3)) == succeeded


# The annotation


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("failed", RedeliveryRequest()),
        ("failed 2026-11-29T10:00:00Z", RedeliveryRequest()),
        ("41 now", RedeliveryRequest((41,))),
        ("41,42,41 again", RedeliveryRequest((41, 42))),
        ("  7  ", RedeliveryRequest((7,))),
    ],
)
def test_a_request_names_all_that_failed_or_executions(text: str, request_: RedeliveryRequest) -> None:
    assert parse_request(text) == request_


@pytest.mark.parametrize("text", ["", "now", "41,", "41;42", "-1", "٣", "9" * 19, ",".join(["1"] * 101), "Failed"])
def test_what_cannot_be_understood_is_no_request(text: str) -> None:
    assert parse_request(text) is None
