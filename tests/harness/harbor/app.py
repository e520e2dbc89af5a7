"""The stand-in as an ASGI application."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from .accounts_api import MembersApi, RobotsApi, UsersApi
from .capabilities import capabilities
from .control import Control
from .core import Core
from .deliveries import Deliveries
from .errors import HarborError, internal
from .front_proxy import BAD_REQUEST, core_path
from .http import Headers, Request, Response, Routes, failure
from .pipeline import Pipeline, user_principal
from .principals import ANONYMOUS, Principal
from .projects_api import ProjectsApi
from .quotas_api import QuotasApi
from .registries_api import RegistriesApi, RepositoriesApi
from .registry import Registry
from .settings import Fault, Settings
from .state import Record
from .system_api import SystemApi
from .webhooks_api import WebhooksApi

_LARGEST_BODY = 10 * 1024 * 1024
_LARGEST_HEADERS = 8192
_HEADERS_TOO_LARGE = b"<html><head><title>400 Request Header Or Cookie Too Large</title></head></html>\n"
_REQUESTS_PER_CONNECTION = 1000
_CONNECTIONS_KNOWN = 4096
_ENDLESS_CHUNK = b" " * 65536
_APIS = (
    SystemApi,
    ProjectsApi,
    WebhooksApi,
    QuotasApi,
    RegistriesApi,
    RepositoriesApi,
    UsersApi,
    RobotsApi,
    MembersApi,
)


class Connections:
    """Counts requests per connection: nginx closes a connection after a thousand."""

    def __init__(self) -> None:
        self._requests: dict[Any, int] = {}

    def used_up(self, scope: Scope) -> bool:
        """Counts a request; returns whether it was the connection's last."""
        client = scope.get("client")
        count = self._requests.pop(client, 0) + 1
        if count >= _REQUESTS_PER_CONNECTION:
            return True
        self._requests[client] = count
        if len(self._requests) > _CONNECTIONS_KNOWN:
            del self._requests[next(iter(self._requests))]
        return False


class StandInApp:
    """Harbor's API, the registry and the control API behind one port."""

    def __init__(
        self,
        directory: Path,
        *,
        version: str,
        admin_password: str,
        public_url: str,
        settings: Settings,
        max_attempts: int | None = None,
    ) -> None:
        known = capabilities(version)
        self.core = core = Core(directory, known, settings, admin_password)
        core.external_url = public_url
        routes = Routes()
        for api in _APIS:
            api(core, routes)
        self._pipeline = Pipeline(core, routes)
        self._control = Control(core, self._pipeline)
        self._connections = Connections()
        core.deliveries = Deliveries(
            policies_of=core.state.policies_of,
            notification_enabled=lambda: bool(core.configuration("notification_enable")),
            jobservice_running=lambda: core.settings.jobservice == "running",
            legacy=not known.executions,
            time_scale=settings.time_scale,
            directory=directory,
            public_url=public_url,
            max_attempts=max_attempts or known.default_max_attempts,
        )
        self._registry = core.registry = self._make_registry(directory, public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the application's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.core.deliveries.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.core.deliveries.stop()
                self._registry.close()
                self.core.state.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = core_path(scope["raw_path"])
        if path is None:
            await _read(receive)
            await _send(send, Request(scope, b""), Response(400, "text/html", BAD_REQUEST))
            return
        scope["path"] = path
        if path.startswith(("/v2", "/service/token")):
            await self._serve_registry(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return
        request = Request(scope, body)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > _LARGEST_HEADERS:
            await _send(send, request, Response(400, "text/html", _HEADERS_TOO_LARGE))
            return
        if path.startswith("/_standin/"):
            await _send(send, request, self._control.answer(request))
            return
        fault = self._control.fault(request)
        if fault is None:
            response = _too_large() if len(body) > _LARGEST_BODY else await self._answer(request)
            if self._connections.used_up(scope):
                response.headers.append(("Connection", "close"))
            await _send(send, request, response)
        else:
            await self._fail(receive, send, request, fault)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._pipeline.answer(request)
        except Exception:
            failed = failure(internal())
            self._pipeline.record(request, failed.status)
            await asyncio.sleep(0)
            raise

    async def _serve_registry(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.core.settings.core == "down":
            await _read(receive)
            await _send(send, Request(scope, b""), Response(502, "text/html", b"<html>502 Bad Gateway</html>"))
            return
        request = Request(scope, b"")
        headers, refused = self._pipeline.cookies(request)
        if refused is not None:
            await _read(receive)
            await _send(send, request, refused)
            return
        await self._registry(scope, receive, _adding(send, headers))

    async def _fail(self, receive: Receive, send: Send, request: Request, fault: Fault) -> None:
        carried_out = await self._pipeline.answer(request) if fault.after else None
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.close:
            self._note(request, carried_out, 0)
            await _drop(receive)
            return
        response = _faulty(fault)
        if response is None:
            response = carried_out or await self._answer(request)
        else:
            self._note(request, carried_out, response.status)
        await _send(send, request, response, fault)
        if fault.truncate:
            await _drop(receive)

    def _note(self, request: Request, carried_out: Response | None, status: int) -> None:
        if carried_out is None:
            request.principal = ANONYMOUS
            self._pipeline.record(request, status)

    # used by the registry

    def _make_registry(self, directory: Path, public_url: str) -> Registry:
        core = self.core
        return Registry(
            directory=directory,
            authenticate=self._authenticate,
            project=core.state.project_named,
            may=self._may,
            principal_name=lambda principal: str(principal.name),
            on_event=core.deliveries.trigger,
            charge=core.charge,
            public_url=public_url,
            quota=self._quota,
            read_only=lambda: bool(core.configuration("read_only")),
        )

    def _authenticate(self, name: str, password: str) -> Principal | None:
        core = self.core
        if name.startswith(core.configuration("robot_name_prefix")):
            robot = core.robot(name, password)
            return None if robot is None else Principal("robot", name, robot=robot, how="basic")
        user = core.check_password_now(name, password)
        return None if user is None else user_principal(user, "basic")

    def _may(self, principal: Principal, project: Record, action: str) -> bool:
        return self.core.permissions.project(principal, project, "repository", action)

    def _quota(self, project_id: int) -> tuple[int, int] | None:
        quota = self.core.state.quota_of(project_id)
        return None if quota is None else (quota["hard"]["storage"], quota["used"]["storage"])


def _faulty(fault: Fault) -> Response | None:
    if fault.redirect:
        return Response(fault.status or 302, headers=[("Location", fault.redirect)])
    if fault.status is None and not fault.body and not fault.html and not fault.empty and not fault.endless:
        return None
    kind = "text/html" if fault.html else "application/json"
    body = fault.body or ("<html><body>fault</body></html>" if fault.html else "")
    if not fault.body and not fault.html and not fault.empty and not fault.endless:
        message = "injected fault"
        body = failure(HarborError(fault.status or 500, message, "UNKNOWN")).body.decode()
    return Response(fault.status or 200, kind, body.encode(), list(fault.headers.items()))


def _too_large() -> Response:
    return Response(413, "text/plain; charset=utf-8", b"Request Entity Too Large\n")


async def _drop(receive: Receive) -> None:
    """Closes the connection below the server: ASGI has no message for it, but uvicorn's `receive` knows its
    transport."""
    transport: asyncio.Transport = receive.__self__.transport  # type: ignore[attr-defined]
    transport.close()
    while not receive.__self__.disconnected:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)


async def _read(receive: Receive) -> bytes | None:
    """Returns the body; None if the client disconnects before its end. Harbor's front proxy forwards only complete
    requests."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _adding(send: Send, headers: Headers) -> Send:
    """Returns a `send` that adds these headers to answers."""
    added = [(name.encode(), value.encode()) for name, value in headers]

    async def extended(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return extended


async def _send(send: Send, request: Request, response: Response, fault: Fault | None = None) -> None:
    headers = [(name.encode(), value.encode("utf-8")) for name, value in response.headers]
    if response.content_type:
        headers.append((b"Content-Type", response.content_type.encode()))
    body = b"" if request.method == "HEAD" or (fault and fault.empty) else response.body
    endless = fault is not None and fault.endless
    truncated = fault is not None and fault.truncate
    if not endless:
        headers.append((b"Content-Length", str(len(body) + (1 if truncated else 0)).encode()))
    headers.append((b"X-Request-Id", request.headers.get("x-request-id", str(request.id)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if truncated:
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        return
    while endless:
        await send({"type": "http.response.body", "body": _ENDLESS_CHUNK, "more_body": True})
        await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": body})
