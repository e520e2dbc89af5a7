"""A gateway in front of a server: it terminates TLS, requires a client certificate or a header, and forwards requests.

Without a server behind it, it answers every request with an empty JSON object.
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

_NOT_PASSED_ON = {"connection", "transfer-encoding", "keep-alive", "content-length"}
PATIENCE = 10.0
"""Timeout in seconds for clients."""


class _Serving:
    """Serves in a thread while a `with` statement lasts."""

    _server: socketserver.TCPServer

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name=type(self).__name__, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class Front(_Serving):
    """Use it in a `with` statement. `header`: name and value required in each request."""

    def __init__(
        self, upstream: str = "", *, context: ssl.SSLContext | None = None, header: tuple[str, str] | None = None
    ) -> None:
        self.header = header
        self.requests: list[dict[str, str]] = []
        """The headers of each request, oldest first; names in lower case."""
        self.server_names: list[str | None] = []
        """The server name in each client's handshake."""
        if context is not None:
            context.sni_callback = lambda _, name, __: self.server_names.append(name)
        self._server = _Server(_handler(self, upstream), context)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(PATIENCE)
        if self._context is None:
            super().finish_request(request, client_address)
            return
        try:
            with self._context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except OSError:
            # Delivers the alert with the reason: closing with unread data of the client would reset the connection.
            with suppress(OSError):
                request.shutdown(socket.SHUT_WR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that disconnect."""


def _handler(front: Front, upstream: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            front.requests.append({name.lower(): value for name, value in self.headers.items()})
            if front.header is not None and self.headers.get(front.header[0]) != front.header[1]:
                self._say(401, "text/html", f"<html>Not with {self.headers.get(front.header[0])}</html>".encode())
            elif upstream:
                self._pass_on(body)
            else:
                self._say(200, "application/json", b"{}")

        def _pass_on(self, body: bytes) -> None:
            server = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=PATIENCE)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
            try:
                server.request(self.command, self.path, body or None, headers)
                answer = server.getresponse()
                content = answer.read()
            finally:
                server.close()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _NOT_PASSED_ON:
                    self.send_header(name, value)
            self._finish(content)

        def _say(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self._finish(content)

        def _finish(self, content: bytes) -> None:
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class's names

        def log_message(self, *_: object) -> None:
            """Disables the log."""

    return Handler


class Tunnel(_Serving):
    """A CONNECT proxy, in a `with` statement; it resolves every name to this machine. `asked`: the requested
    addresses."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        tunnel = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                target = self.rfile.readline().split()[1].decode()
                while self.rfile.readline().strip():
                    pass
                tunnel.asked.append(target)
                with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as server:
                    self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=_copy, args=(server, self.request), daemon=True)
                    back.start()
                    _copy(self.request, server)
                    back.join(PATIENCE)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(64 * 1024):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
