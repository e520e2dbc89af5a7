"""What is put into kopf's HTTP session: signs of life of its watches, metadata instead of whole objects, and a filter.

Signs of life are the requests: when each watch last sent one to the API server, or had to begin. The API server ends
the stream of a watch after some minutes, and kopf opens it again. kopf itself closes a stream that has been silent for
a minute, for example behind a load balancer that has forgotten it, and retries while the API server is out of order. So
each watch sends a request within minutes in all cases; a watch that does not is dead, and changes would go unnoticed.

The filter takes out of lists and streams what is known already: all that the first listing has brought, and two of
three events of a new resource, which are the echoes of our own writes, whose answers we have read. kopf spends a task
and most of a millisecond on each object that it is shown.
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
"""Whether this resourceVersion of an object, or a newer one, has been taken in already."""

ANSWER_LAG = 0.01
"""Seconds that a change waits: one of three echoes comes before the answer to its write has been read."""

PARTIAL = "application/json;as={kind};g=meta.k8s.io;v=v1,application/json"
"""Accept header for metadata alone; an API server that cannot do that sends the whole object."""


@dataclass
class Watches:
    """Sees the requests of every session that is made with its `trace`. Times are in seconds."""

    clock: Callable[[], float]
    _asked: dict[str, float] = field(default_factory=dict)
    """By path, which names the kind and the namespace."""

    def expect(self, path: str) -> None:
        """Lets a watch count from now on, so that one that never begins is found too."""
        self._asked.setdefault(path, self.clock())

    def trace(self) -> aiohttp.TraceConfig:
        async def started(_: Any, __: Any, request: aiohttp.TraceRequestStartParams) -> None:
            path, is_watch = request.url.path, request.url.query.get("watch") == "true"
            if is_watch or path in self._asked:  # a watch that has to list first asks at the same path
                self._asked[path] = self.clock()

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(started)
        return trace

    def silent(self, limit: float) -> list[str]:
        """The watches that have not asked for longer than `limit`, by path."""
        now = self.clock()
        return sorted(path for path, asked in self._asked.items() if now - asked > limit)


def metadata_only(paths: Set[str]) -> aiohttp.TraceConfig:
    """Lets lists and watches at these paths bring the metadata of each object and nothing else.

    kopf cannot ask for that. aiohttp documents that a trace may change the headers of a request that starts.
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
    """The session's `response_class`; get one with `answering`."""

    is_known: ClassVar[IsKnown]
    listed: ClassVar[Callable[[], None]]

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """Reads the head of the answer. The body of a watch is then read through the filter."""
        await super().start(connection)
        if self.status == 200 and self.url.query.get("watch") == "true":
            self.content = cast(aiohttp.StreamReader, _FilteredStream(self.content, type(self).is_known))
        return self

    async def json(self, **options: Any) -> Any:
        """The API server writes an empty list of metadata as null (measured with 1.34), at which kopf 1.45 fails and
        the operator would end."""
        answer = await super().json(**options)
        if not isinstance(answer, dict) or "items" not in answer:
            return answer
        items = answer["items"] or []
        if answer.get("apiVersion") == API_VERSION:
            type(self).listed()
            items = [item for item in items if not self._knows(item)]
        return {**answer, "items": items}

    def _knows(self, item: Body) -> bool:
        metadata = item["metadata"]
        key = Key(item.get("kind", ""), metadata.get("namespace", ""), metadata["name"])
        return type(self).is_known(key, metadata["resourceVersion"])


def answering(is_known: IsKnown, listed: Callable[[], None]) -> type[FilteredAnswer]:
    """The `response_class` that keeps from kopf what `is_known`, and calls `listed` when objects of ours are listed."""
    return type(
        "FilteredAnswer", (FilteredAnswer,), {"is_known": staticmethod(is_known), "listed": staticmethod(listed)}
    )


class _FilteredStream:
    """The body of a watch without what is known. kopf reads it by `iter_chunked`; aiohttp wants the rest."""

    def __init__(self, content: aiohttp.StreamReader, is_known: IsKnown) -> None:
        self._content = content
        self._is_known = is_known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines, of which each is an event. kopf continues a broken watch from the last event that it has got:
        then it is sent again what was left out since, at most a minute of it, for bookmarks are never left out."""
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
"""How the API server begins the change of one of our objects. Nothing before the metadata is of a person's choice."""
_decoder = json.JSONDecoder()


def changed_in(event: bytes) -> tuple[Key, str] | None:
    """The object that a line of a watch reports as changed, and its resourceVersion; None for everything else.

    Only the metadata is decoded. They are, and not searched: a person may have an annotation named resourceVersion.
    """
    begin = _CHANGE.match(event)
    if begin is None:
        return None
    try:
        metadata, _ = _decoder.raw_decode(event[begin.end() :].decode())
        key = Key(begin[1].decode(), metadata.get("namespace", ""), metadata["name"])
        return key, metadata["resourceVersion"]
    except (ValueError, KeyError):  # for kopf to see
        return None
