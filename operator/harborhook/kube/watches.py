"""Additions to kopf's HTTP session: signs of life of its watches, metadata instead of whole objects, and a filter.

handlers.py creates the session with them. The requests are the signs of life: each watch records when it last sent one
to the API server. The API server ends the stream of a watch after some minutes, and kopf reopens it. kopf also closes a
stream that has been silent for a minute, for example because a load balancer has dropped the connection, and retries
while the API server is down. So each working watch sends a request within minutes. A watch that does not is dead, and
its changes would go unnoticed.

The filter removes known versions from lists and streams: most objects of a list, and two of three events of a new
resource, which are echoes of our own writes, whose answers we have read. kopf spends a task and most of a millisecond
on each object that it gets.

kopf begins each watch with a list of its own. The inventory has listed everything just before the first ones, so the
filter ends those lists after their first page, and kopf watches from the version of the inventory's list.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Set
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import aiohttp

from harborhook.api.names import API_VERSION, Body, Key

IsKnown = Callable[[Key, str], bool]
"""Whether this resourceVersion of an object, or a newer one, was taken in already."""
WatchFrom = Callable[[str], str | None]
"""Called with the path of each page of a list of our objects. Returns the version from which to watch without the list;
None if kopf needs it."""

ANSWER_LAG = 0.01
"""Seconds that a change is held back: one of three echoes arrives before the answer to its write was read."""

PARTIAL = "application/json;as={kind};g=meta.k8s.io;v=v1,application/json"
"""Accept header that requests metadata only; an API server without support sends the whole object."""


@dataclass
class Watches:
    """Records the requests of every session that is created with its `trace`. Times are in seconds."""

    clock: Callable[[], float]
    _asked: dict[str, float] = field(default_factory=dict)
    """Time of the last request, by path, which names the kind and the namespace."""

    def expect(self, path: str) -> None:
        """Counts a watch from now on, so that one that never begins is detected too."""
        self._asked.setdefault(path, self.clock())

    def trace(self) -> aiohttp.TraceConfig:
        async def started(_: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
            path, is_watch = request.url.path, request.url.query.get("watch") == "true"
            if is_watch or path in self._asked:  # a watch that has to list first requests the same path
                self._asked[path] = self.clock()

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(started)
        return trace

    def silent(self, limit: float) -> list[str]:
        """Returns the paths of the watches that have sent no request for longer than `limit`."""
        now = self.clock()
        return sorted(path for path, asked in self._asked.items() if now - asked > limit)


def metadata_only(paths: Set[str]) -> aiohttp.TraceConfig:
    """Requests only the metadata of each object in lists and watches at these paths.

    kopf has no option for that. aiohttp documents that a trace may change the headers of a starting request.
    """

    async def started(_: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
        if request.method == "GET" and request.url.path in paths:
            is_watch = request.url.query.get("watch") == "true"
            kind = "PartialObjectMetadata" if is_watch else "PartialObjectMetadataList"
            request.headers["Accept"] = PARTIAL.format(kind=kind)

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(started)
    return trace


class FilteredAnswer(aiohttp.ClientResponse):
    """The session's `response_class`, created by `answering`."""

    is_known: ClassVar[IsKnown]
    watch_from: ClassVar[WatchFrom]

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Reads the head of the answer. The body of a watch then passes through the filter."""
        await super().start(connection)
        if self.status == 200 and self.url.query.get("watch") == "true":
            self.content = cast(aiohttp.StreamReader, _FilteredStream(self.content, type(self).is_known))
        return self

    async def json(self, **options: Any) -> Any:
        """Returns the parsed body without known objects. The API server writes an empty list of metadata as null
        (measured with 1.34), which would make kopf 1.45 fail and end the operator."""
        answer = await super().json(**options)
        if not isinstance(answer, dict) or "items" not in answer:
            return answer
        if answer.get("apiVersion") != API_VERSION:
            return {**answer, "items": answer["items"] or []}
        version = type(self).watch_from(self.url.path)
        if version is not None:
            return {**answer, "metadata": {"resourceVersion": version}, "items": []}
        return {**answer, "items": [item for item in answer["items"] or [] if not self._knows(item)]}

    def _knows(self, item: Body) -> bool:
        metadata = item["metadata"]
        key = Key(item.get("kind", ""), metadata.get("namespace", ""), metadata["name"])
        return type(self).is_known(key, metadata["resourceVersion"])


def answering(is_known: IsKnown, watch_from: WatchFrom) -> type[FilteredAnswer]:
    """Returns a `response_class` that hides from kopf the versions for which `is_known` is true, and the lists for
    which `watch_from` returns a version."""
    return type(
        "FilteredAnswer",
        (FilteredAnswer,),
        {"is_known": staticmethod(is_known), "watch_from": staticmethod(watch_from)},
    )


class _FilteredStream:
    """The body of a watch without known changes. kopf reads it with `iter_chunked`; aiohttp uses the other
    attributes."""

    def __init__(self, content: aiohttp.StreamReader, is_known: IsKnown) -> None:
        self._content = content
        self._is_known = is_known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yields whole lines; each is an event. kopf resumes a broken watch from the last event that it got, so the API
        server repeats the events that were filtered since: at most those of a minute, since bookmarks always pass."""
        begun = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, begun = (begun + chunk).split(b"\n")
            unknown = await self._without_known(lines)
            if unknown:
                yield unknown
        if begun:
            yield begun

    async def _without_known(self, lines: list[bytes]) -> bytes:
        changes = [changed_in(line) for line in lines]
        if any(change is not None and not self._is_known(*change) for change in changes):
            await asyncio.sleep(ANSWER_LAG)
        return b"".join(
            line + b"\n"
            for line, change in zip(lines, changes, strict=True)
            if change is None or not self._is_known(*change)
        )


_CHANGE = re.compile(
    rb'\{"type":"MODIFIED","object":\{"apiVersion":"%s","kind":"(\w+)","metadata":(?=\{)'
    % re.escape(API_VERSION.encode())
)
"""The beginning of the API server's event for a change of one of our objects. No user controls the text before the
metadata."""
_decoder = json.JSONDecoder()


def changed_in(event: bytes) -> tuple[Key, str] | None:
    """Returns key and resourceVersion of the object that a line of a watch reports as changed; None for other lines.

    Only the metadata is decoded. Searching it would not be safe: users may have an annotation named resourceVersion.
    """
    begin = _CHANGE.match(event)
    if begin is None:
        return None
    try:
        metadata, _ = _decoder.raw_decode(event[begin.end() :].decode())
        key = Key(begin[1].decode(), metadata.get("namespace", ""), metadata["name"])
        return key, metadata["resourceVersion"]
    except (ValueError, KeyError):  # kopf handles it
        return None
