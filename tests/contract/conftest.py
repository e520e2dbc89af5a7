"""A client for one Harbor, and objects in it for one test."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest, standing_in

_PATIENCE = 90.0
TOKEN = "x-harbor-csrf-token"
TARGET = {"type": "http", "address": "http://127.0.0.1:9/hook"}


class Api:
    """Requests as one caller, without cookies; removes the objects created."""

    def __init__(self, harbor: HarborUnderTest, auth: tuple[str, str] | None) -> None:
        self.harbor = harbor
        self._client = httpx.Client(
            base_url=f"{harbor.url}/api/v2.0", auth=auth, verify=False, timeout=60, trust_env=False
        )
        self._made: list[str] = []
        self._others: list[Api] = []

    def as_(self, auth: tuple[str, str] | None) -> Api:
        """Returns the same Harbor for another caller."""
        other = Api(self.harbor, auth)
        self._others.append(other)
        return other

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """One request."""
        self._client.cookies.clear()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.request(method, path, json=body, headers=named)
        location = answer.headers.get("location")
        if answer.status_code == httpx.codes.CREATED and location:
            self._made.append(location.removeprefix("/api/v2.0"))
        return answer

    def get(self, path: str, **headers: str) -> Any:
        """The JSON of a GET that must succeed."""
        answer = self.request("GET", path, **headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()

    def post(self, path: str, body: Any, **headers: str) -> int:
        """Returns the id of the object that a POST has created; the POST must succeed."""
        answer = self.request("POST", path, body, **headers)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        last = str(answer.headers["location"]).rsplit("/", 1)[1]
        return int(last) if last.isdigit() else 0

    def put(self, path: str, body: Any, **headers: str) -> None:
        """A PUT that must succeed."""
        answer = self.request("PUT", path, body, **headers)
        assert answer.status_code == httpx.codes.OK, answer.text

    def project(self, **body: Any) -> str:
        """The name of a new project."""
        name = unique("p")
        self.post("/projects", {"project_name": name, **body})
        return name

    def policy(self, project: str, **body: Any) -> int:
        """The id of a new policy."""
        values = {"name": unique("w"), "event_types": ["PUSH_ARTIFACT"], "targets": [TARGET], "enabled": True}
        return self.post(f"/projects/{project}/webhook/policies", values | body)

    def user(self) -> tuple[str, str]:
        """The credentials of a new user."""
        name = unique("u")
        body = {"username": name, "email": f"{name}@example.com", "realname": name, "password": "Passw0rd1"}
        self.post("/users", body)
        return name, "Passw0rd1"

    def robot(self, *permissions: dict[str, Any], level: str = "system") -> tuple[str, str]:
        """The credentials of a new robot."""
        body = {"name": unique("r"), "level": level, "duration": -1, "permissions": list(permissions)}
        answer = self.request("POST", "/robots", body)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return answer.json()["name"], answer.json()["secret"]

    def clean_up(self) -> None:
        """Removes the created objects, newest first; ignores missing ones."""
        for other in self._others:
            other.clean_up()
        self._others.clear()
        for path in reversed(self._made):
            self._remove(path)
        self.close()

    def _remove(self, path: str) -> None:
        """A real Harbor refuses a policy until its executions have ended, which takes half a minute."""
        end = time.monotonic() + (_PATIENCE if self.harbor.is_real else 0)
        while self.request("DELETE", path).status_code == httpx.codes.PRECONDITION_FAILED and time.monotonic() < end:
            time.sleep(1)

    def close(self) -> None:
        """Without removing anything."""
        for other in self._others:
            other.close()
        self._client.close()


class Browser:
    """A client that keeps its cookies."""

    def __init__(self, harbor: HarborUnderTest) -> None:
        self.client = httpx.Client(base_url=harbor.url, verify=False, timeout=60, trust_env=False)
        self.token = ""

    def request(self, method: str, path: str, token: str | None = None, **arguments: object) -> httpx.Response:
        headers = {TOKEN: token} if token else {}
        return self.client.request(method, path, headers=headers, **arguments)  # type: ignore[arg-type]

    def login(self, name: str, password: str) -> httpx.Response:
        """The two requests that bring cookie and token, then the login."""
        self.request("GET", "/api/v2.0/ping")
        self.token = self.request("GET", "/api/v2.0/ping").headers[TOKEN]
        form = {"principal": name, "password": password}
        return self.request("POST", "/c/login", self.token, data=form)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def unique(prefix: str) -> str:
    """Returns a unique name."""
    return f"{prefix}-{secrets.token_hex(5)}"


def grant(namespace: str, *rights: str, kind: str = "project") -> dict[str, Any]:
    """A robot's permissions: `grant("*", "project:read")`."""
    pairs = [right.split(":") for right in rights]
    access = [{"resource": resource, "action": action} for resource, action in pairs]
    return {"kind": kind, "namespace": namespace, "access": access}


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of a Harbor error."""
    first = answer.json()["errors"][0]
    return answer.status_code, first["code"], first["message"]


@pytest.fixture
def api(harbor: HarborUnderTest) -> Iterator[Api]:
    """The administrator of the Harbor under test."""
    found = Api(harbor, harbor.auth)
    yield found
    found.clean_up()


@pytest.fixture
def api_27(harbor_27: HarborUnderTest) -> Iterator[Api]:
    """The administrator of a Harbor 2.7."""
    found = Api(harbor_27, harbor_27.auth)
    yield found
    found.clean_up()


@pytest.fixture
def api_of() -> Iterator[Callable[..., Api]]:
    """Administrators of stand-ins that a test starts itself."""
    found: list[Api] = []

    def make(stand_in: StandIn, version: str = "2.16") -> Api:
        found.append(Api(standing_in(stand_in, version), stand_in.admin))
        return found[-1]

    yield make
    for api in found:
        api.close()
