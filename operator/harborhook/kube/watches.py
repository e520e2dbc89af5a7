"""Traces on kopf's HTTP session: signs of life of its watches, and metadata instead of whole objects.

Signs of life are the requests: when each watch last sent one to the API server, or had to begin. The API server ends
the stream of a watch after some minutes, and kopf opens it again. kopf itself closes a stream that has been silent for
a minute, for example behind a load balancer that has forgotten it, and retries while the API server is out of order. So
each watch sends a request within minutes in all cases; a watch that does not is dead, and changes would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import aiohttp

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


class ListAnswer(aiohttp.ClientResponse):
    """The session's `response_class`. The API server writes an empty list of metadata as null (measured with 1.34), at
    which kopf 1.45 fails and the operator would end."""

    async def json(self, **options: Any) -> Any:
        answer = await super().json(**options)
        if isinstance(answer, dict) and "items" in answer and answer["items"] is None:
            return {**answer, "items": []}
        return answer
