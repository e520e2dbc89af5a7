"""When the breaker of a connection opens, and for how long it stays open."""

from __future__ import annotations

import pytest

from harborhook.reconcile.breaker import CALM, FIRST_PAUSE, LIMIT, LONGEST_PAUSE, WITHIN, Breaker
from harness.alone import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock)


def unanswered(breaker: Breaker, number: int) -> None:
    for _ in range(number):
        breaker.observe("GET", "/projects", 0)


def test_it_opens_when_so_many_requests_in_a_row_got_no_answer(breaker: Breaker) -> None:
    unanswered(breaker, LIMIT - 1)
    assert not breaker.is_open

    unanswered(breaker, 1)

    assert breaker.is_open


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_answer_shows_that_harbor_works(breaker: Breaker, status: int) -> None:
    unanswered(breaker, LIMIT - 1)
    breaker.observe("GET", "/projects/{project}", status)
    unanswered(breaker, LIMIT - 1)

    assert not breaker.is_open


def test_answers_to_the_connections_own_check_do_not(breaker: Breaker) -> None:
    for _ in range(LIMIT):
        unanswered(breaker, 1)
        breaker.observe("GET", "/systeminfo", 200)
        breaker.observe("GET", "/users/current", 200)

    assert breaker.is_open


def test_one_slow_request_that_is_repeated_with_pauses_opens_nothing(breaker: Breaker, clock: Clock) -> None:
    for _ in range(3 * LIMIT):
        clock.now += WITHIN / (LIMIT - 1) + 1
        unanswered(breaker, 1)

    assert not breaker.is_open


def test_it_is_tried_after_a_pause_that_grows_while_it_opens_again_and_again(breaker: Breaker, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        unanswered(breaker, LIMIT)
        assert breaker.is_open
        opened = clock.now
        while not breaker.may_be_tried:
            clock.now += 1
        pauses.append(clock.now - opened)
        breaker.close()
        assert not breaker.is_open

    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    clock.now += CALM
    unanswered(breaker, LIMIT)
    assert breaker.is_open
    clock.now += FIRST_PAUSE
    assert breaker.may_be_tried
