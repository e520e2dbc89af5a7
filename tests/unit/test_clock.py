"""A server's clock, tracked by its answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from harborhook.clock import TOLERANCE, ServerClock
from harness.alone import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def monotonic() -> Clock:
    return Clock()


@pytest.fixture
def clock(monotonic: Clock) -> ServerClock:
    return ServerClock(monotonic)


def hear(clock: ServerClock, time: datetime) -> None:
    clock.hear(format_datetime(time, usegmt=True))


def test_before_the_first_answer_it_is_our_own(clock: ServerClock) -> None:
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_servers_time_counts_and_goes_on_between_its_answers(clock: ServerClock, monotonic: Clock) -> None:
    hear(clock, NOON)
    monotonic.now += 90

    assert clock.now() == NOON + timedelta(seconds=90)


def test_an_answer_that_comes_a_little_late_does_not_set_it_back(clock: ServerClock, monotonic: Clock) -> None:
    hear(clock, NOON)
    monotonic.now += 3.5
    hear(clock, NOON + timedelta(seconds=1))

    assert clock.now() == NOON + timedelta(seconds=3.5)


@pytest.mark.parametrize("step", [timedelta(hours=-1), -2 * TOLERANCE, timedelta(seconds=2), timedelta(days=1)])
def test_it_steps_with_the_servers(clock: ServerClock, step: timedelta) -> None:
    hear(clock, NOON)
    hear(clock, NOON + step)

    assert clock.now() == NOON + step


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "soon",
        "Thu, 01 Jan 2026 25:00:00 GMT",
        "2026-01-01T00:00:00Z",
        "Thu, 01 Jan 2026 00:00:00 +9999999999999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 01 Jan 1970 00:00:00 GMT",
    ],
)
def test_what_is_no_date_changes_nothing(clock: ServerClock, said: str | None) -> None:
    hear(clock, NOON)
    clock.hear(said)

    assert clock.now() == NOON
