"""The work queue: nothing lost, nothing twice at once, nothing starved."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harborhook.api.base import AnyKey, Key
from harborhook.runtime.queue import AGEING, BACKOFF_FIRST, BACKOFF_LIMIT, Cause, Queue
from harness.alone import Clock

A, B, C = (Key("WebhookPolicy", "team", name) for name in "abc")


@dataclass
class Fixture:
    clock: Clock = field(default_factory=Clock)
    jitter: float = 0.5
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(clock=self.clock, jitter=lambda: self.jitter)

    async def take(self) -> tuple[AnyKey, Cause] | None:
        """Returns a worker's next key now; None if it would have to wait."""
        return await _take(self.queue)

    async def keys(self) -> list[AnyKey]:
        """Returns the keys that many workers get now, in their order."""
        taken = []
        while (found := await self.take()) is not None:
            taken.append(found[0])
        return taken

    async def visit(self) -> tuple[AnyKey, Cause] | None:
        """Takes a key and releases it at once."""
        taken = await self.take()
        if taken is not None:
            self.queue.done(taken[0])
        return taken


async def _take(queue: Queue) -> tuple[AnyKey, Cause] | None:
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    if not waiting.done():
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return None
    return waiting.result()


async def woken(worker: asyncio.Task[tuple[AnyKey, Cause]]) -> tuple[AnyKey, Cause]:
    """Returns what a sleeping worker wakes with; a lost wake-up fails the test instead of blocking it."""
    async with asyncio.timeout(10):
        return await worker


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


# One worker per key


async def test_a_key_that_is_added_twice_is_visited_once_for_both_causes(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    fixture.queue.add(A, Cause.SECRET)

    assert await fixture.take() == (A, Cause.CHANGE | Cause.SECRET)
    assert await fixture.take() is None


async def test_a_key_that_is_held_is_given_to_nobody_else(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.take()

    fixture.queue.add(A, Cause.CHANGE)

    assert await fixture.take() is None
    assert fixture.queue.held == 1


async def test_what_comes_while_a_key_is_held_is_done_once_more_afterwards(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.take()
    fixture.queue.add(A, Cause.SECRET)
    fixture.queue.add(A, Cause.SECRET)

    fixture.queue.done(A)

    assert await fixture.visit() == (A, Cause.SECRET)
    assert await fixture.take() is None


async def test_a_held_key_does_not_keep_others_waiting(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.take()
    fixture.queue.add(A, Cause.CHANGE)
    fixture.queue.add(B, Cause.RESYNC)

    assert await fixture.take() == (B, Cause.RESYNC)


async def test_a_key_that_is_done_is_not_visited_again_by_itself(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.visit()

    assert await fixture.take() is None
    assert fixture.queue.held == 0
    assert not fixture.queue.waits(A)


async def test_a_waiting_worker_wakes_when_a_key_is_added() -> None:
    queue = Queue(clock=Clock())
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.add(A, Cause.CHANGE)

    assert await woken(worker) == (A, Cause.CHANGE)


async def test_a_waiting_worker_wakes_when_a_key_that_was_added_again_is_let_go() -> None:
    queue = Queue(clock=Clock())
    queue.add(A, Cause.CHANGE)
    await queue.get()
    queue.add(A, Cause.SECRET)
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.done(A)

    assert await woken(worker) == (A, Cause.SECRET)


async def test_a_waiting_worker_wakes_when_a_key_becomes_due() -> None:
    queue = Queue(clock=asyncio.get_running_loop().time)
    queue.add(A, Cause.RESYNC, after=0.002)

    assert await woken(asyncio.create_task(queue.get())) == (A, Cause.RESYNC)


async def test_a_worker_that_sleeps_towards_a_late_key_wakes_for_a_sooner_one() -> None:
    queue = Queue(clock=Clock())
    queue.add(A, Cause.RESYNC, after=3600)
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)

    queue.add(B, Cause.CHANGE)

    assert await woken(worker) == (B, Cause.CHANGE)


async def test_every_waiting_worker_gets_a_key_when_several_are_added_at_once() -> None:
    queue = Queue(clock=Clock())
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)

    for key in (A, B, C):
        queue.add(key, Cause.CHANGE)

    assert {key for key, _ in [await woken(worker) for worker in workers]} == {A, B, C}


async def test_a_key_wakes_one_worker_and_not_all_that_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(clock=Clock())
    looks = 0

    def counted() -> tuple[AnyKey, Cause] | None:
        nonlocal looks
        looks += 1
        return Queue._take(queue)

    monkeypatch.setattr(queue, "_take", counted)
    workers = [asyncio.create_task(queue.get()) for _ in range(32)]
    await asyncio.sleep(0)
    looks = 0

    queue.add(A, Cause.CHANGE)
    done, idle = await asyncio.wait(workers, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(5):
        await asyncio.sleep(0)

    assert [worker.result() for worker in done] == [(A, Cause.CHANGE)]
    assert looks <= 4
    for worker in idle:
        worker.cancel()
    await asyncio.gather(*idle, return_exceptions=True)


async def test_only_a_key_that_is_due_before_all_others_wakes_the_idle_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, sleeps = Queue(clock=time.monotonic), 0
    sleep = queue._sleep

    async def counted() -> None:
        nonlocal sleeps
        sleeps += 1
        await sleep()

    monkeypatch.setattr(queue, "_sleep", counted)
    queue.add(A, Cause.POLL, after=60.0)
    waiting = asyncio.create_task(queue.get())
    for after in (61.0, 70.0, 59.0, 65.0):
        queue.add(B, Cause.POLL, after=after)
        for _ in range(5):
            await asyncio.sleep(0)
        queue.drop(B)

    assert sleeps == 2
    waiting.cancel()


async def test_a_worker_that_is_cancelled_takes_no_key_with_it(fixture: Fixture) -> None:
    worker = asyncio.create_task(fixture.queue.get())
    await asyncio.sleep(0)
    fixture.queue.add(A, Cause.CHANGE)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    assert await fixture.take() == (A, Cause.CHANGE)


# Time


@pytest.mark.parametrize("turns", range(6))
async def test_a_worker_that_is_cancelled_while_it_wakes_up_ends(turns: int) -> None:
    queue = Queue(clock=time.monotonic)
    queue.add(A, Cause.RESYNC, after=60)  # so that it sleeps until then
    worker = asyncio.create_task(work_on(queue))
    await asyncio.sleep(0.01)
    queue.add(B, Cause.CHANGE)
    for _ in range(turns):
        await asyncio.sleep(0)

    worker.cancel()

    await asyncio.wait([worker], timeout=5)
    assert worker.cancelled()


async def work_on(queue: Queue) -> None:
    while True:
        key, _ = await queue.get()
        queue.done(key)


async def test_a_queue_that_is_drained_hands_out_nothing_and_waits_for_what_is_held() -> None:
    queue = Queue(clock=time.monotonic)
    queue.add(A, Cause.CHANGE)
    held, _ = await queue.get()
    queue.add(B, Cause.CHANGE)
    draining = asyncio.create_task(queue.drain())
    taking = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert (draining.done(), taking.done()) == (False, False)

    queue.done(held)

    await asyncio.wait_for(draining, 5)
    await asyncio.sleep(0.01)
    assert not taking.done()
    taking.cancel()


async def test_an_idle_queue_is_drained_at_once() -> None:
    await asyncio.wait_for(Queue(clock=time.monotonic).drain(), 5)


async def test_a_connection_takes_precedence_over_all_that_wait_for_it(fixture: Fixture) -> None:
    connection = Key("ClusterHarborConnection", "", "default")
    for key in (A, B, C):
        fixture.queue.add(key, Cause.CHANGE)
    fixture.clock.now += AGEING[Cause.RESYNC] + 60
    fixture.queue.add(connection, Cause.RETRY)

    assert await fixture.keys() == [connection, A, B, C]


async def test_a_key_waits_until_it_is_due(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RETRY, after=10)

    fixture.clock.now += 9.9
    assert await fixture.take() is None
    fixture.clock.now += 0.1
    assert await fixture.take() == (A, Cause.RETRY)


@pytest.mark.parametrize("delays", [(600, 5), (5, 600)])
async def test_the_sooner_of_two_times_wins(fixture: Fixture, delays: tuple[float, float]) -> None:
    for after in delays:
        fixture.queue.add(A, Cause.RESYNC, after=after)

    fixture.clock.now += 5

    assert await fixture.visit() == (A, Cause.RESYNC)
    fixture.clock.now += 1000
    assert await fixture.take() is None


async def test_a_sooner_visit_takes_the_causes_of_the_later_one_with_it(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC, after=600)
    fixture.queue.add(A, Cause.CHANGE)

    assert await fixture.visit() == (A, Cause.CHANGE | Cause.RESYNC)
    assert not fixture.queue.waits(A)


async def test_the_length_counts_what_is_due_and_not_what_is_later(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    fixture.queue.add(A, Cause.RETRY)
    fixture.queue.add(B, Cause.RESYNC, after=60)

    assert len(fixture.queue) == 1
    fixture.clock.now += 60
    assert len(fixture.queue) == 2
    await fixture.keys()
    assert len(fixture.queue) == 0


# Precedence


@pytest.mark.parametrize("weaker", [cause for cause in Cause if cause is not Cause.CHANGE])
async def test_a_change_passes_everything_else_that_is_just_due(fixture: Fixture, weaker: Cause) -> None:
    fixture.queue.add(A, weaker)
    fixture.queue.add(B, Cause.CHANGE)

    assert await fixture.keys() == [B, A]


async def test_a_change_passes_a_thousand_resyncs(fixture: Fixture) -> None:
    for number in range(1000):
        fixture.queue.add(Key("HarborProject", "team", f"p{number}"), Cause.RESYNC)
    fixture.clock.now += AGEING[Cause.RESYNC] - 1
    fixture.queue.add(A, Cause.CHANGE)

    assert await fixture.take() == (A, Cause.CHANGE)


@pytest.mark.parametrize("weaker", [cause for cause in Cause if cause is not Cause.CHANGE])
async def test_what_has_waited_long_enough_takes_precedence_over_a_new_change(fixture: Fixture, weaker: Cause) -> None:
    fixture.queue.add(A, weaker)
    fixture.clock.now += AGEING[weaker]
    fixture.queue.add(B, Cause.CHANGE)

    assert await fixture.keys() == [A, B]


async def test_a_resync_is_visited_although_changes_never_end(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC)
    visited = []
    for number in range(100):
        fixture.queue.add(Key("WebhookPolicy", "busy", f"p{number}"), Cause.CHANGE)
        fixture.clock.now += 1
        taken = await fixture.visit()
        assert taken is not None
        visited.append(taken[0])

    assert A in visited


async def test_a_resync_that_is_added_again_and_again_keeps_its_age(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC)
    for _ in range(int(AGEING[Cause.RESYNC])):
        fixture.clock.now += 1
        fixture.queue.add(A, Cause.RESYNC)
    fixture.queue.add(B, Cause.CHANGE)

    assert await fixture.keys() == [A, B]


async def test_a_resync_to_which_a_change_is_added_goes_with_the_changes(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC)
    fixture.queue.add(B, Cause.RESYNC)
    fixture.queue.add(B, Cause.CHANGE)

    assert await fixture.keys() == [B, A]


async def test_equal_causes_are_visited_in_the_order_in_which_they_came(fixture: Fixture) -> None:
    for key in (C, A, B):
        fixture.queue.add(key, Cause.CHANGE)

    assert await fixture.keys() == [C, A, B]


def test_every_cause_has_an_age() -> None:
    assert set(AGEING) == set(Cause)


# Failures


def test_each_failure_in_a_row_doubles_the_pause(fixture: Fixture) -> None:
    pauses = [fixture.queue.retry(A) for _ in range(5)]

    assert pauses == [BACKOFF_FIRST * factor for factor in (1, 2, 4, 8, 16)]


def test_the_pause_never_exceeds_the_limit_by_more_than_its_jitter(fixture: Fixture) -> None:
    fixture.jitter = 1.0
    pauses = [fixture.queue.retry(A) for _ in range(2000)]

    assert max(pauses) == pauses[-1] == 1.25 * BACKOFF_LIMIT


def test_a_caller_may_set_a_lower_limit(fixture: Fixture) -> None:
    assert [fixture.queue.retry(A, limit=3) for _ in range(4)] == [1, 2, 3, 3]


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
def test_a_pause_is_spread_by_a_quarter_either_way(fixture: Fixture, jitter: float, factor: float) -> None:
    fixture.jitter = jitter

    assert fixture.queue.retry(A) == BACKOFF_FIRST * factor


def test_pauses_of_keys_that_fail_together_differ() -> None:
    queue = Queue(clock=Clock())

    assert len({queue.retry(Key("HarborProject", "team", str(number))) for number in range(20)}) > 1


def test_failures_of_one_key_do_not_slow_another(fixture: Fixture) -> None:
    for _ in range(5):
        fixture.queue.retry(A)

    assert fixture.queue.retry(B) == BACKOFF_FIRST


def test_a_success_lets_the_next_pause_be_short_again(fixture: Fixture) -> None:
    for _ in range(5):
        fixture.queue.retry(A)

    fixture.queue.succeeded(A)

    assert fixture.queue.retry(A) == BACKOFF_FIRST


async def test_a_failed_key_comes_back_after_its_pause_as_a_retry(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.take()
    pause = fixture.queue.retry(A)
    fixture.queue.done(A)

    assert await fixture.take() is None
    fixture.clock.now += pause
    assert await fixture.take() == (A, Cause.RETRY)


async def test_a_change_does_not_wait_for_the_end_of_a_pause(fixture: Fixture) -> None:
    for _ in range(9):
        fixture.queue.retry(A)

    fixture.queue.add(A, Cause.CHANGE)

    assert await fixture.visit() == (A, Cause.CHANGE | Cause.RETRY)


# Deleted keys


async def test_a_dropped_key_is_not_visited_and_its_failures_are_forgotten(fixture: Fixture) -> None:
    for _ in range(5):
        fixture.queue.retry(A)
    fixture.queue.add(A, Cause.CHANGE)

    fixture.queue.drop(A)

    assert not fixture.queue.waits(A)
    assert await fixture.take() is None
    assert fixture.queue.retry(A) == BACKOFF_FIRST


async def test_a_dropped_key_can_come_back(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    fixture.queue.drop(A)
    fixture.queue.add(A, Cause.RESYNC)

    assert await fixture.visit() == (A, Cause.RESYNC)
    assert await fixture.take() is None


async def test_a_key_that_is_dropped_while_it_is_held_is_held_until_it_is_let_go(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.CHANGE)
    await fixture.take()
    fixture.queue.drop(A)
    fixture.queue.add(A, Cause.CHANGE)

    assert await fixture.take() is None
    fixture.queue.done(A)
    assert await fixture.take() == (A, Cause.CHANGE)


def test_dropping_and_letting_go_of_an_unknown_key_does_nothing(fixture: Fixture) -> None:
    fixture.queue.drop(A)
    fixture.queue.done(A)

    assert fixture.queue.held == 0


@pytest.mark.parametrize(
    ("prepare", "waits"),
    [
        (lambda queue: queue.add(A, Cause.RESYNC, after=3600), True),
        (lambda queue: queue.retry(A), True),
        (lambda queue: queue.add(B, Cause.CHANGE), False),
        (lambda queue: queue.succeeded(A), False),
    ],
)
def test_waits_says_whether_a_key_comes_again_by_itself(
    fixture: Fixture, prepare: Callable[[Queue], object], waits: bool
) -> None:
    prepare(fixture.queue)

    assert fixture.queue.waits(A) is waits


# Against a simple model

KEYS = st.sampled_from([Key("HarborProject", "team", name) for name in "pqrst"])
CAUSES = st.lists(st.sampled_from(list(Cause)), min_size=1, max_size=2).map(lambda some: Cause(0) | some[0] | some[-1])


async def test_news_does_not_bring_a_later_drift_check_forward(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC, after=600)
    fixture.queue.add(A, Cause.DELIVERIES)
    assert await fixture.take() == (A, Cause.DELIVERIES)
    fixture.queue.done(A)
    fixture.clock.now += 599
    assert await fixture.take() is None
    fixture.clock.now += 1
    assert await fixture.take() == (A, Cause.RESYNC)


async def test_a_visit_takes_waiting_news_with_it(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.DELIVERIES, after=60)
    fixture.queue.add(A, Cause.CHANGE)
    assert await fixture.take() == (A, Cause.CHANGE | Cause.DELIVERIES)
    assert not fixture.queue.waits(A)


async def test_news_of_several_kinds_is_handed_out_together(fixture: Fixture) -> None:
    fixture.queue.add(A, Cause.RESYNC, after=600)
    fixture.queue.add(A, Cause.DELIVERIES, after=60)
    fixture.queue.add(A, Cause.COUNT)
    assert await fixture.take() == (A, Cause.COUNT | Cause.DELIVERIES)


class QueueMachine(RuleBasedStateMachine):
    """The model: keys held, and for each waiting key its due time, its causes, and since when it is in the line."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.queue = Queue(clock=self.clock, jitter=lambda: 0.5)
        self.waiting: dict[AnyKey, tuple[float, Cause]] = {}
        self.news: dict[AnyKey, tuple[float, Cause]] = {}
        self.held: set[AnyKey] = set()

    def teardown(self) -> None:
        self.loop.close()

    def _added(self, key: AnyKey, cause: Cause, due: float) -> None:
        line = self.news if cause in Cause.NEWS else self.waiting
        before, causes = line.get(key, (due, Cause(0)))
        line[key] = (min(before, due), causes | cause)

    def _dues(self) -> dict[AnyKey, float]:
        keys = self.waiting.keys() | self.news.keys()
        return {key: min(line.get(key, (math.inf,))[0] for line in (self.news, self.waiting)) for key in keys}

    def _causes(self, key: AnyKey, now: float) -> Cause:
        """News alone does not bring a later visit forward; a visit takes the news with it."""
        due, causes = self.waiting.get(key, (math.inf, Cause(0)))
        _, news = self.news.get(key, (math.inf, Cause(0)))
        return news if due > now else causes | news

    @rule(key=KEYS, cause=CAUSES, after=st.sampled_from([0.0, 0.5, 5.0, 60.0]))
    def add(self, key: Key, cause: Cause, after: float) -> None:
        self.queue.add(key, cause, after=after)
        self._added(key, cause, self.clock() + after)

    @rule(key=KEYS)
    def fail(self, key: Key) -> None:
        pause = self.queue.retry(key)
        self._added(key, Cause.RETRY, self.clock() + pause)

    @rule(key=KEYS)
    def succeed(self, key: Key) -> None:
        self.queue.succeeded(key)

    @rule(key=KEYS)
    def drop(self, key: Key) -> None:
        self.queue.drop(key)
        self.waiting.pop(key, None)
        self.news.pop(key, None)

    @rule(seconds=st.sampled_from([0.25, 1.0, 7.0, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        takeable = {
            key: due + min(AGEING[cause] for cause in self._causes(key, due))
            for key, due in self._dues().items()
            if due <= self.clock() and key not in self.held
        }
        taken = self.loop.run_until_complete(_take(self.queue))
        if not takeable:
            assert taken is None, "a key was given out early, or twice"
            return
        assert taken is not None, "a key that is due was not given out"
        key, causes = taken
        assert takeable[key] == min(takeable.values())
        assert causes == self._causes(key, self.clock())
        self.news.pop(key, None)
        if causes not in Cause.NEWS:
            self.waiting.pop(key)
        self.held.add(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.queue.done(key)
        self.held.discard(key)

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.queue.held == len(self.held)
        for name in "pqrst":
            key = Key("HarborProject", "team", name)
            assert self.queue.waits(key) == (key in self._dues())

    @invariant()
    def counts_what_is_due(self) -> None:
        assert len(self.queue) == sum(due <= self.clock() for due in self._dues().values())


QueueMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestQueueMachine = QueueMachine.TestCase


async def test_a_worker_of_a_drained_queue_sleeps_though_keys_are_due() -> None:
    turns = 0

    def clock() -> float:
        nonlocal turns
        turns += 1
        return time.monotonic()

    queue = Queue(clock=clock)
    queue.add(A, Cause.CHANGE)
    await queue.drain()
    taking = asyncio.create_task(queue.get())
    await asyncio.sleep(0.05)

    assert turns < 10
    taking.cancel()
