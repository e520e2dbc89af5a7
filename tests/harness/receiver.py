"""A webhook receiver that answers as its paths say and remembers what it got.

In a test: ``with Receiver() as receiver`` (or ``receiver = Receiver.start()`` and ``receiver.stop()``), then
``receiver.url`` and ``receiver.received()``. On its own, for a real Harbor: ``python -m harness.receiver --port 8900``,
with ``GET /_received?path=...`` and ``DELETE /_received``.

====================================  ================================================================
``/ok/...`` and any other path        200 ``ok``
``/status/<code>/...``                that code, body ``receiver answered <code>``
``/fail-times/<n>/<key>``             500 for the first n requests to this path, then 200
``/slow/<seconds>/...``               200 after a while
``/redirect/<code>/<target path>``    redirect to that path here; ``?to=<url>`` redirects anywhere
``/loop``                             redirects to itself
``/close/...``                        drops the connection without an answer
``/echo/<code>``                      that code, the body shows the request's headers and body
``/lines/<code>/<n>``                 that code with an HTML body of n lines
``/toggle/<key>``                     the status set by ``PUT /_behaviour/<key> {"status": 500}``; 200 before
====================================  ================================================================

It can be down: ``receiver.down()`` refuses connections, ``receiver.down(500)`` (or ``PUT /_down {"status": 500}``)
answers every request with that status; ``receiver.up()`` (or ``DELETE /_down``) ends either.
``receiver.imitate(path, answers)`` lets a function answer instead, as those of ``harness.known_receivers`` do.

It is a plain threaded server rather than an ASGI application, because dropping a connection is below ASGI.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from harness.certificates import Authority

_MOST_KEPT = 100_000


@dataclass(frozen=True)
class Received:
    """One request. ``path`` is without the query; the names in ``headers`` are lower-case; ``body`` is unparsed."""

    path: str
    query: str
    method: str
    headers: dict[str, str]
    body: bytes
    time: float
    answered: int
    number: int = 0
    """Its position among all requests, in the order of arrival."""

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def redelivery(self) -> int | None:
        """The execution that the operator redelivered; None for a request from Harbor."""
        stated = self.headers.get("x-harborhook-redelivery")
        return None if stated is None else int(stated)

    def json(self) -> Any:
        return json.loads(self.body)

    def wire(self) -> dict[str, Any]:
        """Returns the form of ``GET /_received``; ``body_base64`` is exact."""
        encoded = base64.b64encode(self.body).decode()
        return asdict(self) | {"body": self.text, "body_base64": encoded}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Received:
        """Inverts ``wire``, for tests that query a receiver in another process."""
        body = base64.b64decode(wire["body_base64"])
        kept = {key: wire[key] for key in ("path", "query", "method", "headers", "time", "answered", "number")}
        return cls(body=body, **kept)


@dataclass
class _Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()
    dropped: bool = False


Answers = Callable[[dict[str, str], str, bytes], tuple[int, str]]
"""Status and body for a request with these headers (lower-case names), this query and this body."""


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


class _Behaviour:
    """The answers by path, and everything received."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: list[Received] = []
        self._failures: Counter[str] = Counter()
        self._toggles: dict[str, _Answer] = {}
        self._arrivals = itertools.count(1)
        self.outage: int | None = None
        """The status of every answer during an outage."""
        self._imitations: dict[str, Answers] = {}
        self.stopping = threading.Event()

    def received(self, path: str | None) -> list[Received]:
        with self._lock:
            found = sorted(self._received, key=lambda one: one.number)  # they are stored in the order of their answers
        if path is None:
            return found
        below = path.rstrip("/") + "/"
        return [one for one in found if one.path == path or one.path.startswith(below)]

    def clear(self) -> None:
        with self._lock:
            self._received.clear()

    def set(self, key: str, status: int, body: str | None = None) -> None:
        text = f"receiver answered {status}" if body is None else body
        with self._lock:
            self._toggles[key] = _Answer(status, text.encode())

    def arrived(self) -> int:
        """Returns the number for a request that has just arrived."""
        with self._lock:
            return next(self._arrivals)

    def imitate(self, path: str, answers: Answers) -> None:
        with self._lock:
            self._imitations[path] = answers

    def remember(self, received: Received) -> None:
        with self._lock:
            self._received.append(received)
            del self._received[:-_MOST_KEPT]

    def answer(self, path: str, query: str, headers: dict[str, str], body: bytes) -> _Answer:
        if self.outage is not None:
            return self._status(self.outage)
        with self._lock:
            imitated = self._imitations.get(path)
        if imitated is not None:
            status, text = imitated(headers, query, body)
            return _Answer(status, text.encode())
        kind, _, rest = path.lstrip("/").partition("/")
        argument, _, tail = rest.partition("/")
        simple = {
            "status": lambda: self._status(_number(argument) or 200),
            "fail-times": lambda: self._fail(path, _number(argument)),
            "slow": lambda: self._slow(argument),
            "redirect": lambda: self._redirect(_number(argument) or 302, tail, query),
            "loop": lambda: _Answer(302, b"", (("Location", "/loop"),)),
            "close": lambda: _Answer(0, dropped=True),
            "echo": lambda: self._echo(_number(argument) or 500, headers, body),
            "lines": lambda: self._lines(_number(argument) or 503, _number(tail) or 4),
            "toggle": lambda: self._toggle(rest),
        }
        return simple[kind]() if kind in simple else _Answer()

    @staticmethod
    def _status(code: int) -> _Answer:
        return _Answer(code, b"" if code in {204, 304} else f"receiver answered {code}".encode())

    def _fail(self, path: str, times: int) -> _Answer:
        with self._lock:
            self._failures[path] += 1
            return self._status(500) if self._failures[path] <= times else _Answer()

    def _slow(self, seconds: str) -> _Answer:
        with contextlib.suppress(ValueError):
            self.stopping.wait(float(seconds))
        return _Answer()

    @staticmethod
    def _redirect(code: int, tail: str, query: str) -> _Answer:
        target = parse_qs(query).get("to", ["/" + tail])[0]
        return _Answer(code, b"", (("Location", target),))

    @staticmethod
    def _echo(code: int, headers: dict[str, str], body: bytes) -> _Answer:
        lines = [f"{name}: {value}" for name, value in headers.items()]
        return _Answer(code, "\n".join(["you sent", *lines, ""]).encode() + body)

    @staticmethod
    def _lines(code: int, lines: int) -> _Answer:
        body = "\n".join(["<html><body>", *[f"<p>line {number}" for number in range(lines - 2)], "</body></html>"])
        return _Answer(code, body.encode(), (("Content-Type", "text/html"),))

    def _toggle(self, key: str) -> _Answer:
        with self._lock:
            return self._toggles.get(key, _Answer())


class _Server(ThreadingHTTPServer):
    """Uses a thread per connection, which also does the TLS handshake, so that a hanging one blocks no others."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, bound: socket.socket, behaviour: _Behaviour, context: ssl.SSLContext | None) -> None:
        self.behaviour = behaviour
        self._context = context
        self._open: set[socket.socket] = set()
        self._closed = False
        address: tuple[str, int] = bound.getsockname()
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_name, self.server_port = address  # skips HTTPServer's look-up of the host's name
        self.server_activate()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._context is None:
            self._finish(request, client_address)
            return
        with self._context.wrap_socket(request, server_side=True) as secured:  # it takes the connection over
            self._finish(secured, client_address)

    def _finish(self, connection: socket.socket, client_address: Any) -> None:
        self._open.add(connection)
        try:
            if not self._closed:
                super().finish_request(connection, client_address)
        finally:
            self._open.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores broken connections of senders."""

    def close_connections(self) -> None:
        self._closed = True
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Disables the log: `received` returns the requests."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(_number(self.headers.get("content-length", "0")))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _serve(self) -> None:
        started = time.time()
        path, _, query = self.path.partition("?")
        path = unquote(path)
        if path.startswith("/_"):
            self._send(self._control(path, query, self._body()))
            return
        number = self.server.behaviour.arrived()
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.behaviour.answer(path, query, headers, body)
        received = Received(path, query, self.command, headers, body, started, answer.status, number)
        self.server.behaviour.remember(received)
        if answer.dropped:
            self.close_connection = True
        else:
            self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _serve  # noqa: N815

    def _control(self, path: str, query: str, body: bytes) -> _Answer:
        behaviour = self.server.behaviour
        if path == "/_received" and self.command == "GET":
            wanted = parse_qs(query).get("path", [None])[0]
            found = [one.wire() for one in behaviour.received(wanted)]
            return _Answer(200, json.dumps(found).encode(), (("Content-Type", "application/json"),))
        if path == "/_received" and self.command == "DELETE":
            behaviour.clear()
            return _Answer(204, b"")
        if path == "/_down" and self.command in ("PUT", "DELETE"):
            behaviour.outage = int(json.loads(body)["status"]) if self.command == "PUT" else None
            return _Answer(204, b"")
        if path.startswith("/_behaviour/") and self.command == "PUT":
            wanted_answer = json.loads(body)
            behaviour.set(path.removeprefix("/_behaviour/"), wanted_answer["status"], wanted_answer.get("body"))
            return _Answer(204, b"")
        return _Answer(404, b"no such control")

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    return bound


class Receiver:
    """A running receiver. Its threads are daemons: it ends with the process that started it."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
    ) -> None:
        self._behaviour = _Behaviour()
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self.certificate: Path | None = None
        self._tls = self._context(names) if tls else None
        bound = _bind(host, port)
        self.host, self.port = bound.getsockname()
        self.url = f"{'https' if tls else 'http'}://{host}:{self.port}"
        self._refusing: socket.socket | None = None
        self._listen(bound)

    def _listen(self, bound: socket.socket) -> None:
        self._server = _Server(bound, self._behaviour, self._tls)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,), name="webhook receiver", daemon=True)
        self._thread.start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def _context(self, names: tuple[str, ...]) -> ssl.SSLContext:
        self._directory = tempfile.TemporaryDirectory(prefix="receiver-")
        self.certificate, key = Authority().certify(Path(self._directory.name), *names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        return context

    @classmethod
    def start(cls, **options: Any) -> Receiver:
        return cls(**options)

    def received(self, path: str | None = None) -> list[Received]:
        """Returns all requests, oldest first; with a path, those to it or below it."""
        return self._behaviour.received(path)

    def clear(self) -> None:
        """Forgets requests; the answers of paths, and their counts of failures, stay."""
        self._behaviour.clear()

    def set_status(self, key: str, status: int, body: str | None = None) -> None:
        """Sets the answer of ``/toggle/<key>``."""
        self._behaviour.set(key, status, body)

    def down(self, status: int | None = None) -> None:
        """Until ``up``: refuses connections and drops existing ones, or answers every request with a status."""
        self.up()
        if status is not None:
            self._behaviour.outage = status
            return
        self._close()
        self._refusing = _bind(self.host, self.port)  # keeps the port; without listen() it refuses connections

    def up(self) -> None:
        """Ends an outage; does nothing if there is none."""
        self._behaviour.outage = None
        bound, self._refusing = self._refusing, None
        if bound is not None:
            self._listen(bound)

    def imitate(self, path: str, answers: Answers) -> None:
        """Makes a function answer requests to this path."""
        self._behaviour.imitate(path, answers)

    def wait(self, count: int, path: str | None = None, *, timeout: float = 10.0) -> list[Received]:
        """Waits until that many requests have come, and returns them; raises AssertionError otherwise."""
        end = time.monotonic() + timeout
        while len(found := self.received(path)) < count:
            assert time.monotonic() < end, f"{len(found)} of {count} requests came to {path or 'the receiver'}"
            time.sleep(0.01)
        return found

    def stop(self) -> None:
        self._behaviour.stopping.set()
        if self._refusing is None:
            self._close()
        else:
            self._refusing.close()
        if self._directory is not None:
            self._directory.cleanup()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", action="store_true", help="with a certificate made now")
    parser.add_argument("--name", action="append", help="a name in the certificate (default: localhost, 127.0.0.1)")
    arguments = parser.parse_args()
    names = tuple(arguments.name or ("localhost", "127.0.0.1"))
    with Receiver(host=arguments.host, port=arguments.port, tls=arguments.tls, names=names) as receiver:
        print(receiver.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
