"""Fair shares of the workers, so that a slow Harbor or a busy namespace does not delay others.

The queue enters each due key with its `Lane`, and takes the next key that may run. A lane names the shares that the key
uses, from the widest to the narrowest, and the turn that it takes among keys with the same shares. For example, the
shares are those of one connection, and the turns are the namespaces that use it.

The rule is the same at every level: a share or turn may hold at most twice as many workers as it leaves to others.
Every fifth worker is reserved for shares that hold none. With 40 workers, a single connection used from one namespace
gets 19, a second one gets 8 of the rest, and a dozen that never answer leave one for the next.

There can be more connections or namespaces with a backlog than workers. A free worker then goes to the one that holds
the fewest, and of equal ones to the one that has waited longest since it was served. If the key that is due longest
were next, a single change would wait until the backlogs of all others are done.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from harborhook.api.base import AnyKey

NO_LIMIT = sys.maxsize
FACTOR = 2
"""Workers that may be held for each one left to others."""
RESERVE = 5
"""One of this many workers is reserved for shares that hold none."""


class Lane(NamedTuple):
    shares: tuple[str, ...] = ()
    """From the widest to the narrowest."""
    turn: str = ""


class Entry(NamedTuple):
    """A due key; the smallest entry is first."""

    precedence: float
    """The time until which it yields to keys that yield no more."""
    version: int
    key: AnyKey


@dataclass
class _Line:
    """The keys with the same shares. The turn with the fewest workers is first; of equal turns, one whose first key
    does not yield, and then the one that was not served for longest."""

    is_current: Callable[[Entry], bool]
    clock: Callable[[], float]
    due: dict[str, list[Entry]] = field(default_factory=dict)
    """By turn."""
    held: Counter[str] = field(default_factory=Counter)
    served: int = 0
    """When it was last served, as the number of keys taken from all lines; 0: never."""
    _served: dict[str, int] = field(default_factory=dict)
    """The same by turn. Turns without keys are forgotten."""
    _order: list[tuple[int, bool, int, Entry, str]] = field(default_factory=list)
    """Each turn's number of workers, whether its first key yields, when it was served, and that key at its last change;
    outdated entries are skipped."""
    _yielding: list[tuple[float, str]] = field(default_factory=list)
    """When to order which turn again, because its first key yields until then."""
    _awaited: dict[str, float] = field(default_factory=dict)
    """The first such time of each turn."""

    def enter(self, turn: str, entry: Entry) -> None:
        waiting = self.due.setdefault(turn, [])
        heapq.heappush(waiting, entry)
        if waiting[0] is entry:
            self._order_again(turn)

    def first(self) -> tuple[Entry, str] | None:
        """Returns the next key and its turn."""
        self._end_yielding()
        while self._order:
            held, _, served, entry, turn = self._order[0]
            waiting = self.due.get(turn)
            if waiting and waiting[0] is entry and (held, served) == (self.held[turn], self._served.get(turn, 0)):
                if self.is_current(entry):
                    return entry, turn
                self._remove_first(turn)
            heapq.heappop(self._order)
        return None

    def take(self, turn: str, number: int) -> None:
        """Takes the first key of a turn, as the key of this number of all lines."""
        self.held[turn] += 1
        self.served = self._served[turn] = number
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
        if turn not in self.due:
            if not self.held[turn]:
                self._served.pop(turn, None)
            return
        first = self.due[turn][0]
        yields = first.precedence > self.clock()
        heapq.heappush(self._order, (self.held[turn], yields, self._served.get(turn, 0), first, turn))
        if yields and first.precedence < self._awaited.get(turn, math.inf):
            self._awaited[turn] = first.precedence
            heapq.heappush(self._yielding, (first.precedence, turn))

    def _end_yielding(self) -> None:
        """Orders the turns again whose first key yields no more."""
        now = self.clock()
        while self._yielding and self._yielding[0][0] <= now:
            _, turn = heapq.heappop(self._yielding)
            self._awaited.pop(turn, None)
            self._order_again(turn)


@dataclass
class Lanes:
    is_current: Callable[[Entry], bool]
    """Whether no other entry has replaced this one."""
    clock: Callable[[], float]
    """The clock of the entries' precedence."""
    workers: int = NO_LIMIT
    _lines: dict[tuple[str, ...], _Line] = field(default_factory=dict)
    _held: dict[AnyKey, Lane] = field(default_factory=dict)
    _held_by: Counter[str] = field(default_factory=Counter)
    """Workers per share."""
    _taken: int = 0
    """Number of keys taken so far."""

    @property
    def held(self) -> dict[AnyKey, Lane]:
        """The keys that workers hold."""
        return self._held

    @property
    def is_empty(self) -> bool:
        """Whether no key waits for a worker."""
        return not any(line.due for line in self._lines.values())

    def enter(self, lane: Lane, entry: Entry) -> None:
        self._lines.setdefault(lane.shares, _Line(self.is_current, self.clock)).enter(lane.turn, entry)

    def take(self) -> AnyKey | None:
        """Returns the first key that may run now; it is held until `leave`."""
        now = self.clock()
        best = min(self._firsts(), key=lambda first: self._order_of(first[0], first[1].shares, now), default=None)
        if best is None:
            return None
        entry, lane = best
        self._taken += 1
        self._lines[lane.shares].take(lane.turn, self._taken)
        self._held[entry.key] = lane
        self._held_by.update(lane.shares)
        return entry.key

    def _order_of(self, first: Entry, shares: tuple[str, ...], now: float) -> tuple[bool, bool, int, int, Entry]:
        """Returns the order of a line with this first key: connections, then keys that do not yield, then the line that
        holds the fewest workers, and then the one that was not served for longest."""
        held = self._held_by[shares[-1]] if shares else 0
        return first.precedence != -math.inf, first.precedence > now, held, self._lines[shares].served, first

    def _firsts(self) -> Iterator[tuple[Entry, Lane]]:
        """Yields the first key of each line with room."""
        for shares, line in list(self._lines.items()):
            room = self._room(shares)
            if room <= 0:
                continue
            found = line.first()
            if found is None:
                self._forget_if_unused(shares)
            # The first turn holds the fewest workers: if it has no room, no turn has.
            elif line.held[found[1]] < FACTOR * room:
                yield found[0], Lane(shares, found[1])

    def leave(self, key: AnyKey) -> None:
        """Frees the worker that held the key."""
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
        """Returns how many more keys the narrowest of these shares may run; less than 1: none."""
        room = self.workers - len(self._held)
        if shares and self._held_by[shares[0]]:
            room -= self.workers // RESERVE
        for share in shares:
            if room <= 0:
                return 0
            room = FACTOR * room - self._held_by[share]
        return room
