"""Signs of life of kopf's watches: when each of them last asked the API server for something, or had to begin.

The API server ends the stream of a watch after some minutes, and kopf opens it anew. A stream that has gone silent, as
behind a load balancer that has forgotten it, kopf gives up by itself after a minute, and while the API server is out of
order it tries again and again. So whatever happens, each watch asks within minutes; one that does not is dead, and
nobody would hear of changes any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Watches:
    """Hears of the requests of every session that is made with its `trace`. Times are in seconds."""

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
