"""Plays recorded requests to a Harbor, with the accounts that sent them."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from contract.comparison import Comparison
from contract.mapping import Mapping
from contract.recordings import Recording
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.receiver import Receiver

_SAFE = ("GET", "HEAD")
_CSRF = "x-harbor-csrf-token"


@dataclass
class Jar:
    """The cookies of a session, and the last CSRF token."""

    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    keeps: bool = True
    """Whether the jar stores the cookies of answers, as a browser does."""
    writes_with_token: bool = True

    def header(self) -> str:
        """Returns the headers for a request."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def take(self, answer: httpx.Response) -> None:
        """Stores the cookies of an answer."""
        self.token = answer.headers.get(_CSRF, self.token)
        if self.keeps:
            self.cookies |= set_cookies(answer)


@dataclass(frozen=True)
class Actor:
    """The credentials of a caller."""

    auth: tuple[str, str] | None = None
    jar: Jar | None = None


ANONYMOUS = Actor()
Action = Callable[["Player"], None]
Listener = Callable[["Player", Recording, httpx.Response], None]
"""Called with every answer, once it has been compared."""


class Player:
    """One scenario in progress: the actors, the mapping, and the results."""

    def __init__(self, harbor: HarborUnderTest, suffix: str, listener: Listener | None = None) -> None:
        self.harbor = harbor
        self._listener = listener
        self.mapping = Mapping(suffix)
        self.differences: dict[str, list[str]] = {}
        self.admin = Actor(harbor.auth)
        self.actors = {"anonymous": ANONYMOUS, "admin": self.admin, "admin basic": self.admin}
        # On a real Harbor a user that does not exist: for a moment after a wrong password Harbor refuses the right one.
        self.actors["admin (wrong password)"] = Actor((f"{harbor.username}{suffix}", "Wrong12345"))
        self.seen = Jar(keeps=False)
        """The last `sid`, CSRF cookie and token that any answer had."""
        self._comparison = Comparison(self.mapping, exact=not harbor.is_real)
        self._client = httpx.Client(base_url=harbor.url, verify=False, timeout=60, trust_env=False)
        self._made: list[str] = []
        self._endings: list[Callable[[], None]] = []

    @property
    def stand_in(self) -> StandIn:
        """For scenarios that only the stand-in can play."""
        assert self.harbor.stand_in is not None
        return self.harbor.stand_in

    # recordings

    def play(self, recording: Recording, loose: frozenset[str]) -> None:
        """Send the request, compare the answer."""
        actor = self._actor(recording)
        by_name = recording.sent_headers.get("x-is-resource-name", "false") not in ("false", "")
        if self.harbor.is_real and recording.method not in _SAFE and recording.status < 400:
            unknown = self.mapping.unbound(recording.path, by_name)
            assert not unknown, f"{recording.id} would change what may be somebody else's: {unknown}"
        body = self._content(recording, actor)
        answer = self._send(actor, recording.method, self.mapping.path(recording.path, by_name), body, recording)
        self._remember(recording, answer)
        self.differences[recording.number] = self._comparison.differences(recording, answer, loose)
        if self._listener is not None:
            self._listener(self, recording, answer)

    def _actor(self, recording: Recording) -> Actor:
        if "wrong-project" in recording.name:  # recorded under a label that its name caused
            return self.admin
        return self.actors[recording.who]

    def _content(self, recording: Recording, actor: Actor) -> bytes | None:
        body = recording.sent_body
        if body is None:
            return None
        if recording.sent_headers.get("content-encoding") == "gzip":
            return gzip.compress(b'{"metadata":{"public":"false"}}', mtime=0)
        if isinstance(body, str):
            return self._form(body, recording, actor) if recording.path == "/c/login" else body.encode()
        return json.dumps(self.mapping.sent_body(recording.path, body)).encode()

    def _form(self, body: str, recording: Recording, actor: Actor) -> bytes:
        """The login form, with the credentials the recording does not show."""
        name, password = actor.auth or self.harbor.auth
        if "wrong" in recording.who:
            password = "Wrong12345"
        if "robot" in body:
            robot = self.actors[recording.who].auth
            name, password = robot or (name, password)
        return str(httpx.QueryParams({"principal": name, "password": password})).encode()

    def _send(
        self, actor: Actor, method: str, path: str, content: bytes | None, recording: Recording
    ) -> httpx.Response:
        headers = {name: value for name, value in recording.sent_headers.items() if name not in ("cookie", _CSRF)}
        login = recording.path == "/c/login"
        headers |= self._cookie_headers(actor, recording)
        auth = None if login else actor.auth
        self._client.cookies.clear()
        url = self.harbor.url + path  # in full: a path may begin with two slashes
        answer = self._client.request(method, url, content=content, headers=headers, auth=auth)
        if actor.jar is not None:
            actor.jar.take(answer)
        return answer

    def _cookie_headers(self, actor: Actor, recording: Recording) -> dict[str, str]:
        recorded = recording.sent_headers.get("cookie")
        jar = actor.jar
        headers: dict[str, str] = {}
        if recorded is not None:
            sent = {name: self._cookie(name, recording) for name in _cookie_names(recorded)}
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in sent.items())
            if _CSRF in recording.sent_headers:
                headers[_CSRF] = self.seen.token
        elif jar is not None:
            if jar.cookies:
                headers["cookie"] = jar.header()
            asked = _CSRF in recording.sent_headers
            if jar.token and (asked or (jar.writes_with_token and recording.method not in _SAFE)):
                headers[_CSRF] = jar.token
        return headers

    def _cookie(self, name: str, recording: Recording) -> str:
        if "garbage" in recording.name:
            return "garbage"
        return self.seen.cookies.get(name, "value")

    def _remember(self, recording: Recording, answer: httpx.Response) -> None:
        found = set_cookies(answer)
        self.seen.cookies |= found
        if "_gorilla_csrf" in found:
            self.seen.token = answer.headers.get(_CSRF, "")
        self._bind_rows(recording, answer)
        location = answer.headers.get("location", "")
        if answer.status_code == httpx.codes.CREATED and location:
            self._made.append(location)
        if recording.path.endswith("/robots") and answer.status_code == httpx.codes.CREATED:
            made = answer.json()
            actor = Actor((made["name"], made["secret"]))
            self.actors[recording.body["name"]] = actor
            self.actors[f"robot {recording.sent_body['name']}"] = actor

    def _bind_rows(self, recording: Recording, answer: httpx.Response) -> None:
        """The ids of executions and tasks are known once they have been listed."""
        kind = recording.path.partition("?")[0].rsplit("/", 1)[1].removesuffix("s")
        if kind in ("execution", "task") and isinstance(recording.body, list) and answer.is_success:
            for recorded, actual in zip(recording.body, answer.json(), strict=False):
                self.mapping.bind_id(kind, recorded["id"], actual["id"])

    # steps of scenarios between recordings

    def ask(
        self, method: str, path: str, body: Any = None, by_name: bool = True, fails: bool = False
    ) -> httpx.Response:
        """Sends a request as the administrator; it must succeed unless it may fail."""
        self._client.cookies.clear()
        headers = {"X-Is-Resource-Name": "true"} if by_name else {}
        url = f"/api/v2.0{path}"
        answer = self._client.request(method, url, json=body, headers=headers, auth=self.harbor.auth)
        if answer.is_error and not fails:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
        if answer.status_code == httpx.codes.CREATED and "location" in answer.headers:
            self._made.append(answer.headers["location"])
        return answer

    def project(self, name: str, recorded_id: int = 0, **body: Any) -> int:
        """Creates a project that a recording presupposes."""
        actual = self.mapping.new_name(name)
        location = self.ask("POST", "/projects", {"project_name": actual, **body}).headers["location"]
        made = int(location.rsplit("/", 1)[1])
        self.mapping.bind_id("project", recorded_id, made)
        return made

    def policy(self, project: str, recorded_id: int = 0, **body: Any) -> int:
        """Creates a policy that a recording presupposes."""
        values = {"enabled": True, "event_types": ["PUSH_ARTIFACT"]} | body
        values.setdefault("targets", [{"type": "http", "address": "http://127.0.0.1:19000/x"}])
        path = f"/projects/{self.mapping.name(project)}/webhook/policies"
        location = self.ask("POST", path, self.mapping.body(values)).headers["location"]
        made = int(location.rsplit("/", 1)[1])
        self.mapping.bind_id("policy", recorded_id, made)
        return made

    def robot(self, who: str, name: str, permissions: list[dict[str, Any]], level: str = "system") -> int:
        """Make a robot and let it be an actor."""
        suffix = self.mapping.suffix
        body = {"name": name + suffix, "level": level, "duration": -1, "permissions": permissions}
        made = self.ask("POST", "/robots", body).json()
        self.actors[who] = Actor((made["name"], made["secret"]))
        return int(made["id"])

    def user(self, name: str, recorded_id: int = 0, *labels: str) -> int:
        """Make a user and let them be an actor by Basic."""
        actual = self.mapping.new_name(name)
        body = {"username": actual, "email": f"{actual}@x.io", "realname": name, "password": "Passw0rd1"}
        made = int(self.ask("POST", "/users", body).headers["location"].rsplit("/", 1)[1])
        self.mapping.bind_id("user", recorded_id, made)
        for label in labels or (name,):
            self.actors[label] = Actor((actual, "Passw0rd1"))
        return made

    def login(self, auth: tuple[str, str] | None = None) -> Jar:
        """A session."""
        name, password = auth or self.harbor.auth
        jar = Jar()
        for _ in range(2):
            jar.take(self._raw("GET", "/api/v2.0/systeminfo", jar))
        form = {"principal": name, "password": password}
        answer = self._raw("POST", "/c/login", jar, data=form)
        assert answer.status_code == httpx.codes.OK, answer.text
        jar.take(answer)
        jar.keeps = False
        return jar

    def handshake(self, jar: Jar) -> None:
        """Two requests, after which a jar has a `sid`, a CSRF cookie and a token."""
        for _ in range(2):
            jar.take(self._raw("GET", "/api/v2.0/ping", jar))

    def logout(self, jar: Jar) -> None:
        """End a session; the jar keeps its dead cookie."""
        self._raw("GET", "/c/log_out", jar)

    def _raw(self, method: str, path: str, jar: Jar, data: dict[str, str] | None = None) -> httpx.Response:
        self._client.cookies.clear()
        headers = {"cookie": jar.header()} if jar.cookies else {}
        if method not in _SAFE:
            headers[_CSRF] = jar.token
        return self._client.request(method, path, data=data, headers=headers)

    def receiver(self) -> str:
        """Starts a webhook receiver; returns host and port by which Harbor reaches it."""
        url = httpx.URL(self.harbor.receiver_url or "http://127.0.0.1")
        receiver = Receiver(host="0.0.0.0" if self.harbor.stand_in is None else "127.0.0.1", port=url.port or 0)
        self.at_the_end(receiver.stop)
        return f"{url.host}:{receiver.port}"

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for asynchronous work of Harbor; the retries of a real one take minutes."""
        is_slow = self.harbor.stand_in is None
        end = time.monotonic() + (600 if is_slow else 60)
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            time.sleep(1 if is_slow else 0.02)

    def secrets(self) -> set[str]:
        """Returns all secrets that a recording must not contain."""
        actors = self.actors.values()
        passwords = {actor.auth[1] for actor in actors if actor.auth} | {self.harbor.password}
        jars = [self.seen, *[actor.jar for actor in actors if actor.jar is not None]]
        cookies = {value for jar in jars for value in (jar.token, *jar.cookies.values())}
        known = {"Wrong12345", "Passw0rd1"}  # which recordings themselves send
        return (passwords | cookies) - known

    # the end

    def at_the_end(self, action: Callable[[], None]) -> None:
        """Something to stop."""
        self._endings.append(action)

    def finish(self) -> None:
        """Removes the created objects, newest first, so that a real Harbor is left unchanged."""
        if self.harbor.is_real:
            for location in reversed(self._made):
                self.ask("DELETE", location.removeprefix("/api/v2.0"), by_name=False, fails=True)
        for action in self._endings:
            action()
        self._client.close()


def set_cookies(answer: httpx.Response) -> dict[str, str]:
    """Returns the cookies that an answer sets."""
    pairs = (header.partition(";")[0].partition("=") for header in answer.headers.get_list("set-cookie"))
    return {name: value for name, _, value in pairs}


def _cookie_names(header: str) -> list[str]:
    return [pair.strip().partition("=")[0] for pair in header.split(";")]
