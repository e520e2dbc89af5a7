"""Fair shares of the workers, so that a slow Harbor or a busy namespace does not delay others.

The queue enters each due key with its `Lane`, and takes the next key that may run. A lane names the shares that the key
uses, from the widest to the narrowest, and the turn that it takes among keys with the same shares. For example, the
shares are those of one connection, and the turns are the namespaces that use it.

The rule is the same at every level: a share or turn may hold at most twice as many workers as it leaves to others.
Every fifth worker is reserved for shares that hold none. With 40 workers, a single connection used from one namespace
gets 19, a second one gets 8 of the rest, and a dozen that never answer leave one for the next.

A lane may also name a gate. While it is closed, its keys stay in their order and hold no worker, and others with the
same shares are taken.
"""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple, Protocol

from harborhook.api.base import AnyKey, Key

NO_LIMIT = sys.maxsize
FACTOR = 2
"""Workers that may be held for each one left to others."""
RESERVE = 5
"""One of this many workers is reserved for shares that hold none."""


class Lane(NamedTuple):
    shares: tuple[str, ...] = ()
    """From the widest to the narrowest."""
    turn: str = ""
    gate: Key | None = None
    """The connection whose limits hold the key back."""


class Gate(Protocol):
    """Limits how many keys workers hold over one connection."""

    @property
    def is_open(self) -> bool:
        """Whether one more key may be taken."""

    def enter(self) -> None:
        """Counts a key that was taken."""

    def leave(self) -> None:
        """Called when its worker is free again."""


class Entry(NamedTuple):
    """A due key; the smallest entry is first."""

    precedence: float
    version: int
    key: AnyKey


@dataclass
class _Order:
    """The keys with the same shares and gate. The turn with the fewest workers is first; of equal turns, the one with
    the first key."""

    is_current: Callable[[Entry], bool]
    held: Counter[str]
    """Workers by turn; the line's."""
    due: dict[str, list[Entry]] = field(default_factory=dict)
    """By turn."""
    _order: list[tuple[int, Entry, str]] = field(default_factory=list)
    """Each turn's number of workers and first key at its last change; outdated entries are skipped."""

    def enter(self, turn: str, entry: Entry) -> None:
        waiting = self.due.setdefault(turn, [])
        heapq.heappush(waiting, entry)
        if waiting[0] is entry:
            self.update(turn)

    def first(self) -> tuple[Entry, str] | None:
        """Returns the next key and its turn."""
        while self._order:
            held, entry, turn = self._order[0]
            waiting = self.due.get(turn)
            if waiting and waiting[0] is entry and held == self.held[turn]:
                if self.is_current(entry):
                    return entry, turn
                self.remove_first(turn)
                self.update(turn)
            heapq.heappop(self._order)
        return None

    def remove_first(self, turn: str) -> None:
        heapq.heappop(self.due[turn])
        if not self.due[turn]:
            del self.due[turn]

    def update(self, turn: str) -> None:
        """Puts a turn in its place after a change."""
        if turn in self.due:
            heapq.heappush(self._order, (self.held[turn], self.due[turn][0], turn))


@dataclass
class _Line:
    """The keys with the same shares."""

    held: Counter[str] = field(default_factory=Counter)
    """Workers by turn."""
    orders: dict[Key | None, _Order] = field(default_factory=dict)
    """By gate."""

    @property
    def is_due(self) -> bool:
        """Whether any key waits."""
        return any(order.due for order in self.orders.values())

    def firsts(self) -> Iterator[tuple[Key | None, Entry, str]]:
        """Yields each gate with the next key behind it, and that key's turn."""
        for gate, order in list(self.orders.items()):
            first = order.first()
            if first is None:
                del self.orders[gate]
            else:
                yield gate, *first

    def take(self, turn: str, gate: Key | None) -> None:
        self.held[turn] += 1
        self.orders[gate].remove_first(turn)
        self._update(turn)

    def leave(self, turn: str) -> None:
        self.held[turn] -= 1
        if not self.held[turn]:
            del self.held[turn]
        self._update(turn)

    def _update(self, turn: str) -> None:
        for order in self.orders.values():
            order.update(turn)


@dataclass
class Lanes:
    is_current: Callable[[Entry], bool]
    """Whether no other entry has replaced this one."""
    workers: int = NO_LIMIT
    gate_of: Callable[[Key], Gate | None] = lambda _: None
    """Returns the gate that a lane names; None if nothing limits its keys at present."""
    _lines: dict[tuple[str, ...], _Line] = field(default_factory=dict)
    _held: dict[AnyKey, Lane] = field(default_factory=dict)
    _held_by: Counter[str] = field(default_factory=Counter)
    """Workers per share."""
    _entered: dict[AnyKey, Gate] = field(default_factory=dict)
    """The gates that held keys have to leave."""

    @property
    def held(self) -> dict[AnyKey, Lane]:
        """The keys that workers hold."""
        return self._held

    @property
    def is_empty(self) -> bool:
        """Whether no key waits for a worker."""
        return not any(line.is_due for line in self._lines.values())

    def enter(self, lane: Lane, entry: Entry) -> None:
        line = self._lines.setdefault(lane.shares, _Line())
        order = line.orders.setdefault(lane.gate, _Order(self.is_current, line.held))
        order.enter(lane.turn, entry)

    def take(self) -> AnyKey | None:
        """Returns the first key that may run now; it is held until `leave`."""
        best = min(self._firsts(), default=None, key=itemgetter(0))
        if best is None:
            return None
        entry, lane = best
        self._lines[lane.shares].take(lane.turn, lane.gate)
        self._held[entry.key] = lane
        self._held_by.update(lane.shares)
        gate = self._gate(lane.gate)
        if gate is not None:
            gate.enter()
            self._entered[entry.key] = gate
        return entry.key

    def _firsts(self) -> Iterator[tuple[Entry, Lane]]:
        """Yields the first key of each line with room, for each gate that is open."""
        for shares, line in list(self._lines.items()):
            room = self._room(shares)
            if room <= 0:
                continue
            for gate, entry, turn in line.firsts():
                # The first turn holds the fewest workers: if it has no room, no turn has.
                if line.held[turn] < FACTOR * room and self._is_open(gate):
                    yield entry, Lane(shares, turn, gate)
            if not line.orders:
                self._forget_if_unused(shares)

    def _gate(self, name: Key | None) -> Gate | None:
        return None if name is None else self.gate_of(name)

    def _is_open(self, name: Key | None) -> bool:
        gate = self._gate(name)
        return gate is None or gate.is_open

    def leave(self, key: AnyKey) -> None:
        """Frees the worker that held the key."""
        lane = self._held.pop(key, None)
        if lane is None:
            return
        self._held_by.subtract(lane.shares)
        self._lines[lane.shares].leave(lane.turn)
        self._forget_if_unused(lane.shares)
        gate = self._entered.pop(key, None)
        if gate is not None:
            gate.leave()

    def _forget_if_unused(self, shares: tuple[str, ...]) -> None:
        line = self._lines[shares]
        if not line.is_due and not line.held:
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
