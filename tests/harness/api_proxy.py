"""A proxy between the operator and the API server that fails on demand: it returns errors, never answers, cuts watches
or silences them.

It listens without encryption and forwards the Authorization header, so the operator keeps its own rights. Every request
gets a separate connection.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from harness.control_plane import ControlPlane

_CHUNK = 64 * 1024
_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass
class _Fault:
    method: str
    path: re.Pattern[str]
    status: int
    times: int | None
    lost: bool
    hangs: bool = False

    def takes(self, method: str, path: str) -> bool:
        if self.times == 0 or self.method not in ("*", method) or not self.path.search(path):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class ApiProxy:
    """Use it in a `with` statement; `url` is the address for a kubeconfig."""

    def __init__(self, control_plane: ControlPlane) -> None:
        target = urlsplit(control_plane.url)
        trust = ssl.create_default_context(cafile=str(control_plane.ca_file))
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._watches: set[http.client.HTTPConnection] = set()
        self._healed = threading.Event()
        self._stalled: set[http.client.HTTPConnection] = set()
        self.requests: list[tuple[str, str]] = []
        """Method and path with query of each request, oldest first."""
        self.answers: bytearray | None = None
        """Set it to record the bodies of all answers, uncompressed."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                fault = proxy._note(self.command, self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if fault is not None and fault.hangs:
                    proxy._healed.wait()
                    return None
                if fault is not None and not fault.lost:
                    return self._refuse(fault.status)
                held_back = {*_NOT_PASSED_ON, "host", *(() if proxy.answers is None else ("accept-encoding",))}
                headers = {n: v for n, v in self.headers.items() if n.lower() not in held_back}
                upstream = http.client.HTTPSConnection(target.hostname or "", target.port, context=trust)
                try:
                    upstream.request(self.command, self.path, body or None, headers)
                    answer = upstream.getresponse()
                    if fault is not None:
                        return self._refuse(fault.status)
                    self._answer(upstream, answer)
                except (OSError, http.client.HTTPException):
                    return None  # the API server is down, the watch was cut, or the operator disconnected
                finally:
                    proxy._watches.discard(upstream)
                    proxy._stalled.discard(upstream)
                    upstream.close()

            def _answer(self, upstream: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _NOT_PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                if "watch=true" in self.path:
                    proxy._watches.add(upstream)
                while chunk := answer.read1(_CHUNK):
                    if upstream in proxy._stalled:
                        continue
                    if proxy.answers is not None:
                        proxy.answers += chunk
                    self.wfile.write(chunk)
                    self.wfile.flush()

            def _refuse(self, status: int) -> None:
                said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "a fault"}
                if status == 410 and "watch=true" in self.path:  # a watch reports it as an event
                    said, status = {"type": "ERROR", "object": said}, 200
                content = json.dumps(said).encode() + b"\n"
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Connection", "close")
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the base class's names

            def log_message(self, *_: object) -> None:
                """Disables the log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="API proxy", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.heal()
        self.cut_watches()
        self._server.server_close()

    def fail(self, method: str, path: str, status: int, *, times: int | None = None, lost: bool = False) -> None:
        """Answers matching requests (`path` is a regular expression for path and query) with an error. With `lost` the
        API server executes them, but the answer is replaced."""
        with self._lock:
            self._faults.append(_Fault(method, re.compile(path), status, times, lost))

    def hang(self) -> None:
        """Stops answering, and ends the open streams."""
        with self._lock:
            self._faults.append(_Fault("*", re.compile("."), 0, None, lost=False, hangs=True))
        self.cut_watches()

    def stall_watches(self) -> None:
        """Silences the streams that are open now, as a load balancer does that has forgotten them; new ones work."""
        self._stalled |= self._watches

    def heal(self) -> None:
        """Ends all faults, except for a stream that has lost something; hanging requests are dropped."""
        with self._lock:
            self._faults.clear()
            self._healed.set()
            self._healed = threading.Event()

    def cut_watches(self) -> None:
        """Ends all streams, as a restarting load balancer does."""
        for upstream in list(self._watches):
            with suppress(OSError, AttributeError):
                upstream.sock.shutdown(2)

    def _note(self, method: str, path: str) -> _Fault | None:
        with self._lock:
            self.requests.append((method, path))
            return next((fault for fault in self._faults if fault.takes(method, path)), None)
