"""Turns at a limiter: none is lost when a waiting request is cancelled or the limit is changed."""

from __future__ import annotations

import asyncio

import pytest

from harborhook.harbor.limiter import Limiter

FAST = 1e9


async def test_a_turn_given_to_a_request_that_is_just_cancelled_goes_to_the_next_one() -> None:
    limiter, has_turn = Limiter(1, FAST), []

    async def ask(name: str) -> None:
        async with limiter.turn():
            has_turn.append(name)

    async with limiter.turn():
        first, second = asyncio.create_task(ask("first")), asyncio.create_task(ask("second"))
        await asyncio.sleep(0.01)
    first.cancel()  # in the same turn of the loop

    async with asyncio.timeout(10):
        await second
    assert first.cancelled()
    assert has_turn == ["second"]


@pytest.mark.parametrize("limit", [3, 1])
async def test_a_changed_limit_applies_to_those_that_wait_already(limit: int) -> None:
    limiter, running = Limiter(2, FAST), []

    async def ask() -> None:
        async with limiter.turn():
            running.append(limiter._running)
            await asyncio.sleep(0.01)

    asking = [asyncio.create_task(ask()) for _ in range(12)]
    await asyncio.sleep(0)
    limiter.configure(limit, FAST)
    await asyncio.gather(*asking)

    assert max(running[6:]) == limit
    assert limiter._running == 0


async def test_random_cancellations_leave_no_turn_taken() -> None:
    limiter = Limiter(3, FAST)

    async def ask(number: int) -> None:
        async with limiter.turn():
            await asyncio.sleep(0.001 * (number % 3))

    asking = [asyncio.create_task(ask(number)) for number in range(300)]
    for number, task in enumerate(asking):
        if number % 2:
            task.cancel()
        if not number % 7:
            await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await asyncio.gather(*asking, return_exceptions=True)

    assert limiter._running == 0
