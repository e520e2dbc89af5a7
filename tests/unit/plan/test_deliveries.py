"""Delivery status: correct for any order in which events are settled, read and swept."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from harborhook.api.base import Condition
from harborhook.api.conditions import Delivering, DeliveringReason, with_delivering
from harborhook.api.deliveries import Deliveries, LastDelivery
from harborhook.api.webhook_policy import Trigger, WebhookPolicyStatus
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.harbor.models import LastTrigger
from harborhook.harbor.payloads import facts_of
from harborhook.plan.deliveries import Delivery, History, Patience, Progress, advance, events_of, judge, judge_job
from harborhook.plan.failures import LOG_GONE, NEVER_SENT
from harness.paths import DATA

RECORDINGS = DATA / "deliveries"
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PUSH, PULL = "PUSH_ARTIFACT", "PULL_ARTIFACT"
PATIENCE = Patience(3, timedelta(seconds=60))


def body(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())["response"]["body"]


def execution(status: str = "Running", number: int = 1) -> Execution:
    return Execution(number, "WEBHOOK", PUSH, "e1", status, T0, None)


def task(status: str, runs: int = 0, ended: datetime | None = None) -> Task:
    return Task(9, status, runs, ended)


def delivery(number: int, status: str, event: str = "", event_type: str = PUSH, **fields: Any) -> Delivery:
    final = status in ("Succeeded", "Failed", "Stopped")
    at = T0 + timedelta(seconds=number)
    made: dict[str, Any] = {"started": at, "time": at, "attempts": 1, "final": final, **fields}
    return Delivery(id=number, event_type=event_type, event=event or f"e{number}", status=status, **made)  # type: ignore[arg-type]


def after(progress: Progress, before: WebhookPolicyStatus | None = None) -> WebhookPolicyStatus:
    """Returns the status after the progress was written."""
    status = before or WebhookPolicyStatus()
    return status.model_copy(
        update={
            "triggers": progress.triggers,
            "last_trigger_time": progress.last_trigger_time,
            "deliveries": progress.deliveries,
            "conditions": with_delivering(progress.delivering, status.conditions, generation=1, now=T0),
        }
    )


def read(*found: Delivery, before: WebhookPolicyStatus | None = None, types: tuple[str, ...] = (PUSH,)) -> Progress:
    rows = [LastTrigger("ci", one.event_type, one.started) for one in found]
    return advance(before or WebhookPolicyStatus(), types, rows, History(found))


# One notification


@pytest.mark.parametrize(
    ("found", "status", "final"),
    [
        (task("Pending"), "Pending", False),
        (task("Scheduled"), "Pending", False),
        (task("Running", 1), "Pending", False),
        (task("Running", 2), "Retrying", False),
        (task("Error", 1, T0), "Retrying", False),
        (task("Error", 2, T0), "Retrying", False),
        (task("Error", 3, T0), "Failed", True),
        (task("Success", 1, T0), "Succeeded", True),
        (task("Stopped", 1, T0), "Stopped", True),
    ],
)
def test_the_task_decides_while_its_execution_lags(found: Task, status: str, final: bool) -> None:
    judged = judge(execution(), [found], now=T0 + timedelta(seconds=5), patience=PATIENCE)
    assert (judged.status, judged.final, judged.attempts) == (status, final, found.run_count)


def test_an_error_is_given_up_when_no_further_attempt_can_come() -> None:
    error = task("Error", 1, T0)
    soon, late = T0 + timedelta(seconds=74), T0 + timedelta(seconds=400)
    assert judge(execution(), [error], now=soon, patience=PATIENCE).status == "Retrying"
    assert judge(execution(), [error], now=late, patience=PATIENCE).status == "Failed"


def test_an_execution_without_a_task_was_never_sent() -> None:
    soon, late = T0 + timedelta(seconds=59), T0 + timedelta(seconds=61)
    assert judge(execution(), [], now=soon, patience=PATIENCE).status == "Pending"
    judged = judge(execution(), [], now=late, patience=PATIENCE)
    assert (judged.status, judged.final, judged.stuck, judged.message) == ("Failed", True, True, NEVER_SENT)
    assert judge(execution(), None, now=late, patience=PATIENCE).status == "Pending", "its tasks were not read"


def test_a_task_that_waits_longer_than_all_retries_is_stuck_but_not_given_up() -> None:
    judged = judge(execution(), [task("Pending")], now=T0 + timedelta(hours=1), patience=PATIENCE)
    assert (judged.stuck, judged.final) == (True, False)


@pytest.mark.parametrize(
    ("status", "age", "expected"),
    [
        ("pending", 1, "Pending"),
        ("running", 1, "Pending"),
        ("finished", 1, "Succeeded"),
        ("stopped", 1, "Stopped"),
        ("error", 4 * 3600, "Retrying"),
        ("error", 5 * 3600, "Failed"),
    ],
)
def test_a_job_of_an_old_harbor_has_failed_when_ten_attempts_are_over(status: str, age: int, expected: str) -> None:
    job = Job(1, PUSH, "e1", status, T0, T0)
    patience = Patience(10, timedelta(seconds=60))
    assert judge_job(job, now=T0 + timedelta(seconds=age), patience=patience).status == expected


def test_recorded_answers_are_understood() -> None:
    found = Execution.parse(body("0291-executions-ok")[0])
    assert found is not None
    assert (found.id, found.event_type, found.status, found.kind) == (5, PUSH, "Success", "WEBHOOK")
    assert Task.parse(body("0304-tasks-e500")[0]) == Task(16, "Error", 2, datetime(2026, 11, 25, 1, 33, 31, tzinfo=UTC))
    job = Job.parse(body("2813-jobs-ok")[0])
    assert job is not None
    assert (job.id, job.status) == (2, "finished")
    strange: Any
    for strange in (None, [], {}, {"id": "x"}, {"id": 1, "start_time": "0001-01-01T00:00:00Z"}):
        assert Execution.parse(strange) is None
        assert Job.parse(strange) is None


def test_executions_of_one_event_are_known_by_what_they_carry() -> None:
    two = [Execution.parse(row) for row in body("0300-executions-two")]
    assert two[0] is not None
    assert two[1] is not None
    assert two[0].event == two[1].event


def test_one_event_is_the_same_in_all_formats() -> None:
    formats = json.loads((RECORDINGS / "deliveries-formats.json").read_text())
    payloads = [one["body"] if isinstance(one["body"], str) else json.dumps(one["body"]) for one in formats]
    assert len({facts_of(payload).event(PUSH, T0) for payload in payloads}) == 1
    other = json.dumps({**formats[0]["body"], "occur_at": 1795571249})
    assert facts_of(other).event(PUSH, T0) != facts_of(payloads[0]).event(PUSH, T0)
    assert facts_of(payloads[0]).event(PULL, T0) != facts_of(payloads[0]).event(PUSH, T0)


@given(st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.integers()).map(json.dumps)))
@example("<!date^" + "9" * 5000 + "^ ```{}```")
@example("<!date^1^ ```" + "[" * 100_000 + "```")
@example('{"occur_at": ' + "9" * 5000 + "}")
@example('{"occur_at": 1, "event_data": ' + "[" * 100_000)
def test_any_payload_names_some_event(payload: str | None) -> None:
    assert facts_of(payload).event(PUSH, T0)


# Events


def test_an_event_failed_if_any_target_was_not_reached() -> None:
    progress = read(delivery(1, "Succeeded", "a"), delivery(2, "Failed", "a", message="refused"))
    assert progress.deliveries is not None
    assert progress.deliveries.consecutive_failures == 1
    assert progress.triggers[0].last_delivery is not None
    assert progress.triggers[0].last_delivery.status == "Failed"
    assert progress.delivering.reason is DeliveringReason.LAST_DELIVERY_FAILED
    assert "refused" in progress.delivering.message


def test_an_event_is_open_until_all_its_targets_are_settled() -> None:
    [event] = events_of([delivery(1, "Failed", "a"), delivery(2, "Retrying", "a")])
    assert (event.settled, event.status) == (False, "Retrying")


def test_the_newest_settled_event_decides_and_an_open_one_does_not() -> None:
    progress = read(delivery(1, "Failed"), delivery(2, "Succeeded"), delivery(3, "Retrying"))
    assert progress.delivering.reason is DeliveringReason.LAST_DELIVERY_SUCCEEDED
    assert progress.deliveries is not None
    assert progress.deliveries.model_copy(update={"recent": []}) == Deliveries(
        in_progress=1,
        consecutive_failures=0,
        last_success_time=T0 + timedelta(seconds=2),
        last_failure_time=T0 + timedelta(seconds=1),
        last_execution_id=2,
    )


def test_a_failure_behind_an_open_event_is_counted_when_that_is_settled() -> None:
    first = after(read(delivery(1, "Retrying"), delivery(2, "Failed")))
    assert first.deliveries is not None
    assert (first.deliveries.consecutive_failures, first.deliveries.last_execution_id) == (0, 0)
    assert first.condition("Delivering").reason == "LastDeliveryFailed"  # type: ignore[union-attr]
    second = read(delivery(1, "Failed"), delivery(2, "Failed"), before=first)
    assert second.deliveries is not None
    assert (second.deliveries.consecutive_failures, second.deliveries.last_execution_id) == (2, 2)
    assert second.counted == {"Failed": 2}


def test_the_cursor_never_parts_an_event() -> None:
    mixed = [delivery(1, "Failed", "x"), delivery(2, "Retrying", "y"), delivery(3, "Retrying", "y")]
    progress = read(*mixed, delivery(4, "Failed", "x"))
    assert progress.deliveries is not None
    assert progress.deliveries.last_execution_id == 0


def test_the_cursor_stops_at_a_gap() -> None:
    found = (delivery(1, "Failed"), delivery(2, "Failed", "parted"), delivery(9, "Failed"))
    progress = advance(WebhookPolicyStatus(), (PUSH,), [], History(found, gap_after=2))
    assert progress.deliveries is not None
    assert (progress.deliveries.last_execution_id, progress.deliveries.consecutive_failures) == (1, 1)


def test_a_stopped_notification_is_neither_success_nor_failure() -> None:
    before = after(read(delivery(1, "Failed")))
    progress = read(delivery(2, "Stopped"), before=before)
    assert progress.deliveries is not None
    assert progress.deliveries.consecutive_failures == 1
    assert progress.delivering.reason is DeliveringReason.LAST_DELIVERY_FAILED


def test_before_the_first_reading_of_a_process_everything_stays() -> None:
    before = after(read(delivery(1, "Retrying"), delivery(2, "Failed", message="refused")))
    again = advance(before, (PUSH,), [], None)
    assert after(again, before) == before


def test_a_log_that_is_gone_does_not_make_us_forget_what_it_said() -> None:
    before = after(read(delivery(1, "Retrying"), delivery(2, "Failed", message="refused")))
    again = read(delivery(1, "Retrying"), delivery(2, "Failed", message=LOG_GONE), before=before)
    assert after(again, before) == before


def test_history_that_may_not_be_read_changes_nothing_but_the_condition() -> None:
    before = after(read(delivery(1, "Retrying")))
    progress = advance(before, (PUSH,), [], History(forbidden=True))
    assert progress.delivering.reason is DeliveringReason.HISTORY_UNAVAILABLE
    assert (progress.deliveries, progress.triggers) == (before.deliveries, before.triggers)


def test_what_was_swept_before_it_was_read_is_unavailable() -> None:
    progress = advance(WebhookPolicyStatus(), (PUSH,), [LastTrigger("ci", PUSH, T0)], History())
    assert progress.delivering.reason is DeliveringReason.HISTORY_UNAVAILABLE
    assert progress.deliveries is None


def test_a_stuck_event_is_told_until_a_newer_one_is_settled() -> None:
    stuck = delivery(1, "Pending", stuck=True)
    assert read(stuck).delivering.reason is DeliveringReason.DELIVERIES_STUCK
    assert read(stuck, delivery(2, "Succeeded")).delivering.reason is DeliveringReason.LAST_DELIVERY_SUCCEEDED
    lost = delivery(1, "Failed", stuck=True, message=NEVER_SENT)
    before = after(read(lost))
    assert before.condition("Delivering").reason == "DeliveriesStuck"  # type: ignore[union-attr]
    assert read(before=before).delivering.reason is DeliveringReason.DELIVERIES_STUCK


def test_a_switch_above_the_policy_is_told_first_and_afterwards_what_was_known() -> None:
    before = after(read(delivery(1, "Failed", message="refused")))
    off = Delivering(DeliveringReason.GLOBALLY_DISABLED)
    switched = after(advance(before, (PUSH,), [], None, off), before)
    assert switched.condition("Delivering").reason == "GloballyDisabled"  # type: ignore[union-attr]
    on = advance(switched, (PUSH,), [], None)
    assert on.delivering.reason is DeliveringReason.LAST_DELIVERY_FAILED
    assert "refused" in on.delivering.message


def test_a_harbor_that_restarts_its_numbering_is_read_from_the_start_once() -> None:
    before = after(read(delivery(900, "Failed")))
    renumbered = History((delivery(3, "Failed", started=T0, time=T0 + timedelta(hours=1)),), renumbered_from=900)
    status = after(advance(before, (PUSH,), [], renumbered), before)
    assert status.deliveries is not None
    assert (status.deliveries.last_execution_id, status.deliveries.consecutive_failures) == (3, 2)
    again = after(advance(status, (PUSH,), [], renumbered), status)
    assert again == status


def test_the_rows_are_those_of_the_spec() -> None:
    found = [delivery(1, "Succeeded", event_type=PULL), delivery(2, "Succeeded")]
    progress = read(*found, types=(PULL,))
    assert [trigger.event_type for trigger in progress.triggers] == [PULL]
    assert progress.triggers == [
        Trigger(
            event_type=PULL,
            last_trigger_time=found[0].started,
            last_delivery=LastDelivery(status="Succeeded", time=found[0].time, attempts=1),
        )
    ]


def test_the_condition_keeps_its_time_while_its_status_stays() -> None:
    first: list[Condition] = with_delivering(
        Delivering(DeliveringReason.LAST_DELIVERY_FAILED), [], generation=1, now=T0
    )
    second = with_delivering(
        Delivering(DeliveringReason.DELIVERIES_STUCK), first, generation=2, now=T0 + timedelta(hours=1)
    )
    assert second[0].last_transition_time == T0
    assert second[0].observed_generation == 2


# Any order of everything


@dataclass
class Happened:
    """An event in Harbor, with the outcome for each target."""

    number: int
    ids: list[int]
    outcomes: list[str] = field(default_factory=list)

    def deliveries(self) -> list[Delivery]:
        at = T0 + timedelta(seconds=self.number)
        return [
            delivery(number, outcome, f"event {self.number}", started=at, time=at)
            for number, outcome in zip(self.ids, self.outcomes, strict=True)
        ]

    @property
    def settled(self) -> bool:
        return all(outcome in ("Succeeded", "Failed") for outcome in self.outcomes)

    @property
    def failed(self) -> bool:
        return "Failed" in self.outcomes


class Reading(RuleBasedStateMachine):
    """Events happen, settle in any order, are read at any time; the operator keeps nothing but the status."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Happened] = []
        self.status = WebhookPolicyStatus()
        self.counted: Counter[str] = Counter()
        self.history: History | None = None
        self.next_id = 1

    @initialize()
    def first_event(self) -> None:
        """The first reading counts existing events as past; from then on everything is counted."""
        self.happen(1)
        self.read()

    @rule(count=st.integers(1, 3))
    def happen(self, count: int) -> None:
        ids = list(range(self.next_id, self.next_id + count))
        self.next_id += count
        self.events.append(Happened(len(self.events), ids, ["Pending"] * count))

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        happened = [event for event in self.events if not event.settled]
        if not happened:
            return
        event = data.draw(st.sampled_from(happened))
        index = data.draw(st.sampled_from([i for i, o in enumerate(event.outcomes) if o in ("Pending", "Retrying")]))
        event.outcomes[index] = data.draw(st.sampled_from(["Retrying", "Succeeded", "Failed"]))

    @rule(newest=st.integers(0, 5))
    def read(self, newest: int = 5) -> None:
        """As the poll does: all above the cursor, or the newest and the oldest with a gap between."""
        cursor = self.status.deliveries.last_execution_id if self.status.deliveries else 0
        above = [one for event in self.events for one in event.deliveries() if one.id > (cursor or 0)]
        self.history = History(tuple(above))
        if cursor and len(above) > newest + 6:
            oldest = above[:6]
            self.history = History((*oldest, *above[len(above) - newest :]), gap_after=oldest[-1].id)
        self.visit()

    @rule()
    def visit(self) -> None:
        """A visit for any cause: takes in the last reading again."""
        if self.history is None:
            return
        self.write(self.history)

    @rule()
    def restart(self) -> None:
        self.history = None
        self.write(None)

    @rule()
    def lose_a_write(self) -> None:
        """A crash between the reading and the write."""
        kept = self.status
        counted = Counter(self.counted)
        self.read()
        self.status, self.counted, self.history = kept, counted, None

    def write(self, history: History | None) -> None:
        before = self.status
        newest = self.events[-1].number
        rows = [LastTrigger("ci", PUSH, T0 + timedelta(seconds=newest))]
        progress = advance(before, (PUSH,), rows if history else [], history)
        self.status = after(progress, before)
        self.counted.update(progress.counted)
        self._never_goes_back(before)

    def _never_goes_back(self, before: WebhookPolicyStatus) -> None:
        old, new = before.deliveries, self.status.deliveries
        assert before.last_trigger_time is None or self.status.last_trigger_time >= before.last_trigger_time  # type: ignore[operator]
        if old is None:
            return
        assert new is not None
        assert new.last_execution_id >= old.last_execution_id  # type: ignore[operator]
        for name in ("last_success_time", "last_failure_time"):
            assert getattr(old, name) is None or getattr(new, name) >= getattr(old, name)

    @invariant()
    def what_is_below_the_cursor_is_counted_once(self) -> None:
        if self.status.deliveries is None:
            return
        cursor = self.status.deliveries.last_execution_id or 0
        below = [event for event in self.events if event.ids[-1] <= cursor]
        assert all(event.settled for event in below)
        assert not any(event.ids[0] <= cursor < event.ids[-1] for event in self.events), "an event was parted"
        assert self.counted == Counter("Failed" if event.failed else "Succeeded" for event in below)

    def teardown(self) -> None:
        """Once everything is settled and read, the count is the number of failed events since the last success."""
        for event in self.events:
            event.outcomes = ["Failed" if o in ("Pending", "Retrying") else o for o in event.outcomes]
        for _ in range(len(self.events) + 1):
            self.read(5)
        if not self.events:
            return
        results = [event.failed for event in self.events]
        expected = next((i for i, failed in enumerate(reversed(results)) if not failed), len(results))
        assert self.status.deliveries is not None
        assert self.status.deliveries.consecutive_failures == expected
        assert self.status.deliveries.in_progress == 0
        assert self.status.deliveries.last_execution_id == self.events[-1].ids[-1]
        wanted = "LastDeliveryFailed" if results[-1] else "LastDeliverySucceeded"
        assert self.status.condition("Delivering").reason == wanted  # type: ignore[union-attr]


Reading.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestReading = Reading.TestCase
