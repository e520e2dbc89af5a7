"""Conditions from verdicts, by the rules of kstatus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.base import Condition
from harborhook.api.conditions import MESSAGE_LIMIT, NotReady, Outcome, Reason, Verdict, conditions_for, shorten
from harborhook.foreign_text import printable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)

SUMMARIES = ("Ready", "Stalled", "Reconciling")

each_reason = pytest.mark.parametrize("reason", list(Reason))


def made(verdict: Verdict, previous: list[Condition] | None = None, generation: int = 3) -> dict[str, Condition]:
    """The conditions after a visit, by type."""
    conditions = conditions_for(verdict, previous or [], generation=generation, now=NOW)
    by_type = {condition.type: condition for condition in conditions}
    assert len(by_type) == len(conditions), "a type occurs twice"
    return by_type


def condition(kind: str, status: str, reason: str = "Reconciled") -> Condition:
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "before",
            "observedGeneration": 2,
            "lastTransitionTime": EARLIER,
        }
    )


def summaries(found: dict[str, Condition]) -> dict[str, str]:
    return {kind: found[kind].status for kind in SUMMARIES if kind in found}


# What each outcome means

EXPECTED = {
    Outcome.READY: {"Ready": "True"},
    Outcome.STALLED: {"Ready": "False", "Stalled": "True"},
    Outcome.RECONCILING: {"Ready": "False", "Reconciling": "True"},
    Outcome.UNCHANGED: {"Ready": "Unknown"},
}


@each_reason
def test_a_first_visit_always_makes_ready_and_the_others_only_when_they_are_true(reason: Reason) -> None:
    assert summaries(made(Verdict(reason))) == EXPECTED[reason.outcome]


@each_reason
def test_the_conditions_depend_on_the_verdict_and_not_on_what_was_before(reason: Reason) -> None:
    for before in Reason:
        previous = list(made(Verdict(before)).values())
        expected = dict(EXPECTED[reason.outcome])
        if reason.outcome is Outcome.UNCHANGED:
            expected["Ready"] = EXPECTED[before.outcome]["Ready"]

        assert summaries(made(Verdict(reason), previous)) == expected


@pytest.mark.parametrize("status", ["True", "False", "Unknown"])
def test_suspension_keeps_the_status_of_ready_and_says_so(status: str) -> None:
    found = made(Verdict(Reason.SUSPENDED, "Nothing is written."), [condition("Ready", status)])

    assert (found["Ready"].status, found["Ready"].reason) == (status, "Suspended")
    assert found["Ready"].message == "Nothing is written."
    assert found["Ready"].observed_generation == 3
    assert found["Ready"].last_transition_time == EARLIER


@each_reason
def test_every_condition_carries_reason_message_and_generation(reason: Reason) -> None:
    for kind, found in made(Verdict(reason, "What happened."), generation=7).items():
        assert kind in SUMMARIES
        assert (found.reason, found.message, found.observed_generation) == (reason.value, "What happened.", 7)


@each_reason
def test_without_a_message_the_sentence_of_the_reason_is_shown(reason: Reason) -> None:
    assert reason.sentence
    assert made(Verdict(reason))["Ready"].message == reason.sentence


# Transitions


def test_the_time_of_transition_stays_while_the_status_is_the_same() -> None:
    found = made(Verdict(Reason.NOT_FOUND, "other"), [condition("Ready", "False"), condition("Reconciling", "True")])

    assert found["Ready"].last_transition_time == EARLIER
    assert found["Reconciling"].last_transition_time == EARLIER
    assert found["Ready"].message == "other"


def test_the_time_of_transition_moves_when_the_status_changes() -> None:
    found = made(Verdict(Reason.RECONCILED), [condition("Ready", "False")])

    assert found["Ready"].last_transition_time == NOW


def test_a_condition_that_comes_back_has_a_new_time_of_transition() -> None:
    found = made(Verdict(Reason.ALREADY_EXISTS), [condition("Ready", "False")])

    assert found["Stalled"].last_transition_time == NOW


def test_times_are_in_whole_seconds_and_utc() -> None:
    now = NOW.replace(microsecond=999_999)
    (ready,) = conditions_for(Verdict(Reason.RECONCILED), [], generation=1, now=now)

    assert ready.wire()["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_a_second_visit_with_the_same_outcome_changes_nothing() -> None:
    first = conditions_for(Verdict(Reason.NOT_FOUND, "x"), [], generation=1, now=NOW)
    second = conditions_for(Verdict(Reason.NOT_FOUND, "x"), first, generation=1, now=NOW + timedelta(days=1))

    assert second == first


def test_conditions_of_other_kinds_are_kept_as_they_are() -> None:
    delivering = condition("Delivering", "False", "LastDeliveryFailed")

    for reason in Reason:
        assert made(Verdict(reason), [delivering])["Delivering"] == delivering


# Messages


@pytest.mark.parametrize("length", [0, 1, MESSAGE_LIMIT - 1, MESSAGE_LIMIT])
def test_a_message_that_fits_is_not_touched(length: int) -> None:
    assert shorten("x" * length) == "x" * length


@given(st.text(min_size=MESSAGE_LIMIT + 1, max_size=3 * MESSAGE_LIMIT))
def test_a_message_that_is_too_long_is_cut_visibly(message: str) -> None:
    short = shorten(message)

    assert len(short) == MESSAGE_LIMIT
    assert short == printable(message[: MESSAGE_LIMIT - 1]) + "…"


@each_reason
def test_no_condition_exceeds_the_limit_of_the_schema(reason: Reason) -> None:
    for found in made(Verdict(reason, "ä" * 10_000)).values():
        assert len(found.message) == MESSAGE_LIMIT


# Reasons


def test_reasons_are_distinct_words_in_camel_case() -> None:
    values = [reason.value for reason in Reason]

    assert len(set(values)) == len(values)
    assert all(value.isalpha() and value[0].isupper() for value in values)


def test_a_refusal_says_its_reason_and_carries_when_to_come_back() -> None:
    refusal = NotReady(Reason.NOT_FOUND, "Nothing there.", retry_after=5.0)

    assert str(refusal) == "NotFound: Nothing there."
    assert refusal.verdict == Verdict(Reason.NOT_FOUND, "Nothing there.")
    assert refusal.retry_after == 5.0
