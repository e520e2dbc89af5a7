"""Requests and responses of the handlers, and the route table."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .errors import HarborError, invalid
from .gojson import Model, decode
from .query import Page, Query, go_bool, int64

if TYPE_CHECKING:
    from .principals import Principal

API = "/api/v2.0"
JSON = "application/json"
JSON_ERROR = "application/json; charset=utf-8"

Scope = Mapping[str, Any]
Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Response:
    """Status, content type, body and further headers."""

    status: int = 200
    content_type: str | None = None
    body: bytes = b""
    headers: Headers = field(default_factory=list)


class Request:
    """One request, parsed on demand."""

    __slots__ = ("_query", "body", "headers", "id", "method", "params", "path", "principal", "raw_query", "sid")

    def __init__(self, scope: Scope, body: bytes) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_query: str = scope["query_string"].decode("latin-1")
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.body = body
        self.params: dict[str, str] = {}
        self.principal: Principal
        self.sid: str | None = None
        self.id = 0
        self._query: Query | None = None

    @property
    def query(self) -> Query:
        """The query parameters."""
        if self._query is None:
            self._query = Query(self.path, self.raw_query)
        return self._query

    def flag(self, header: str) -> bool:
        """A boolean header such as `X-Is-Resource-Name`."""
        return go_bool(self.headers.get(header, ""))

    def integer(self, name: str) -> int:
        """A path parameter that must be an int64."""
        text = self.params[name]
        found = int64(text)
        if found is None:
            raise invalid(f'{name} in path must be of type int64: "{text}"')
        return found

    def decode(self, parameter: str, model: Model | dict[type, Any]) -> dict[str, Any]:
        """Returns the JSON body; the content type is checked first, as in go-openapi."""
        kind = self.headers.get("content-type") or "application/octet-stream"
        media = kind.partition(";")[0].strip().lower()
        if self.body and media != JSON:
            raise invalid(f'unsupported media type "{kind}", only [application/json] are allowed')
        return decode(self.body, parameter, model)

    def cookies(self) -> dict[str, str]:
        """The values of the Cookie header."""
        header = self.headers.get("cookie")
        if not header:
            return {}
        pairs = (pair.strip().partition("=") for pair in header.split(";"))
        return {name: unquote(value.strip('"')) for name, _, value in pairs}


def ok() -> Response:
    """200 without a body, the answer of PUT and DELETE."""
    return Response()


def created(location: str) -> Response:
    """201 with a Location that is a path and no body."""
    return Response(201, headers=[("Location", location)])


def show(value: Any) -> Response:
    """200 with JSON."""
    return Response(200, JSON, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def show_page(page: Page) -> Response:
    """200 with a list, its total and the links."""
    answer = show(page.rows)
    answer.headers.append(("X-Total-Count", str(page.total)))
    if page.link:
        answer.headers.append(("Link", page.link))
    return answer


def failure(error: HarborError) -> Response:
    """Harbor's JSON error."""
    return Response(error.status, JSON_ERROR, error.body())


Handler = Callable[[Request], "Response | Awaitable[Response]"]


class Routes:
    """The paths below `/api/v2.0` and their handlers. A literal segment takes precedence over a parameter."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve a path such as `/projects/{project}`."""
        node = self._root
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                node = node.setdefault("{}", {"name": segment[1:-1]})
            else:
                node = node.setdefault(segment, {})
        node.setdefault("methods", {})[method] = handler

    def find(self, request: Request) -> Handler:
        """Returns the handler, and sets the path's parameters in the request. Raises Harbor's 404 and 405."""
        segments = request.path.removeprefix(API).strip("/").split("/")
        params: dict[str, str] = {}
        node = self._walk(self._root, segments, 0, params)
        if node is None:
            raise HarborError(404, f"path {request.path.rstrip('/')} was not found")
        methods: dict[str, Handler] = node["methods"]
        handler = methods.get(request.method)
        if handler is None:
            allowed = ",".join(methods)
            raise HarborError(405, f"method {request.method} is not allowed, but [{allowed}] are")
        request.params = params
        return handler

    def _walk(self, node: dict[str, Any], segments: list[str], at: int, params: dict[str, str]) -> Any:
        if at == len(segments):
            return node if "methods" in node else None
        segment = segments[at]
        if segment in node and isinstance(node[segment], dict) and segment not in ("methods", "{}"):
            found = self._walk(node[segment], segments, at + 1, params)
            if found is not None:
                return found
        below = node.get("{}")
        if below is None:
            return None
        found = self._walk(below, segments, at + 1, params)
        if found is not None:
            params[below["name"]] = segment
        return found
