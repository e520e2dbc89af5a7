"""A few requests to the API server, without a client library: the harness must not depend on what it tests."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Api:
    """The API server as one user."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        self._url = url
        self._ca_file = ca_file
        self._token = token
        self._opener: urllib.request.OpenerDirector | None = None

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON; raises urllib.error.HTTPError for a refusal, OSError when nobody answers."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with self._connection().open(request, timeout=10) as answer:
            read: dict[str, Any] = json.loads(answer.read())
            return read

    def exists(self, path: str) -> bool:
        """Whether a GET succeeds; False as well when nobody answers."""
        try:
            self.request("GET", path)
        except json.JSONDecodeError:  # the health endpoints answer in plain text
            return True
        except OSError:  # HTTPError is one
            return False
        return True

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object unless it is there already."""
        try:
            self.request("POST", path, body)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            if refusal.code != 409:
                raise

    def _connection(self) -> urllib.request.OpenerDirector:
        # Made late, because the API server writes its certificate only when it starts.
        if self._opener is None:
            self._opener = urllib.request.build_opener(
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self._ca_file))),
                urllib.request.ProxyHandler({}),
            )
        return self._opener
