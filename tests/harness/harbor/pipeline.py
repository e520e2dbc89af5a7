"""Processes a request before and after its handler: cookies, login, read-only mode, broken parts, costs."""

from __future__ import annotations

import asyncio
import base64
import inspect
import time
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from .core import Core
from .errors import HarborError, internal, unauthorized
from .http import API, Headers, Request, Response, Routes, failure
from .principals import ANONYMOUS, Principal
from .sessions import CSRF_COOKIE, CSRF_HEADER, new_token
from .state import Record

READ_ONLY = HarborError(403, "The system is in read only mode. Any modification is prohibited.", "DENIED")
_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
_LOG_LENGTH = 1_000_000
_CREDENTIALS_KEPT = 4096

_PAGE_NOT_FOUND = b"""<!DOCTYPE HTML>
<html>
<head>
<meta charset="utf-8">
<title>404 - Page Not Found</title>
</head>
<body>
    <div id="content">
        <div id="main-body">
            <div>
                <span class="status-code">404</span>
                <span class="status-text">Page Not Found</span>
            </div>
            <div class="status-subtitle">
                <p><a href="/harbor" class="underline">Home</a></p>
            </div>
        </div>
    </div>
</body>
</html>
"""
_BAD_GATEWAY = b"""<html>\r
<head><title>502 Bad Gateway</title></head>\r
<body>\r
<center><h1>502 Bad Gateway</h1></center>\r
<hr><center>nginx</center>\r
</body>\r
</html>\r
"""
_UNAVAILABLE = b"""<!DOCTYPE html>
<html lang="en">
    <head>
        <meta http-equiv="Content-Type" content="text/html; charset=UTF-8">
        <title>Service Unavailable</title>
    </head>
    <body>
        <h1>503 Service Unavailable</h1>
    </body>
</html>
"""
_PORTAL = b"<!DOCTYPE html><html><head><title>Harbor</title></head><body>Loading...</body></html>\n"


@dataclass(slots=True)
class Logged:
    """One line of the request log."""

    id: int
    method: str
    path: str
    query: str
    user: str
    auth: str
    status: int
    agent: str
    """The User-Agent."""
    time: float


class Pipeline:
    """Turns a request into its answer."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        self._routes = routes
        self._credentials: dict[str, tuple[str, str] | None] = {}
        self._count = 0
        self.log: deque[Logged] = deque(maxlen=_LOG_LENGTH)

    async def answer(self, request: Request) -> Response:
        """Returns the answer, with the configured delay, and adds it to the log."""
        self._count += 1
        request.id = self._count
        request.principal = ANONYMOUS
        if self._core.settings.latency_ms > 0:
            await asyncio.sleep(self._core.settings.latency_ms / 1000)
        response = await self._broken(request) or await self._in_core(request)
        self.record(request, response.status)
        return response

    def record(self, request: Request, status: int) -> None:
        """Add to the request log."""
        principal = request.principal
        agent = request.headers.get("user-agent", "")
        self.log.append(
            Logged(
                request.id,
                request.method,
                request.path,
                request.raw_query,
                principal.name,
                principal.how,
                status,
                agent,
                time.time(),
            )
        )

    async def _broken(self, request: Request) -> Response | None:
        settings = self._core.settings
        if settings.core == "down":
            return Response(502, "text/html", _BAD_GATEWAY)
        if not request.path.startswith(("/api/", "/c/")):
            return self._portal(request)
        return None

    def _portal(self, request: Request) -> Response:
        if request.path == "/":
            return Response(200, "text/html", _PORTAL)
        return Response(404, "text/html; charset=utf-8", _PAGE_NOT_FOUND)

    async def _in_core(self, request: Request) -> Response:
        """Runs Harbor's middlewares in their order. A refusal by one of them starts no session."""
        csrf_headers, refused = self._check_cookies(request)
        if refused is not None:
            return refused
        fresh = self._fresh_session(request)
        try:
            request.principal = await self._who(request)
            self._check_read_only(request)
            self._check_database(request)
        except HarborError as error:
            return self._finish(failure(error), csrf_headers, None)
        try:
            response = await self._dispatch(request)
        except HarborError as error:
            response = failure(error)
        return self._finish(response, csrf_headers, fresh)

    def _finish(self, response: Response, csrf: Headers, fresh: str | None) -> Response:
        response.headers += csrf
        if fresh is not None and not any(value.startswith("sid=") for _, value in response.headers):
            response.headers.append(_sid_cookie(fresh))
        return response

    # cookies

    def cookies(self, request: Request) -> tuple[Headers, Response | None]:
        """For the registry: returns the cookies of its answer, or the refusal. Core's session and CSRF middlewares also
        cover `/v2/` and `/service/` (measured on Harbor 2.16)."""
        headers, refused = self._check_cookies(request)
        fresh = None if refused is not None else self._fresh_session(request)
        return headers if fresh is None else [*headers, _sid_cookie(fresh)], refused

    def _check_cookies(self, request: Request) -> tuple[Headers, Response | None]:
        """Returns the headers for an allowed request, or the answer that refuses it."""
        cookies = request.cookies()
        request.sid = cookies.get("sid")
        headers, refusal = self._check_csrf(request, cookies.get(CSRF_COOKIE))
        if self._core.settings.redis == "down" and self._core.capabilities.redis_down_is_503:
            return headers, Response(503, "text/html; charset=utf-8", _UNAVAILABLE, headers)
        if refusal is None:
            return headers, None
        refused = failure(refusal)
        refused.headers += headers
        return headers, refused

    def _fresh_session(self, request: Request) -> str | None:
        """A request without a valid session starts one; with Redis down none is valid. The login pages handle their
        own."""
        if request.path.startswith("/c/"):
            return None
        sessions = self._core.sessions
        alive = request.sid is not None and self._core.settings.redis == "up" and sessions.alive(request.sid)
        return None if alive else sessions.anonymous()

    def _check_csrf(self, request: Request, cookie: str | None) -> tuple[Headers, HarborError | None]:
        """With a `sid`, and for every login, gorilla/csrf applies: each answer has a token, each write needs one."""
        if request.sid is None and not request.path.startswith("/c/"):
            return [], None
        csrf = self._core.csrf
        token = csrf.open(cookie)
        refusal = csrf.refusal(request.method, token, request.headers.get(CSRF_HEADER))
        headers = []
        if token is None:
            token = new_token()
            secure = "; Secure" if self._core.external_url.startswith("https://") else ""
            value = f"{CSRF_COOKIE}={csrf.seal(token)}; Path=/; Max-Age={int(csrf.lifetime)}; HttpOnly{secure}"
            headers.append(("Set-Cookie", f"{value}; SameSite=Strict"))
        headers.append(("X-Harbor-Csrf-Token", csrf.mask(token)))
        return headers, refusal

    # caller

    async def _who(self, request: Request) -> Principal:
        """Tries Basic credentials first, then a session; wrong credentials make the caller anonymous, not an error."""
        header = request.headers.get("authorization")
        if header:
            credentials = self._parse_basic(header)
            if credentials is not None:
                principal = await self._basic(*credentials)
                if principal is not None:
                    return principal
        return self._session(request)

    def _parse_basic(self, header: str) -> tuple[str, str] | None:
        if header in self._credentials:
            return self._credentials[header]
        kind, _, value = header.partition(" ")
        found = None
        if kind.lower() == "basic":
            try:
                name, _, password = base64.b64decode(value).decode().partition(":")
                found = (name, password)
            except ValueError:
                found = None
        if len(self._credentials) > _CREDENTIALS_KEPT:
            self._credentials.clear()
        self._credentials[header] = found
        return found

    async def _basic(self, name: str, password: str) -> Principal | None:
        if self._core.settings.database == "down":
            return None
        if name.startswith(self._core.configuration("robot_name_prefix")):
            robot = self._core.robot(name, password)
            return None if robot is None else Principal("robot", name, robot=robot, how="basic")
        user = await self._core.check_password(name, password)
        return None if user is None else user_principal(user, "basic")

    def _session(self, request: Request) -> Principal:
        if request.sid is None or self._core.settings.redis == "down":
            return ANONYMOUS
        user_id = self._core.sessions.user(request.sid)
        if user_id is None:
            return ANONYMOUS
        user = self._core.state.table("users").get(user_id)
        return Principal("user", "", user_id, how="session") if user is None else user_principal(user, "session")

    # modes

    def _check_read_only(self, request: Request) -> None:
        if request.method in _SAFE or not self._core.configuration("read_only"):
            return
        if request.path != f"{API}/configurations" and not request.path.startswith("/c/"):
            raise READ_ONLY

    def _check_database(self, request: Request) -> None:
        """Without a database writes fail at once; reads fail in their handlers (see `_dispatch`)."""
        if self._core.settings.database == "down" and request.method not in _SAFE:
            raise internal()

    def _database_answers(self, request: Request) -> None:
        path = request.path.removeprefix(API)
        if self._core.settings.database == "up" or path in ("/ping", "/health", "/systeminfo"):
            return
        asks_for_login = path.startswith("/users/current") or request.method == "HEAD"
        raise unauthorized() if asks_for_login and not request.principal.authenticated else internal()

    # handlers

    async def _dispatch(self, request: Request) -> Response:
        if request.path.startswith("/c/"):
            return await self._login_pages(request)
        if not request.path.startswith(f"{API}/"):
            return Response(404, "text/html; charset=utf-8", _PAGE_NOT_FOUND)
        self._database_answers(request)
        handler = self._routes.find(request)
        _check_accept(request)
        result = handler(request)
        if inspect.isawaitable(result):
            return await result
        return result

    async def _login_pages(self, request: Request) -> Response:
        if request.path == "/c/login" and request.method == "POST":
            return await self._login(request)
        if request.path == "/c/log_out" and request.method == "GET":
            if request.sid:
                self._core.sessions.end(request.sid)
            return Response(200, headers=[_sid_cookie(self._core.sessions.anonymous())])
        return Response(404, "text/html; charset=utf-8", _PAGE_NOT_FOUND)

    async def _login(self, request: Request) -> Response:
        """Logs in users only; a robot gets 401 like a wrong password."""
        form = parse_qs(request.body.decode("latin-1"))
        name, password = (form.get(field, [""])[0] for field in ("principal", "password"))
        user = await self._core.check_password(name, password)
        if user is None:
            return Response(401)
        return Response(200, headers=[_sid_cookie(self._core.sessions.login(user["user_id"]))])


def user_principal(user: Record, how: str) -> Principal:
    """The principal of a user."""
    return Principal("user", user["username"], user["user_id"], user["sysadmin_flag"], how=how)


def _sid_cookie(sid: str) -> tuple[str, str]:
    return "Set-Cookie", f"sid={sid}; Path=/; HttpOnly"


def _check_accept(request: Request) -> None:
    accept: Any = request.headers.get("accept")
    if not accept or "*/*" in accept or "application/json" in accept or "application/*" in accept:
        return
    if request.path.endswith(("/ping", "/log")) and "text/plain" in accept:
        return
    raise HarborError(
        422,
        "validation failure list:\nunsupported media type requested, only [application/json] are available",
    )
