"""Fair shares of the workers, so that a slow Harbor or a busy namespace keeps nobody else waiting.

The queue enters each key that is due with its `Lane`, and takes the next one that may be handed out. A lane names the
shares that the key uses, each a part of the one before it, and whose turn it is among those with the same shares: for
example the workers for one connection, and the namespaces that use it.

The rule is the same at every level: a share or turn holds at most twice as many workers as it leaves to the others. And
every fifth worker is kept for shares that hold none. Of 40 workers a single connection that is used from one namespace
gets 19, a second one 8 of the rest, and a dozen that never answer leave one for the next.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from harborhook.api.base import AnyKey

NO_LIMIT = sys.maxsize
FACTOR = 2
"""How many workers may be held for each one that is left to others."""
RESERVE = 5
"""One of so many workers is kept for shares that hold none."""


class Lane(NamedTuple):
    shares: tuple[str, ...] = ()
    """From the widest to the narrowest."""
    turn: str = ""


class Entry(NamedTuple):
    """A key that is due; the smallest goes first."""

    precedence: float
    version: int
    key: AnyKey


@dataclass
class _Line:
    """The keys with the same shares. The turn with the fewest workers comes first; of equals, the first key decides."""

    is_current: Callable[[Entry], bool]
    due: dict[str, list[Entry]] = field(default_factory=dict)
    """By turn."""
    held: Counter[str] = field(default_factory=Counter)
    _order: list[tuple[int, Entry, str]] = field(default_factory=list)
    """What each turn held, and its first key, when either last changed: those that are out of date are passed over."""

    def enter(self, turn: str, entry: Entry) -> None:
        waiting = self.due.setdefault(turn, [])
        heapq.heappush(waiting, entry)
        if waiting[0] is entry:
            self._order_again(turn)

    def first(self) -> tuple[Entry, str] | None:
        """The key to be handed out next and its turn."""
        while self._order:
            held, entry, turn = self._order[0]
            waiting = self.due.get(turn)
            if waiting and waiting[0] is entry and held == self.held[turn]:
                if self.is_current(entry):
                    return entry, turn
                self._remove_first(turn)
            heapq.heappop(self._order)
        return None

    def take(self, turn: str) -> None:
        self.held[turn] += 1
        self._remove_first(turn)

    def leave(self, turn: str) -> None:
        self.held[turn] -= 1
        if not self.held[turn]:
            del self.held[turn]
        self._order_again(turn)

    def _remove_first(self, turn: str) -> None:
        heapq.heappop(self.due[turn])
        if not self.due[turn]:
            del self.due[turn]
        self._order_again(turn)

    def _order_again(self, turn: str) -> None:
        if turn in self.due:
            heapq.heappush(self._order, (self.held[turn], self.due[turn][0], turn))


@dataclass
class Lanes:
    is_current: Callable[[Entry], bool]
    """False for an entry that another one has replaced."""
    workers: int = NO_LIMIT
    _lines: dict[tuple[str, ...], _Line] = field(default_factory=dict)
    _held: dict[AnyKey, Lane] = field(default_factory=dict)
    _held_by: Counter[str] = field(default_factory=Counter)
    """How many workers each share holds."""

    @property
    def held(self) -> dict[AnyKey, Lane]:
        """The keys that workers hold."""
        return self._held

    @property
    def is_empty(self) -> bool:
        """Whether no key waits for a worker."""
        return not any(line.due for line in self._lines.values())

    def enter(self, lane: Lane, entry: Entry) -> None:
        self._lines.setdefault(lane.shares, _Line(self.is_current)).enter(lane.turn, entry)

    def take(self) -> AnyKey | None:
        """The first key that may be handed out now; held until it is left."""
        best = min(self._firsts(), default=None)
        if best is None:
            return None
        entry, lane = best
        self._lines[lane.shares].take(lane.turn)
        self._held[entry.key] = lane
        self._held_by.update(lane.shares)
        return entry.key

    def _firsts(self) -> Iterator[tuple[Entry, Lane]]:
        """What each line would hand out, of those that have room."""
        for shares, line in list(self._lines.items()):
            room = self._room(shares)
            if room <= 0:
                continue
            found = line.first()
            if found is None:
                self._forget_if_unused(shares)
            # The turn that holds the fewest comes first: if it has no room, none has.
            elif line.held[found[1]] < FACTOR * room:
                yield found[0], Lane(shares, found[1])

    def leave(self, key: AnyKey) -> None:
        """The worker that held the key is free again."""
        lane = self._held.pop(key, None)
        if lane is None:
            return
        self._held_by.subtract(lane.shares)
        self._lines[lane.shares].leave(lane.turn)
        self._forget_if_unused(lane.shares)

    def _forget_if_unused(self, shares: tuple[str, ...]) -> None:
        line = self._lines[shares]
        if not line.due and not line.held:
            del self._lines[shares]
        for share in shares:
            if not self._held_by[share]:
                del self._held_by[share]

    def _room(self, shares: tuple[str, ...]) -> int:
        """How many more keys the narrowest of these shares may have handed out; less than 1: none."""
        room = self.workers - len(self._held)
        if shares and self._held_by[shares[0]]:
            room -= self.workers // RESERVE
        for share in shares:
            if room <= 0:
                return 0
            room = FACTOR * room - self._held_by[share]
        return room
