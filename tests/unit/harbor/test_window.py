"""How many callers may work over one connection: few of them wait for its limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from harborhook.harbor.limiter import Limiter
from harborhook.harbor.window import FEW, Window

SLOTS = 8
FAST = 1e6
"""Requests per second that no test reaches."""


async def settle() -> None:
    """Lets all tasks run until each waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class Harbor:
    """Answers the requests that have been sent when the test says so."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.sent: list[asyncio.Event] = []
        self.callers: set[asyncio.Task[None]] = set()
        self.most = 0
        """The largest number of callers so far."""

    async def request(self) -> None:
        async with self.window.turn():
            answered = asyncio.Event()
            self.sent.append(answered)
            await answered.wait()

    async def call(self, requests: int) -> None:
        for _ in range(requests):
            await self.request()

    def admit(self, requests: int) -> None:
        """Begins callers while the window is open."""
        while self.window.is_open and len(self.callers) < 10 * SLOTS:
            self.window.enter()
            caller = asyncio.create_task(self.call(requests))
            self.callers.add(caller)
            caller.add_done_callback(self._end)
        self.most = max(self.most, len(self.callers))

    def _end(self, caller: asyncio.Task[None]) -> None:
        self.callers.discard(caller)
        self.window.leave()

    async def answer(self, number: int | None = None) -> None:
        """Answers so many requests, or all."""
        answered, self.sent = self.sent[:number], self.sent[len(self.sent[:number]) :]
        for one in answered:
            one.set()
        await settle()

    async def end(self) -> None:
        for caller in self.callers:
            caller.cancel()
        await asyncio.gather(*self.callers, return_exceptions=True)


@asynccontextmanager
async def harbor_with(
    slots: int = SLOTS, per_second: float = FAST, on_room: Callable[[], None] = lambda: None
) -> AsyncIterator[Harbor]:
    harbor = Harbor(Window((Limiter(slots, per_second),), on_room))
    yield harbor
    await harbor.end()


@pytest.mark.parametrize("slots", [1, 2, 8, 30])
async def test_at_first_there_is_one_caller_for_each_concurrent_request(slots: int) -> None:
    async with harbor_with(slots) as harbor:
        harbor.admit(1)

        assert len(harbor.callers) == slots


async def test_a_low_rate_admits_as_many_callers_as_it_lets_through_in_a_second() -> None:
    async with harbor_with(SLOTS, 3) as harbor:
        harbor.admit(1)

        assert len(harbor.callers) == 3


async def test_without_limits_every_caller_is_admitted() -> None:
    window = Window()
    for _ in range(1000):
        window.enter()

    assert window.is_open


@pytest.mark.parametrize("slots", [1, 2, 8])
async def test_a_harbor_that_takes_all_the_time_of_callers_gets_few_that_wait(slots: int) -> None:
    """All requests are answered at the same moment, so that all slots become free at once, again and again."""
    async with harbor_with(slots) as harbor:
        for _ in range(200):
            harbor.admit(3)
            await settle()
            assert len(harbor.sent) == min(slots, len(harbor.callers))
            await harbor.answer()

        assert harbor.most <= slots + FEW + 1


async def test_callers_that_spend_their_time_elsewhere_become_more() -> None:
    """Each caller needs one answer and then does other work, without a request."""
    async with harbor_with() as harbor:
        for _ in range(20 * SLOTS):
            while harbor.window.is_open and harbor.window._callers < 3 * SLOTS:
                harbor.window.enter()
            asking = asyncio.create_task(harbor.request())
            await settle()
            await harbor.answer()
            await asking

        assert harbor.window._callers >= 2 * SLOTS


async def test_while_most_places_are_free_each_answer_admits_another_caller() -> None:
    async with harbor_with() as harbor:
        numbers = []
        for _ in range(5):
            while harbor.window.is_open:
                harbor.window.enter()  # does other work at present
            numbers.append(harbor.window._callers)
            asking = asyncio.create_task(harbor.request())
            await settle()
            await harbor.answer()
            await asking

    assert numbers == [SLOTS, SLOTS + 1, SLOTS + 2, SLOTS + 3, SLOTS + 4]


async def test_while_most_places_are_taken_as_many_answers_as_there_are_callers_admit_another() -> None:
    async with harbor_with() as harbor:
        numbers = []
        for _ in range(2 * SLOTS):
            harbor.admit(100)
            await settle()
            numbers.append(len(harbor.callers))
            await harbor.answer(1)

    assert numbers[:SLOTS] == [SLOTS] * SLOTS
    assert numbers[SLOTS:] == [SLOTS + 1] * SLOTS


async def test_callers_without_requests_do_not_hold_up_each_other() -> None:
    window = Window((Limiter(2, FAST),))
    for _ in range(100):
        while window.is_open:
            window.enter()
        window.leave()

    assert window._callers > 5


async def test_when_all_callers_have_left_it_begins_again_with_one_for_each_concurrent_request() -> None:
    async with harbor_with(2) as harbor:
        harbor.window._size = 50
        harbor.window.enter()
        harbor.window.leave()

        harbor.admit(1)
        assert len(harbor.callers) == 2


async def test_callers_that_have_to_wait_become_fewer() -> None:
    async with harbor_with() as harbor:
        harbor.window._size = 4 * SLOTS
        for _ in range(400):
            harbor.admit(3)
            await settle()
            await harbor.answer(1)

        assert harbor.most == 4 * SLOTS
        assert SLOTS <= len(harbor.callers) <= SLOTS + FEW + 1


async def test_they_become_fewer_one_by_one() -> None:
    async with harbor_with() as harbor:
        harbor.window._size = 4 * SLOTS
        harbor.admit(1)
        await settle()

        assert harbor.window._size == 4 * SLOTS - 1


async def test_nobody_is_admitted_during_a_pause_and_its_end_is_reported() -> None:
    reported = asyncio.Event()
    window = Window((Limiter(SLOTS, FAST),), reported.set)

    window.throttle(0.05)

    assert not window.is_open
    await asyncio.wait_for(reported.wait(), 5)
    assert window.is_open


async def test_a_pause_that_is_extended_is_reported_once_it_is_over() -> None:
    states = []
    reported = asyncio.Event()

    def on_room() -> None:
        states.append(window.is_open)
        reported.set()

    window = Window((Limiter(SLOTS, FAST),), on_room)

    window.throttle(0.02)
    window.throttle(0.1)
    assert not window.is_open  # so that somebody waits for it

    await asyncio.wait_for(reported.wait(), 5)
    assert states == [True]


async def test_after_a_pause_few_callers_find_out_whether_harbor_accepts_requests_again() -> None:
    async with harbor_with() as harbor:
        harbor.window.throttle(0.0)
        numbers = []
        for _ in range(SLOTS):
            harbor.admit(100)
            await settle()
            numbers.append(len(harbor.callers))
            await harbor.answer(1)

    assert numbers == [FEW, FEW + 1, FEW + 2, FEW + 3, SLOTS, SLOTS, SLOTS, SLOTS]


async def test_a_pause_admits_no_more_callers_than_there_are_concurrent_requests() -> None:
    async with harbor_with(2) as harbor:
        harbor.window.throttle(0.0)
        harbor.admit(1)

        assert len(harbor.callers) == 2


@pytest.mark.parametrize(("are_idle", "most"), [(False, SLOTS), (True, 2 * SLOTS)])
async def test_a_harbor_that_throttles_gets_no_more_callers_than_concurrent_requests_until_all_have_left(
    are_idle: bool, most: int
) -> None:
    async with harbor_with() as harbor:
        harbor.window.throttle(0.0)
        if are_idle:
            harbor.window.enter()
            harbor.window.leave()
        for _ in range(2 * SLOTS):
            while harbor.window.is_open and harbor.window._callers < 2 * SLOTS:
                harbor.window.enter()
            asking = asyncio.create_task(harbor.request())
            await settle()
            await harbor.answer()
            await asking

        assert harbor.window._callers == most


async def test_room_is_reported_for_each_caller_that_leaves() -> None:
    reports = 0

    def on_room() -> None:
        nonlocal reports
        reports += 1

    async with harbor_with(2, on_room=on_room) as harbor:
        harbor.admit(1)
        await settle()
        before = reports
        await harbor.answer(1)

        assert reports > before
        assert harbor.window.is_open


async def test_a_pause_that_begins_while_a_request_waits_for_a_limiter_holds_it_back_too() -> None:
    shared = Limiter(1, FAST)
    throttled, other = (Harbor(Window((shared,))) for _ in range(2))
    first = asyncio.create_task(throttled.request())
    await settle()
    second = asyncio.create_task(throttled.request())
    await settle()

    throttled.window.throttle(60)
    await throttled.answer()
    another = asyncio.create_task(other.request())
    await settle()

    assert throttled.sent == []
    assert len(other.sent) == 1  # it got the place
    second.cancel()
    another.cancel()
    await asyncio.gather(first, second, another, return_exceptions=True)


async def test_a_request_that_is_cancelled_leaves_nothing_behind() -> None:
    async with harbor_with(1) as harbor:
        sent, waiting = (asyncio.create_task(harbor.request()) for _ in range(2))
        await settle()

        for task in (sent, waiting):
            task.cancel()
        await asyncio.gather(sent, waiting, return_exceptions=True)

        assert (harbor.window._waiting, harbor.window._sending) == (0, 0)
        again = asyncio.create_task(harbor.request())
        await settle()
        await harbor.answer()
        assert again.done()
