"""Requests to the API server without a client library: the harness must not depend on the code under test."""

from __future__ import annotations

import json
import ssl
import time
from contextlib import ExitStack, suppress
from http.client import HTTPSConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.control_plane.errors import RefusedError

_ATTEMPTS = 30
"""Attempts at a request that the API server postpones, a second apart."""
_SECONDS = 30.0
"""Patience with an API server that does not answer: it takes seconds to delete a thousand objects."""
_CLOSED = (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
"""Errors of a request over a kept connection that the API server has closed meanwhile, so that it is sent again."""


class Api:
    """The API server as one user.

    A 429 is not an answer but a request to wait, so it is obeyed, as all clients of Kubernetes do: an API server that
    has just started reports readiness before it can serve custom resources ("storage is (re)initializing").

    Connections are kept open between requests: a TLS handshake costs more than most requests. Threads may share an Api.
    """

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._ca_file = ca_file
        self._token = token
        self._trust: ssl.SSLContext | None = None
        self._connections: list[HTTPSConnection] = []

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Returns the answer's JSON. Raises RefusedError for an error of the API server, OSError if it does not
        answer."""
        answer: dict[str, Any] = json.loads(self._send(method, path, body, content_type))
        return answer

    def answers(self, path: str) -> bool:
        """Whether a GET succeeds now; every error counts as no."""
        try:
            self._send("GET", path)
        except (OSError, RefusedError):
            return False
        return True

    def exists(self, path: str) -> bool:
        """Whether the object exists; raises if the API server does not answer that."""
        try:
            self._send("GET", path)
        except RefusedError as refusal:
            if refusal.code != 404:
                raise
            return False
        return True

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object unless it is there already."""
        try:
            self._send("POST", path, body)
        except RefusedError as refusal:
            if refusal.code != 409:
                raise

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None = None, content_type: str = "application/json"
    ) -> bytes:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._send_once(method, path, body, content_type)
            except RefusedError as refusal:
                if refusal.code != 429:
                    raise
            time.sleep(1)
        return self._send_once(method, path, body, content_type)

    def _send_once(self, method: str, path: str, body: dict[str, Any] | None, content_type: str) -> bytes:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        with suppress(*_CLOSED):
            if (kept := self._kept_connection()) is not None:
                return self._exchange(kept, method, path, content, headers)
        return self._exchange(self._connect(), method, path, content, headers)

    def _exchange(
        self, connection: HTTPSConnection, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> bytes:
        """One request and its answer; keeps the connection for the next one."""
        with ExitStack() as failed:
            failed.callback(connection.close)
            try:
                connection.request(method, path, content, headers)
                answer = connection.getresponse()
                answered = answer.read()
            except IncompleteRead as error:
                raise OSError(f"{method} {path}: {error}") from error
            failed.pop_all()
        self._connections.append(connection)
        if answer.status >= 400:
            raise RefusedError(answer.status, answered.decode(errors="replace"))
        return answered

    def _kept_connection(self) -> HTTPSConnection | None:
        with suppress(IndexError):  # there is none, or another thread has just taken it
            return self._connections.pop()
        return None

    def _connect(self) -> HTTPSConnection:
        # Created late, because the API server writes its certificate when it starts.
        if self._trust is None:
            self._trust = ssl.create_default_context(cafile=str(self._ca_file))
        address = urlsplit(self._url)
        assert address.hostname is not None
        return HTTPSConnection(address.hostname, address.port, timeout=_SECONDS, context=self._trust)

    def close(self) -> None:
        """Closes the connections that no request uses."""
        while (kept := self._kept_connection()) is not None:
            kept.close()
