"""No change of a user gets lost, whatever the order of events, answers to the operator's writes, and lists.

A model of an API server, of kopf and of the operator's writes. Random steps bring their messages into every order that
is possible; at the end the operator must have visited the last version of each object.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, cast

import pytest
from aiohttp import StreamReader
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harborhook.api.base import ANNOTATION_RECONCILE_AT, API_VERSION, FINALIZER, Key
from harborhook.api.names import Body
from harborhook.inventory import Inventory, View
from harborhook.kube import watches
from harborhook.kube.gateway import Gateway
from harborhook.kube.watches import _FilteredStream
from harborhook.runtime.store import _signature
from harness.alone import Clock, bare_context

KIND = "HarborProject"
NAMES = ("x", "y")
KEYS = st.sampled_from([Key(KIND, "team", name) for name in NAMES])


class Turn:
    """Awaited where other tasks may run."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Cluster:
    """An API server with its log of events."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[Key, Body] = {}
        self.events: list[tuple[str, Body]] = []

    def change(self, key: Key, what: str = "MODIFIED", **metadata: Any) -> Body:
        """Writes an object with these changes; returns the answer."""
        self.version += 1
        body = copy.deepcopy(self.objects[key])
        body["metadata"] |= {**metadata, "resourceVersion": str(self.version)}
        self.objects[key] = body
        if what != "ADDED" and body["metadata"].get("deletionTimestamp") and not body["metadata"]["finalizers"]:
            what = "DELETED"
        if what == "DELETED":
            del self.objects[key]
        self.events.append((what, body))
        return body

    def create(self, key: Key) -> None:
        names = {"name": key.name, "namespace": key.namespace}
        metadata = {**names, "uid": f"uid-{self.version}", "generation": 1, "annotations": {}, "finalizers": []}
        self.objects[key] = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": metadata,
            "spec": {"projectName": key.name},
            "status": {},
        }
        self.change(key, "ADDED")

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Body]:
        """One consistent state, of which the pages arrive one after another."""
        if kind != KIND:
            return
        await Turn()
        listed = list(self.objects.values())
        await Turn()
        for body in listed:
            yield body
            await Turn()

    async def present_version(self) -> Body:
        await Turn()
        found: Body = {"metadata": {"resourceVersion": str(self.version)}}
        await Turn()
        return found


class Chunk:
    """A stream that ends after one chunk."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        yield self.content


class Changes(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster, self.context = Cluster(), bare_context(Clock())
        self.context.gateway = cast(Gateway, self.cluster)
        self.inventory = Inventory(self.context, View(self.context.settings))
        self.read = 0
        """Number of events that the watch has read."""
        self.answers: list[tuple[Key, Body]] = []
        """Answers to the operator's writes that it has not read yet."""
        self.dispatched: defaultdict[str, deque[tuple[str | None, Body]]] = defaultdict(deque)
        """Events that kopf has got, in order for each UID."""
        self.listing: Coroutine[Any, Any, None] | None = None
        self.visited: dict[Key, tuple[Any, ...]] = {}

    # Users

    @rule(key=KEYS)
    def create(self, key: Key) -> None:
        if key not in self.cluster.objects:
            self.cluster.create(key)

    @precondition(lambda self: self.cluster.objects)
    @rule(key=KEYS)
    def edit(self, key: Key) -> None:
        if key in self.cluster.objects:
            self.cluster.change(key, generation=self.cluster.objects[key]["metadata"]["generation"] + 1)

    @precondition(lambda self: self.cluster.objects)
    @rule(key=KEYS, value=st.sampled_from("ab"))
    def annotate(self, key: Key, value: str) -> None:
        if key in self.cluster.objects:
            self.cluster.change(key, annotations={ANNOTATION_RECONCILE_AT: value})

    @precondition(lambda self: self.cluster.objects)
    @rule(key=KEYS)
    def delete(self, key: Key) -> None:
        if key not in self.cluster.objects:
            return
        if self.cluster.objects[key]["metadata"]["finalizers"]:
            self.cluster.change(key, deletionTimestamp="2026-01-01T00:00:00Z")
        else:
            self.cluster.change(key, "DELETED")

    @precondition(lambda self: self.cluster.objects)
    @rule(key=KEYS)
    def replace(self, key: Key) -> None:
        self.delete(key)
        self.create(key)

    # The operator's writes

    @precondition(lambda self: self.cluster.objects and self.context.store._bodies)
    @rule(key=KEYS)
    def write_status(self, key: Key) -> None:
        if key in self.context.store and key in self.cluster.objects:
            self.answers.append((key, self.cluster.change(key)))

    @precondition(lambda self: self.cluster.objects and self.context.store._bodies)
    @rule(key=KEYS)
    def toggle_finalizer(self, key: Key) -> None:
        seen, present = self.context.store.get(key), self.cluster.objects.get(key)
        if seen is None or present is None:
            return
        if seen["metadata"]["resourceVersion"] != present["metadata"]["resourceVersion"]:
            return  # 409
        finalizers = [] if present["metadata"]["finalizers"] else [FINALIZER]
        if finalizers and present["metadata"].get("deletionTimestamp"):
            return
        self.answers.append((key, self.cluster.change(key, finalizers=finalizers)))

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), is_lost=st.booleans())
    def answer(self, data: st.DataObject, is_lost: bool) -> None:
        key, body = self.answers.pop(data.draw(st.integers(0, len(self.answers) - 1)))
        if not is_lost:
            self.context.store.absorb(key, body)

    # kopf

    @precondition(lambda self: self.read < len(self.cluster.events))
    @rule(number=st.integers(1, 4), answered=st.booleans())
    def watch(self, number: int, answered: bool) -> None:
        """The answers may arrive while the filter waits for them."""
        events = self.cluster.events[self.read : self.read + number]
        self.read += len(events)
        lines = b"".join(_line(what, body) for what, body in events)
        run(self._filtered(lines), self._answer_all if answered else lambda: None)

    async def _filtered(self, lines: bytes) -> None:
        stream = _FilteredStream(cast(StreamReader, Chunk(lines)), self.inventory.knows)
        async for chunk in stream.iter_chunked(1):
            for line in chunk.splitlines():
                event = json.loads(line)
                self._dispatch(event["type"], event["object"])

    def _answer_all(self) -> None:
        while self.answers:
            self.context.store.absorb(*self.answers.pop(0))

    @rule(latest_first=st.booleans())
    def keep_up(self, latest_first: bool) -> None:
        """All events so far arrive and are handled, and all visits take place."""
        self._read_all()
        self._handle_all(latest_first=latest_first)
        self._visit_all()

    @rule()
    def lose_the_watch(self) -> None:
        """The API server answers 410: kopf lists, and watches from there on."""
        self.read = len(self.cluster.events)
        self.inventory.doubt()
        for key, body in self.cluster.objects.items():
            if not self.inventory.knows(key, body["metadata"]["resourceVersion"]):
                self._dispatch(None, body)

    def _dispatch(self, what: str | None, body: Body) -> None:
        self.dispatched[body["metadata"]["uid"]].append((what, body))

    @precondition(lambda self: any(self.dispatched.values()))
    @rule(data=st.data())
    def handle(self, data: st.DataObject) -> None:
        uid = data.draw(st.sampled_from(sorted(uid for uid, events in self.dispatched.items() if events)))
        self._handle(*self.dispatched[uid].popleft())

    def _handle(self, what: str | None, body: Body) -> None:
        if what == "DELETED":
            self.inventory.saw_deleted(body)
        else:
            self.inventory.saw(body)

    def _handle_all(self, *, latest_first: bool = False) -> None:
        """kopf keeps the order of events of an object, not that of several objects of one name."""
        for events in list(self.dispatched.values())[:: -1 if latest_first else 1]:
            while events:
                self._handle(*events.popleft())

    # The operator's own list, and its workers

    @rule(steps=st.integers(1, 2))
    def list_on(self, steps: int) -> None:
        for _ in range(steps):
            self._list_on()

    def _list_on(self) -> None:
        """Takes the next step of a listing. RELIST_DELAY is long enough to handle what kopf got before a doubt."""
        if self.listing is None:
            if self.context.doubtful.is_set():
                self._handle_all()
            self.context.doubtful.clear()
            self.listing = self.inventory.list_all()
        try:
            self.listing.send(None)
        except StopIteration:
            self.listing = None

    @rule()
    def visit(self) -> None:
        taken = self.context.queue._take()
        if taken is None:
            return
        key, _ = taken
        assert isinstance(key, Key)
        self.context.queue.done(key)
        if key in self.context.store:
            self.visited[key] = _signature(self.context.store._bodies[key])

    # What has to hold

    @invariant()
    def nothing_is_newer_than_the_cluster(self) -> None:
        for body in self.context.store._bodies.values():
            assert int(body["metadata"]["resourceVersion"]) <= self.cluster.version

    @invariant()
    def no_restore_is_suspected(self) -> None:
        assert not self.context.is_restored.is_set()

    @rule()
    def compare_versions(self) -> None:
        run(self.inventory._read_version(), self._answer_all)

    def teardown(self) -> None:
        self._settle()
        if self.context.doubtful.is_set():
            self._list_on()
            while self.listing is not None:
                self._list_on()
            self._settle()
        present = {key: body["metadata"]["resourceVersion"] for key, body in self.cluster.objects.items()}
        assert {key: body["metadata"]["resourceVersion"] for key, body in self.context.store._bodies.items()} == present
        for key, body in self.cluster.objects.items():
            assert self.visited[key] == _signature(body)

    def _settle(self) -> None:
        """All messages arrive, and all due visits take place. Lost answers stay lost: their events arrive."""
        self.answers.clear()
        self._read_all()
        self._handle_all()
        while self.listing is not None:
            self._list_on()
        self._visit_all()

    def _read_all(self) -> None:
        while self.read < len(self.cluster.events):
            self.watch(4, False)

    def _visit_all(self) -> None:
        while self.context.queue._waiting:
            self.visit()


def run(task: Coroutine[Any, Any, None], meanwhile: Any) -> None:
    """Runs a task to its end; calls `meanwhile` wherever it waits."""
    while True:
        try:
            task.send(None)
        except StopIteration:
            return
        meanwhile()


def _line(what: str, body: Body) -> bytes:
    return json.dumps({"type": what, "object": body}, separators=(",", ":")).encode() + b"\n"


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "ANSWER_LAG", 0)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=200, stateful_step_count=40)
