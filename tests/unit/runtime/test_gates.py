"""A connection whose limits are used up keeps its keys in the queue, where they hold no worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.base import AnyKey, Key
from harborhook.runtime.lanes import Entry, Lane, Lanes
from harborhook.runtime.queue import Cause, Queue
from harness.alone import Clock

WORKERS = 40
BUSY, HEALTHY = (Key("ClusterHarborConnection", "", name) for name in ("busy", "healthy"))


@dataclass
class Room:
    """A gate for so many keys at a time."""

    limit: int = 0
    keys: int = 0
    most: int = 0

    @property
    def is_open(self) -> bool:
        return self.keys < self.limit

    def enter(self) -> None:
        self.keys += 1
        self.most = max(self.most, self.keys)

    def leave(self) -> None:
        self.keys -= 1


@dataclass
class Fixture:
    """A queue with keys named `<connection>-<number>`, and the connections' gates."""

    gates: dict[Key, Room] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.queue = Queue(self.clock, workers=WORKERS, lane_of=_lane_of, gate_of=self.gates.get)

    def add(self, connection: Key, number: int, cause: Cause = Cause.CHANGE, namespace: str = "team") -> list[AnyKey]:
        keys: list[AnyKey] = [Key("HarborProject", namespace, f"{connection.name}-{one}") for one in range(number)]
        for key in keys:
            self.queue.add(key, cause)
        return keys

    def take(self) -> list[AnyKey]:
        """Returns the keys that all free workers get."""
        return [key for key, _ in self.take_with_causes()]

    def take_with_causes(self) -> list[tuple[AnyKey, Cause]]:
        taken = []
        while (found := self.queue._take()) is not None:
            taken.append(found)
        return taken


def _lane_of(key: AnyKey) -> Lane:
    assert isinstance(key, Key)
    if key.kind == "ClusterHarborConnection":
        return Lane()
    name = key.name.partition("-")[0]
    return Lane((name,), key.namespace, Key("ClusterHarborConnection", "", name))


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


def test_a_closed_gate_holds_its_keys_back_and_no_others(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    fixture.add(BUSY, 100)
    others = fixture.add(HEALTHY, 5)

    assert fixture.take() == others


def test_as_many_keys_are_handed_out_as_there_is_room_for(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(3)
    keys = fixture.add(BUSY, 10)

    assert fixture.take() == keys[:3]

    fixture.queue.done(keys[1])
    assert fixture.take() == [keys[3]]
    assert fixture.gates[BUSY].keys == 3


def test_what_waits_keeps_its_order(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    resyncs = fixture.add(BUSY, 3, Cause.RESYNC)
    changes = fixture.add(BUSY, 3, Cause.CHANGE, "other")
    assert fixture.take() == []

    fixture.gates[BUSY].limit = 10

    assert fixture.take() == [*changes[:1], *resyncs[:1], *changes[1:2], *resyncs[1:2], *changes[2:], *resyncs[2:]]


def test_a_change_takes_precedence_over_what_has_waited_at_the_gate(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    fixture.add(BUSY, 3, Cause.RESYNC)
    fixture.take()
    change = Key("HarborProject", "team", "busy-change")
    fixture.queue.add(change, Cause.CHANGE)

    fixture.gates[BUSY].limit = 1

    assert fixture.take() == [change]


def test_news_passes_a_closed_gate(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    fixture.add(BUSY, 10)
    told = Key("HarborProject", "team", "busy-told")
    fixture.queue.add(told, Cause.DELIVERIES)

    assert fixture.take_with_causes() == [(told, Cause.DELIVERIES)]
    assert fixture.gates[BUSY].keys == 0


def test_news_that_passes_leaves_a_visit_behind_that_has_become_due(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    key = Key("HarborProject", "team", "busy-0")
    fixture.queue.add(key, Cause.DELIVERIES)
    fixture.queue.add(key, Cause.RESYNC, after=5)
    fixture.queue._ripen()
    fixture.clock.now += 10

    assert fixture.take_with_causes() == [(key, Cause.DELIVERIES)]
    fixture.queue.done(key)
    assert fixture.take_with_causes() == []
    fixture.gates[BUSY].limit = 1
    assert fixture.take_with_causes() == [(key, Cause.RESYNC)]


@pytest.mark.parametrize("is_entered", [False, True])
def test_a_visit_that_is_due_waits_though_the_key_also_has_news(fixture: Fixture, is_entered: bool) -> None:
    fixture.gates[BUSY] = Room(0)
    key = Key("HarborProject", "team", "busy-0")
    fixture.queue.add(key, Cause.DELIVERIES)
    if is_entered:
        fixture.queue._ripen()
    fixture.queue.add(key, Cause.CHANGE)
    assert fixture.take_with_causes() == []

    fixture.gates[BUSY].limit = 1

    assert fixture.take_with_causes() == [(key, Cause.CHANGE | Cause.DELIVERIES)]


def test_the_check_of_a_connection_passes_the_gate_of_its_own_keys(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(0)
    fixture.add(BUSY, 10)
    fixture.queue.add(BUSY, Cause.RESYNC)

    assert fixture.take() == [BUSY]


def test_a_namespace_gets_its_turn_at_a_narrow_gate(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(2)
    first, second, *_ = fixture.add(BUSY, 100)
    assert fixture.take() == [first, second]
    fixture.clock.now += 1
    (change,) = fixture.add(BUSY, 1, namespace="quiet")

    fixture.queue.done(first)

    assert fixture.take() == [change]


def test_news_and_visits_of_a_namespace_have_one_share_of_the_connection(fixture: Fixture) -> None:
    fixture.gates[BUSY] = Room(100)
    fixture.add(BUSY, 100)
    visits = len(fixture.take())
    for number in range(100):
        fixture.queue.add(Key("HarborProject", "team", f"busy-told-{number}"), Cause.COUNT)

    assert fixture.take() == []
    assert 0 < visits < WORKERS / 2


def test_a_key_leaves_the_gate_that_it_entered(fixture: Fixture) -> None:
    former = fixture.gates[BUSY] = Room(1)
    (key,) = fixture.add(BUSY, 1)
    fixture.take()
    present = fixture.gates[BUSY] = Room(1)

    fixture.queue.done(key)

    assert (former.keys, present.keys) == (0, 0)


def test_a_connection_without_a_gate_holds_nothing_back(fixture: Fixture) -> None:
    assert len(fixture.add(BUSY, 5)) == len(fixture.take())


async def test_a_worker_that_sleeps_is_woken_when_the_gate_opens() -> None:
    fixture = Fixture({BUSY: Room(0)})
    keys = fixture.add(BUSY, 2)
    workers = [asyncio.create_task(fixture.queue.get()) for _ in range(4)]
    await settle()
    assert not any(worker.done() for worker in workers)

    fixture.gates[BUSY].limit = 2
    fixture.queue.wake()
    await settle()

    assert {worker.result()[0] for worker in workers if worker.done()} == set(keys)
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def settle() -> None:
    """Lets all tasks run until each waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_workers_sleep_while_a_gate_is_closed() -> None:
    takes = 0

    class Watched(Queue):
        def _take(self) -> tuple[AnyKey, Cause] | None:
            nonlocal takes
            takes += 1
            return super()._take()

    room = Room(0)
    queue = Watched(Clock(), lane_of=_lane_of, gate_of=lambda _: room)
    queue.add(Key("HarborProject", "team", "busy-0"), Cause.CHANGE)
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0.05)

    assert takes < 5
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


GATES = [Key("ClusterHarborConnection", "", name) for name in "xy"]
LANES = st.builds(
    Lane, st.sampled_from([("x",), ("x", "y"), ()]), st.sampled_from("pq"), st.sampled_from([None, *GATES])
)
STEPS = st.one_of(LANES, st.integers(0, 7), st.tuples(st.sampled_from(GATES), st.integers(0, 4)))


@given(st.lists(STEPS, max_size=80), st.integers(1, 8))
def test_every_key_is_handed_out_once_in_order_and_never_more_than_there_is_room_for(
    steps: list[Lane | int | tuple[Key, int]], workers: int
) -> None:
    """A step enters a key, lets a worker finish, or changes the room behind a gate."""
    rooms = {gate: Room(1) for gate in GATES}
    lanes = Lanes(lambda _: True, Clock(), workers, rooms.get)
    entered: dict[AnyKey, Lane] = {}
    taken: list[AnyKey] = []

    def fill() -> None:
        while True:
            had_room = {gate for gate, room in rooms.items() if room.is_open}
            key = lanes.take()
            if key is None:
                return
            taken.append(key)
            assert entered[key].gate in (*had_room, None)

    def finish(number: int) -> None:
        if number < len(lanes.held):
            lanes.leave(list(lanes.held)[number])

    for step in steps:
        if isinstance(step, Lane):
            key = Key("HarborProject", step.turn, str(len(entered)))
            entered[key] = step
            lanes.enter(step, Entry(0.0, len(entered), key))
        elif isinstance(step, int):
            finish(step)
        else:
            rooms[step[0]].limit = step[1]
        fill()
    for room in rooms.values():
        room.limit = max(room.limit, 1)
    fill()
    while lanes.held:
        finish(0)
        fill()

    assert Counter(taken) == Counter(entered.keys())
    assert lanes.is_empty
    assert not lanes._lines
    assert not lanes._entered
    assert [room.keys for room in rooms.values()] == [0, 0]
    for lane in set(entered.values()):
        assert [key for key in taken if entered[key] == lane] == [key for key in entered if entered[key] == lane]
