"""Shares of the workers: a slow or busy one delays only itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.base import Key
from harborhook.runtime.lanes import Entry, Lane, Lanes
from harness.alone import Clock

WORKERS = 40


@dataclass
class Fixture:
    clock: Clock = field(default_factory=Clock)
    lanes: Lanes = field(init=False)
    workers: int = WORKERS
    entered: int = 0

    def __post_init__(self) -> None:
        self.lanes = Lanes(lambda _: True, self.clock, self.workers)

    def enter(self, lane: Lane, number: int = 1, *, precedence: float = 0.0) -> list[Key]:
        """Returns so many due keys, in this order."""
        keys = []
        for _ in range(number):
            self.entered += 1
            keys.append(Key("HarborProject", lane.turn, str(self.entered)))
            self.lanes.enter(lane, Entry(precedence, self.entered, keys[-1]))
        return keys

    def fill(self) -> list[Key]:
        """Returns the keys that all free workers get."""
        taken = []
        while (key := self.lanes.take()) is not None:
            assert isinstance(key, Key)
            taken.append(key)
        return taken

    def proceed(self, visits: int) -> list[Key]:
        """Ends the oldest visits one after the other; returns the keys that their workers get next."""
        taken = []
        for _ in range(visits):
            self.lanes.leave(next(iter(self.lanes.held)))
            taken += self.fill()
        return taken


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


def connection(name: str, namespace: str = "team") -> Lane:
    return Lane((name,), namespace)


def test_a_single_connection_leaves_half_of_the_workers(fixture: Fixture) -> None:
    fixture.enter(connection("slow"), 200)
    assert len(fixture.fill()) == 19

    fixture.enter(connection("healthy"), 200)
    assert len(fixture.fill()) == 8


@pytest.mark.parametrize("slow", range(1, 13))
def test_a_newcomer_finds_a_free_worker_though_many_never_end(fixture: Fixture, slow: int) -> None:
    for number in range(slow - 1):
        fixture.enter(connection(f"slow {number}"), 200)
        fixture.fill()

    (change,) = fixture.enter(connection("healthy"), precedence=1e9)

    assert fixture.fill() == [change]


def test_workers_that_become_free_go_to_those_who_hold_fewer(fixture: Fixture) -> None:
    for name in ("a", "b", "c", "d"):
        fixture.enter(connection(name), 500)
        fixture.fill()
    fixture.proceed(200)

    held = Counter(lane.shares for lane in fixture.lanes.held.values())
    assert max(held.values()) - min(held.values()) <= 1


def test_the_connections_of_one_team_have_a_share_in_common(fixture: Fixture) -> None:
    for number in range(50):
        fixture.enter(Lane(("of teams", "of team a", f"a/{number}"), "a"), 10)
    fixture.fill()
    left = WORKERS - len(fixture.lanes.held)

    fixture.enter(Lane(("of teams", "of team b", "b/x"), "b"), 10)
    fixture.enter(connection("default"), 10)

    taken = Counter(key.namespace for key in fixture.fill())
    assert left >= 12
    assert taken["b"] >= 1
    assert taken["team"] >= 1


def test_a_key_without_a_share_gets_any_worker_that_is_free(fixture: Fixture) -> None:
    for number in range(5):
        fixture.enter(connection(f"slow {number}"), 200)
    fixture.fill()
    (check,) = fixture.enter(Lane(), precedence=float("-inf"))
    fixture.enter(connection("healthy"), 10)

    assert fixture.fill()[0] == check


def test_a_namespace_with_one_change_goes_before_the_backlog_of_another(fixture: Fixture) -> None:
    fixture.enter(connection("default", "busy"), 5000)
    held = fixture.fill()
    (change,) = fixture.enter(connection("default", "quiet"), precedence=1e9)

    fixture.lanes.leave(held[0])

    assert fixture.fill()[0] == change


def test_one_namespace_alone_leaves_room_in_its_connection(fixture: Fixture) -> None:
    fixture.enter(connection("default", "busy"), 5000)
    fixture.fill()

    (change,) = fixture.enter(connection("default", "quiet"), precedence=1e9)

    assert fixture.fill() == [change]


def test_namespaces_that_hold_as_many_workers_go_by_precedence(fixture: Fixture) -> None:
    resyncs = fixture.enter(connection("default", "a"), 2, precedence=30.0)
    (change,) = fixture.enter(connection("default", "b"), precedence=0.0)

    assert fixture.fill() == [change, *resyncs]


def test_within_a_namespace_precedence_decides(fixture: Fixture) -> None:
    resyncs = fixture.enter(connection("default"), 3, precedence=30.0)
    changes = fixture.enter(connection("default"), 3, precedence=0.0)

    assert fixture.fill() == [*changes, *resyncs]


CROWDS = [lambda number: connection(f"c{number}"), lambda number: connection("default", f"n{number}")]
"""More connections than workers, or more namespaces of one connection."""


@pytest.mark.parametrize("lane_of", CROWDS, ids=["connections", "namespaces"])
def test_a_single_change_passes_the_backlogs_of_a_crowd(fixture: Fixture, lane_of: Callable[[int], Lane]) -> None:
    for number in range(2 * WORKERS):
        fixture.enter(lane_of(number), 50)
    fixture.fill()
    fixture.proceed(2 * WORKERS)
    fixture.clock.now = 5.0
    (change,) = fixture.enter(lane_of(-1), precedence=5.0)

    assert change in fixture.proceed(2)


@pytest.mark.parametrize("lane_of", CROWDS, ids=["connections", "namespaces"])
def test_the_backlogs_of_a_crowd_are_served_in_turn(fixture: Fixture, lane_of: Callable[[int], Lane]) -> None:
    crowd = 2 * WORKERS
    lanes = {key: number for number in range(crowd) for key in fixture.enter(lane_of(number), 50)}
    taken = fixture.fill()

    taken += fixture.proceed(10 * crowd)

    served = Counter(lanes[key] for key in taken)
    assert max(served.values()) - min(served[number] for number in range(crowd)) <= 1


@pytest.mark.parametrize("lane_of", CROWDS, ids=["connections", "namespaces"])
def test_resyncs_of_a_crowd_yield_to_a_change_until_they_have_aged(
    fixture: Fixture, lane_of: Callable[[int], Lane]
) -> None:
    resyncs = {key for number in range(2 * WORKERS) for key in fixture.enter(lane_of(number), precedence=30.0)}
    changes = fixture.enter(lane_of(-1), 2)

    fixture.clock.now = 29.0
    assert fixture.lanes.take() == changes[0]

    fixture.clock.now = 30.0
    assert fixture.lanes.take() in resyncs


def test_the_turns_of_a_line_leave_nothing_behind(fixture: Fixture) -> None:
    fixture.enter(connection("default", "busy"), 2 * WORKERS)
    fixture.enter(connection("default", "passing"))
    fixture.fill()

    fixture.proceed(WORKERS // 2)

    (line,) = fixture.lanes._lines.values()
    assert set(line.turns.served) == {"busy"}


def test_an_entry_that_was_replaced_is_not_handed_out(fixture: Fixture) -> None:
    current: set[int] = {2}
    lanes = Lanes(lambda entry: entry.version in current, Clock(), WORKERS)
    key = Key("HarborProject", "team", "x")
    for version in (1, 2):
        lanes.enter(connection("default"), Entry(0.0, version, key))

    assert lanes.take() == key
    current.clear()
    assert lanes.take() is None


def test_what_is_done_leaves_nothing_behind(fixture: Fixture) -> None:
    fixture.enter(connection("default"), 3)
    for key in fixture.fill():
        fixture.lanes.leave(key)

    assert not fixture.lanes._lines
    assert not fixture.lanes._held_by
    assert fixture.lanes.is_empty


SHARES = st.sampled_from([(), ("a",), ("b",), ("teams", "of x", "x/1"), ("teams", "of x", "x/2"), ("teams", "of y")])
LANES = st.builds(Lane, SHARES, st.sampled_from("pq"))


@given(st.lists(st.one_of(LANES, st.integers(0, 7)), max_size=80), st.integers(1, 8))
def test_every_key_is_handed_out_once_and_nobody_holds_too_much(steps: list[Lane | int], workers: int) -> None:
    """A step enters a key, or lets one of the workers finish."""
    fixture = Fixture(workers=workers)
    entered: dict[Key, Lane] = {}
    taken: list[Key] = []

    def fill() -> None:
        while (key := fixture.lanes.take()) is not None:
            assert isinstance(key, Key)
            taken.append(key)
            left = workers - len(fixture.lanes.held)
            for share in entered[key].shares[:1]:
                held = sum(share in lane.shares for lane in fixture.lanes.held.values())
                assert held <= 2 * (left + 1)

    for step in steps:
        if isinstance(step, Lane):
            (key,) = fixture.enter(step)
            entered[key] = step
        elif step < len(fixture.lanes.held):
            fixture.lanes.leave(list(fixture.lanes.held)[step])
        fill()
    while fixture.lanes.held:
        fixture.lanes.leave(next(iter(fixture.lanes.held)))
        fill()

    assert Counter(taken) == Counter(entered.keys())
    assert fixture.lanes.is_empty
