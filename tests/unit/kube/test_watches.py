"""The HTTP session for kopf's lists and watches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from harborhook.kube.watches import ListAnswer, metadata_only


class ApiServer:
    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.items: list[object] | None = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.accepted.append(request.headers["Accept"])
        return web.Response(text=json.dumps({"metadata": {}, "items": self.items}), content_type="application/json")


@pytest.fixture
async def api_server() -> AsyncIterator[ApiServer]:
    found = ApiServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = site.name
    yield found
    await runner.cleanup()


async def test_an_empty_list_that_is_written_as_null_is_an_empty_list(api_server: ApiServer) -> None:
    api_server.items = None
    async with ClientSession(response_class=ListAnswer) as session:
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
