"""The HTTP session for kopf's lists and watches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import ClientSession, StreamReader, web
from hypothesis import given, settings
from hypothesis import strategies as st

from harborhook.api.base import API_VERSION, Key
from harborhook.api.names import Body
from harborhook.kube.watches import _FilteredStream, answering, changed_in, metadata_only
from harborhook.runtime.store import Store
from harness.app_server import serving

KEY = Key("WebhookPolicy", "team", "hook")


class ApiServer:
    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.items: list[Body] | None = []
        self.metadata: Body = {}
        self.api_version = API_VERSION
        self.stream: list[bytes] = []
        """The chunks that a watch is sent."""
        self.status = 200
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.accepted.append(request.headers["Accept"])
        if self.stream:
            return await self.send_stream(request)
        found: Body = {"apiVersion": self.api_version, "metadata": self.metadata, "items": self.items}
        return web.Response(text=json.dumps(found), content_type="application/json")

    async def send_stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=self.status)
        await answer.prepare(request)
        for chunk in self.stream:
            await answer.write(chunk)
        return answer


class Chunks:
    """A stream that hands out just these chunks."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def known_never(key: Key, version: str) -> bool:
    return False


def needed(path: str) -> None:
    """kopf needs every list."""


def known_below(version: int) -> Store:
    """A store with that version of the object."""
    store = Store(lambda _: [])
    store.upsert(KEY, body_of(version))
    return store


def body_of(version: int, *, spec: Body | None = None, **metadata: Any) -> Body:
    names = {"name": KEY.name, "namespace": KEY.namespace, "resourceVersion": str(version), "uid": "uid-1"}
    return {
        "apiVersion": API_VERSION,
        "kind": KEY.kind,
        "metadata": dict(sorted({**metadata, **names}.items())),
        "spec": spec or {},
    }


def line(body: Body, what: str = "MODIFIED") -> bytes:
    """As the API server writes an event."""
    text = json.dumps({"type": what, "object": body}, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


async def lines_through(api_server: ApiServer, store: Store, *chunks: bytes, query: str = "watch=true") -> list[bytes]:
    """Returns the lines that kopf reads from a stream."""
    api_server.stream = list(chunks)
    async with ClientSession(response_class=answering(store.knows, needed)) as session:
        answer = await session.get(f"{api_server.url}/apis?{query}")
        read = b"".join([chunk async for chunk in answer.content.iter_chunked(1024)])
    return read.splitlines(keepends=True)


@pytest.fixture
async def api_server() -> AsyncIterator[ApiServer]:
    found = ApiServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    async with serving(app) as found.url:
        yield found


async def test_an_empty_list_that_is_written_as_null_is_an_empty_list(api_server: ApiServer) -> None:
    api_server.items = None
    async with ClientSession(response_class=answering(known_never, needed)) as session:
        answer = await session.get(f"{api_server.url}/api/v1/secrets")

        assert (await answer.json())["items"] == []


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/api/v1/secrets?limit=100", "as=PartialObjectMetadataList;"),
        ("/api/v1/secrets?watch=true", "as=PartialObjectMetadata;"),
        ("/api/v1/configmaps", "*/*"),
    ],
)
async def test_metadata_is_asked_for_at_the_named_paths_only(api_server: ApiServer, path: str, accept: str) -> None:
    async with ClientSession(trace_configs=[metadata_only({"/api/v1/secrets"})]) as session:
        await session.get(f"{api_server.url}{path}")

    assert accept in api_server.accepted[0]


# The filter


async def test_what_is_known_is_left_out_of_a_list_which_is_reported(api_server: ApiServer) -> None:
    others = {**body_of(3), "metadata": {**body_of(3)["metadata"], "name": "another"}}
    api_server.items = [body_of(9), body_of(11), others]
    reported: list[str] = []
    async with ClientSession(response_class=answering(known_below(10).knows, reported.append)) as session:
        answer = await session.get(f"{api_server.url}/apis")

        assert await answer.json() == {"apiVersion": API_VERSION, "metadata": {}, "items": [body_of(11), others]}
    assert reported == ["/apis"]


async def test_a_list_that_a_watch_can_do_without_ends_with_its_first_page(api_server: ApiServer) -> None:
    api_server.items, api_server.metadata = [body_of(9), body_of(11)], {"resourceVersion": "12", "continue": "token"}
    versions = {"/apis": "8"}
    async with ClientSession(response_class=answering(known_below(10).knows, versions.get)) as session:
        answer = await session.get(f"{api_server.url}/apis")

        assert await answer.json() == {"apiVersion": API_VERSION, "metadata": {"resourceVersion": "8"}, "items": []}


async def test_a_list_of_others_is_not_touched(api_server: ApiServer) -> None:
    api_server.items, api_server.api_version = [body_of(9)], "meta.k8s.io/v1"
    reported: list[str] = []
    async with ClientSession(response_class=answering(known_below(10).knows, reported.append)) as session:
        answer = await session.get(f"{api_server.url}/api/v1/secrets")

        assert (await answer.json())["items"] == [body_of(9)]
    assert reported == []


async def test_an_echo_of_what_is_known_does_not_get_through(api_server: ApiServer) -> None:
    others = {**body_of(3), "metadata": {**body_of(3)["metadata"], "name": "another"}}
    events = [line(body_of(9)), line(body_of(10)), line(body_of(11)), line(others)]

    assert await lines_through(api_server, known_below(10), *events) == events[2:]


async def test_an_echo_that_comes_before_the_answer_to_its_write_does_not_get_through(api_server: ApiServer) -> None:
    store, asked = known_below(8), []

    def answered(key: Key, version: str) -> bool:
        """Takes in the answer right after the first check of the echo."""
        asked.append(version)
        known = store.knows(key, version)
        store.absorb(KEY, body_of(9))
        return known

    content = _FilteredStream(cast(StreamReader, Chunks([line(body_of(9)), line(body_of(10))])), answered)

    assert [chunk async for chunk in content.iter_chunked(1)] == [line(body_of(10))]
    assert asked == ["9", "9", "10", "10"]


@pytest.mark.parametrize("what", ["ADDED", "DELETED", "BOOKMARK", "ERROR"])
async def test_what_is_no_change_always_gets_through(api_server: ApiServer, what: str) -> None:
    event = line(body_of(9), what)

    assert await lines_through(api_server, known_below(10), event) == [event]


async def test_an_object_that_another_operator_had_gets_through_when_it_comes_into_view(api_server: ApiServer) -> None:
    store = known_below(9)
    store.upsert_foreign(KEY, body_of(10))
    event = line(body_of(10))

    assert await lines_through(api_server, store, event) == [event]


async def test_only_a_watch_is_filtered(api_server: ApiServer) -> None:
    event = line(body_of(9))
    assert await lines_through(api_server, known_below(10), event, query="limit=100") == [event]

    api_server.status = 410
    assert await lines_through(api_server, known_below(10), event) == [event]


async def test_a_line_without_an_end_gets_through(api_server: ApiServer) -> None:
    cut = line(body_of(9))[:-30]

    assert await lines_through(api_server, known_below(10), line(body_of(9)), cut) == [cut]


@pytest.mark.parametrize(
    "cut",
    [b"", b"{}", b"[]", b"null", b"\xff", line(body_of(9))[:100], line(body_of(9)).replace(b"hook", b"\xff")],
)
def test_what_is_not_understood_is_left_to_kopf(cut: bytes) -> None:
    assert changed_in(cut) is None


def test_metadata_without_a_name_or_a_version_are_left_to_kopf() -> None:
    for missing in ("name", "resourceVersion"):
        body = body_of(9)
        del body["metadata"][missing]
        assert changed_in(line(body)) is None


def test_an_object_of_the_cluster_has_no_namespace() -> None:
    metadata = {"name": "default", "resourceVersion": "7"}
    body = {"apiVersion": API_VERSION, "kind": "ClusterHarborConnection", "metadata": metadata}

    assert changed_in(line(body)) == (Key("ClusterHarborConnection", "", "default"), "7")


def test_only_our_own_kinds_are_looked_into() -> None:
    assert changed_in(line({**body_of(9), "apiVersion": "meta.k8s.io/v1"})) is None


NAMES = st.sampled_from(["resourceVersion", "name", "namespace", "uid", "kind", "metadata", "object", "type", "x"])
TEXTS = st.one_of(st.text(), NAMES, st.sampled_from(['"resourceVersion":"1"', "\\", '"', '"},"metadata":{', "1"]))
VALUES = st.recursive(TEXTS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10)
BODIES = st.builds(
    lambda version, texts, value, spec: body_of(
        version, spec=spec, annotations=texts, labels=texts, managedFields=[value], ownerReferences=[value]
    ),
    st.integers(1, 20),
    st.dictionaries(NAMES | st.text(), TEXTS),
    VALUES,
    st.dictionaries(NAMES, VALUES),
)


@given(BODIES)
@settings(deadline=None)
def test_no_text_of_a_person_passes_for_the_version_or_the_name(body: Body) -> None:
    version = body["metadata"]["resourceVersion"]

    assert changed_in(line(body)) == (KEY, version)


@given(st.lists(BODIES, max_size=4), st.lists(st.integers(0, 5000), max_size=6))
@settings(deadline=None)
async def test_however_the_stream_is_cut_each_new_version_gets_through_whole(
    bodies: list[Body], cuts: list[int]
) -> None:
    events = [line(body) for body in bodies]
    stream, places = b"".join(events), sorted({0, *cuts})
    chunks = [stream[begin:end] for begin, end in zip(places, [*places[1:], None], strict=True)]

    content = _FilteredStream(cast(StreamReader, Chunks(chunks)), known_below(10).knows)
    read = b"".join([chunk async for chunk in content.iter_chunked(1)])

    new = [event for event, body in zip(events, bodies, strict=True) if int(body["metadata"]["resourceVersion"]) > 10]
    assert read == b"".join(new)
