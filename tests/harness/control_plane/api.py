"""Requests to the API server without a client library: the harness must not depend on the code under test."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from harness.control_plane.errors import RefusedError

_ATTEMPTS = 30
"""Attempts at a request that the API server postpones, a second apart."""


class Api:
    """The API server as one user.

    A 429 is not an answer but a request to wait, so it is obeyed, as all clients of Kubernetes do: an API server that
    has just started reports readiness before it can serve custom resources ("storage is (re)initializing").
    """

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._ca_file = ca_file
        self._token = token
        self._opener: urllib.request.OpenerDirector | None = None

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
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": content_type},
        )
        try:
            with self._connection().open(request, timeout=10) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                raise RefusedError(error.code, error.read().decode(errors="replace")) from None

    def _connection(self) -> urllib.request.OpenerDirector:
        # Created late, because the API server writes its certificate when it starts.
        if self._opener is None:
            self._opener = urllib.request.build_opener(
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._ca_file))),
                urllib.request.ProxyHandler({}),
            )
        return self._opener
