"""Checks that each unit test closes the HTTP sessions that it has opened.

Otherwise the garbage collector would report them, at any later moment, in a test that has nothing to do with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

import aiohttp
import pytest


@pytest.fixture(autouse=True)
def all_sessions_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    opened: WeakSet[aiohttp.ClientSession] = WeakSet()
    begin = aiohttp.ClientSession.__init__

    def remember(session: aiohttp.ClientSession, *arguments: Any, **options: Any) -> None:
        begin(session, *arguments, **options)
        opened.add(session)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", remember)
    yield
    assert [session for session in opened if not session.closed] == []
