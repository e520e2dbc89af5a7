"""The event recorder: no repetitions, within the API server's limits, and never an error."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.base import Resource
from harborhook.api.kinds import KINDS
from harborhook.runtime import events
from harborhook.runtime.events import NOTE_LIMIT, REPEAT_AFTER, Recorder
from harborhook.settings import EventSelection


@dataclass
class Fixture:
    """A recorder that appends Events to a list, or whose Events are refused."""

    now: float = 0.0
    refusal: Exception | None = None
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self._post, instance="pod-1", clock=lambda: self.now)

    async def _post(self, namespace: str, event: dict[str, Any]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.posted.append((namespace, event))

    async def say(self, note: str = "Something happened.", *, reason: str = "Updated", uid: str = "uid-1") -> None:
        await self.recorder.record(resource(uid=uid), "Normal", reason, note, action="Reconcile")

    @property
    def event(self) -> dict[str, Any]:
        """The only Event."""
        ((_, event),) = self.posted
        return event


def resource(
    kind: str = "HarborProject", *, name: str = "team-a", namespace: str = "team", uid: str = "uid-1"
) -> Resource:
    metadata = {"name": name, "uid": uid, "resourceVersion": "17", **({"namespace": namespace} if namespace else {})}
    spec: dict[str, Any] = {}
    if kind == "ClusterHarborConnection":
        spec = {
            "url": "https://harbor.example.com",
            "credentialsSecretRef": {"namespace": "x", "name": "y"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        }
    return KINDS[kind].model.model_validate({"kind": kind, "metadata": metadata, "spec": spec})


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


# Content of Events


async def test_an_event_names_the_object_and_says_what_happened(fixture: Fixture) -> None:
    await fixture.recorder.record(resource(), "Warning", "NotFound", "It is not there.", action="Reconcile")

    namespace, event = fixture.posted[0]
    assert namespace == event["metadata"]["namespace"] == "team"
    assert (event["apiVersion"], event["kind"]) == ("events.k8s.io/v1", "Event")
    assert (event["type"], event["reason"], event["note"]) == ("Warning", "NotFound", "It is not there.")
    assert (event["action"], event["reportingInstance"]) == ("Reconcile", "pod-1")
    assert event["regarding"] == {
        "apiVersion": "harborhook.io/v1alpha1",
        "kind": "HarborProject",
        "namespace": "team",
        "name": "team-a",
        "uid": "uid-1",
        "resourceVersion": "17",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["eventTime"])


async def test_an_event_about_a_cluster_scoped_object_is_in_the_default_namespace(fixture: Fixture) -> None:
    connection = resource("ClusterHarborConnection", name="default", namespace="")
    await fixture.recorder.record(connection, "Normal", "Updated", "x", action="Reconcile")

    namespace, event = fixture.posted[0]
    assert namespace == event["metadata"]["namespace"] == "default"
    assert event["regarding"]["namespace"] is None


@pytest.mark.parametrize("name", ["a", "a" * 253, "a" * 199 + "." + "b" * 20, "a" * 198 + "-." + "b" * 20])
async def test_the_name_of_an_event_is_valid_however_long_the_objects_name_is(fixture: Fixture, name: str) -> None:
    await fixture.recorder.record(resource(name=name), "Normal", "Updated", "x", action="Reconcile")

    generated = fixture.event["metadata"]["generateName"] + "x7k2p"
    assert len(generated) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", generated)


async def test_a_note_that_fits_is_said_in_full(fixture: Fixture) -> None:
    await fixture.say("x" * NOTE_LIMIT)

    assert fixture.event["note"] == "x" * NOTE_LIMIT


@given(st.text(alphabet="aä…😀", min_size=1, max_size=5), st.integers(1, 2 * NOTE_LIMIT))
def test_a_note_never_has_more_bytes_than_the_api_server_takes(some: str, times: int) -> None:
    note = some * times
    fixture = Fixture()
    asyncio.run(fixture.say(note))

    said = fixture.event["note"]
    assert len(said.encode()) <= NOTE_LIMIT
    if said != note:
        assert said.endswith("…")
        assert note.startswith(said[:-1])
        assert len(said.encode()) > NOTE_LIMIT - 4, "more was cut than necessary"


# Once


async def test_the_same_sentence_about_the_same_object_is_said_once(fixture: Fixture) -> None:
    for _ in range(3):
        await fixture.say()

    assert len(fixture.posted) == 1


async def test_other_objects_reasons_and_sentences_are_told_apart(fixture: Fixture) -> None:
    await fixture.say()
    await fixture.say(uid="uid-2")
    await fixture.say(reason="Created")
    await fixture.say("Something else happened.")

    assert len(fixture.posted) == 4


async def test_a_sentence_is_said_again_after_an_hour(fixture: Fixture) -> None:
    await fixture.say()
    fixture.now = REPEAT_AFTER - 1
    await fixture.say()
    assert len(fixture.posted) == 1

    fixture.now = REPEAT_AFTER
    await fixture.say()
    assert len(fixture.posted) == 2

    fixture.now = REPEAT_AFTER + 1
    await fixture.say()
    assert len(fixture.posted) == 2


async def test_a_sentence_that_is_repeated_all_the_time_is_still_said_every_hour(fixture: Fixture) -> None:
    for _ in range(4 * 60):
        await fixture.say()
        fixture.now += 60

    assert len(fixture.posted) == 4


async def test_what_is_remembered_has_a_bound(fixture: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 10)
    for number in range(100):
        await fixture.say(uid=f"uid-{number}")

    assert len(fixture.recorder._recorded) == 10
    await fixture.say(uid="uid-99")
    assert len(fixture.posted) == 100, "the newest was forgotten"


# Never an error


@pytest.mark.parametrize("refusal", [RuntimeError("forbidden"), TimeoutError(), ValueError()])
async def test_a_refused_event_is_no_error(fixture: Fixture, refusal: Exception) -> None:
    fixture.refusal = refusal

    await fixture.say()

    assert fixture.posted == []


async def test_an_event_that_was_refused_can_be_said_later(fixture: Fixture) -> None:
    fixture.refusal = RuntimeError("the API server is away")
    await fixture.say()
    fixture.refusal = None

    await fixture.say()

    assert len(fixture.posted) == 1


async def test_a_cancelled_worker_is_not_held_up_by_an_event() -> None:
    async def post(namespace: str, event: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    recorder = Recorder(post, instance="pod-1", clock=lambda: 0.0)
    task = asyncio.create_task(recorder.record(resource(), "Normal", "Updated", "x", action="Reconcile"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


# Which are recorded


@pytest.mark.parametrize(
    ("selection", "recorded"),
    [
        ("all", ["Created", "Adopted", "Updated", "Recreated"]),
        ("changes", ["Updated", "Recreated"]),
        ("warnings", ["Recreated"]),
    ],
)
async def test_only_the_selected_events_are_recorded(
    fixture: Fixture, selection: EventSelection, recorded: list[str]
) -> None:
    fixture.recorder.selection = selection

    for reason in ("Created", "Adopted", "Updated"):
        await fixture.say(reason=reason)
    await fixture.recorder.record(resource(), "Warning", "Recreated", "It was removed.", action="Reconcile")

    assert [event["reason"] for _, event in fixture.posted] == recorded
