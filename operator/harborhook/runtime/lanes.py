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

A lane may also name a gate. While it is closed, its keys stay in their order and hold no worker, and others with the
same shares are taken.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
    """The time until which it yields to keys that yield no more."""
    version: int
    key: AnyKey


@dataclass
class _Turns:
    """The turns of one line."""

    clock: Callable[[], float]
    held: Counter[str] = field(default_factory=Counter)
    """Workers by turn."""
    served: dict[str, int] = field(default_factory=dict)
    """When each turn was last served, as the number of keys taken from all lines. Turns without keys are forgotten."""


@dataclass
class _Order:
    """The keys with the same shares and gate. The turn with the fewest workers is first; of equal turns, one whose
    first key does not yield, and then the one that was not served for longest."""

    is_current: Callable[[Entry], bool]
    turns: _Turns
    due: dict[str, list[Entry]] = field(default_factory=dict)
    """By turn."""
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
            self.update(turn)

    def first(self) -> tuple[Entry, str] | None:
        """Returns the next key and its turn."""
        self._end_yielding()
        while self._order:
            held, _, served, entry, turn = self._order[0]
            waiting = self.due.get(turn)
            is_place = waiting is not None and waiting[0] is entry and (held, served) == self._state(turn)
            if is_place and self.is_current(entry):
                return entry, turn
            heapq.heappop(self._order)
            if is_place:
                self.remove_first(turn)
                self.update(turn)
        return None

    def remove_first(self, turn: str) -> None:
        heapq.heappop(self.due[turn])
        if not self.due[turn]:
            del self.due[turn]

    def update(self, turn: str) -> None:
        """Puts a turn in its place after a change."""
        if turn not in self.due:
            return
        held, served = self._state(turn)
        first = self.due[turn][0]
        yields = first.precedence > self.turns.clock()
        heapq.heappush(self._order, (held, yields, served, first, turn))
        if yields and first.precedence < self._awaited.get(turn, math.inf):
            self._awaited[turn] = first.precedence
            heapq.heappush(self._yielding, (first.precedence, turn))

    def _state(self, turn: str) -> tuple[int, int]:
        """Returns how many workers a turn holds, and when it was served."""
        return self.turns.held[turn], self.turns.served.get(turn, 0)

    def _end_yielding(self) -> None:
        """Orders the turns again whose first key yields no more."""
        now = self.turns.clock()
        while self._yielding and self._yielding[0][0] <= now:
            _, turn = heapq.heappop(self._yielding)
            self._awaited.pop(turn, None)
            self.update(turn)


@dataclass
class _Line:
    """The keys with the same shares."""

    turns: _Turns
    orders: dict[Key | None, _Order] = field(default_factory=dict)
    """By gate."""
    served: int = 0
    """When it was last served, as the number of keys taken from all lines; 0: never."""

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

    def take(self, turn: str, gate: Key | None, number: int) -> None:
        """Takes the first key of a turn, as the key of this number of all lines."""
        self.turns.held[turn] += 1
        self.served = self.turns.served[turn] = number
        self.orders[gate].remove_first(turn)
        self._update(turn)

    def leave(self, turn: str) -> None:
        self.turns.held[turn] -= 1
        if not self.turns.held[turn]:
            del self.turns.held[turn]
            if not any(turn in order.due for order in self.orders.values()):
                self.turns.served.pop(turn, None)
        self._update(turn)

    def _update(self, turn: str) -> None:
        for order in self.orders.values():
            order.update(turn)


@dataclass
class Lanes:
    is_current: Callable[[Entry], bool]
    """Whether no other entry has replaced this one."""
    clock: Callable[[], float]
    """The clock of the entries' precedence."""
    workers: int = NO_LIMIT
    gate_of: Callable[[Key], Gate | None] = lambda _: None
    """Returns the gate that a lane names; None if nothing limits its keys at present."""
    _lines: dict[tuple[str, ...], _Line] = field(default_factory=dict)
    _held: dict[AnyKey, Lane] = field(default_factory=dict)
    _held_by: Counter[str] = field(default_factory=Counter)
    """Workers per share."""
    _entered: dict[AnyKey, Gate] = field(default_factory=dict)
    """The gates that held keys have to leave."""
    _taken: int = 0
    """Number of keys taken so far."""

    @property
    def held(self) -> dict[AnyKey, Lane]:
        """The keys that workers hold."""
        return self._held

    @property
    def is_empty(self) -> bool:
        """Whether no key waits for a worker."""
        return not any(line.is_due for line in self._lines.values())

    def enter(self, lane: Lane, entry: Entry) -> None:
        line = self._lines.setdefault(lane.shares, _Line(_Turns(self.clock)))
        order = line.orders.setdefault(lane.gate, _Order(self.is_current, line.turns))
        order.enter(lane.turn, entry)

    def take(self) -> AnyKey | None:
        """Returns the first key that may run now; it is held until `leave`."""
        now = self.clock()
        best = min(self._firsts(), key=lambda first: self._order_of(first[0], first[1].shares, now), default=None)
        if best is None:
            return None
        entry, lane = best
        self._taken += 1
        self._lines[lane.shares].take(lane.turn, lane.gate, self._taken)
        self._held[entry.key] = lane
        self._held_by.update(lane.shares)
        gate = self._gate(lane.gate)
        if gate is not None:
            gate.enter()
            self._entered[entry.key] = gate
        return entry.key

    def _order_of(self, first: Entry, shares: tuple[str, ...], now: float) -> tuple[bool, bool, int, int, Entry]:
        """Returns the order of a line with this first key: connections, then keys that do not yield, then the line that
        holds the fewest workers, and then the one that was not served for longest."""
        held = self._held_by[shares[-1]] if shares else 0
        return first.precedence != -math.inf, first.precedence > now, held, self._lines[shares].served, first

    def _firsts(self) -> Iterator[tuple[Entry, Lane]]:
        """Yields the first key of each line with room, for each gate that is open."""
        for shares, line in list(self._lines.items()):
            room = self._room(shares)
            if room <= 0:
                continue
            for gate, entry, turn in line.firsts():
                # The first turn holds the fewest workers: if it has no room, no turn has.
                if line.turns.held[turn] < FACTOR * room and self._is_open(gate):
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
        if not line.is_due and not line.turns.held:
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
