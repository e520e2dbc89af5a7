"""A fixed piece of work of the kind that the operator does, to tell a slow program from a slow or busy machine."""

from __future__ import annotations

import hashlib
import http.client
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.figures import Calibration
from harness.control_plane import ControlPlane

ROUNDS = 3
_COMPUTATIONS = 4_000
_REQUESTS = 300
_PATCHES = 100
_CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def calibrate(control_plane: ControlPlane) -> Calibration:
    """Returns the median of a few rounds, which take some seconds in total."""
    control_plane.admin.create(_CONFIG_MAPS, {"metadata": {"name": "calibration"}})
    with _server() as port:
        rounds = [_round(control_plane, port) for _ in range(ROUNDS)]
    return Calibration(
        cpu=statistics.median(one.cpu for one in rounds), wall=statistics.median(one.wall for one in rounds)
    )


def _round(control_plane: ControlPlane, port: int) -> Calibration:
    started, cpu_started = time.monotonic(), time.process_time()
    _compute()
    cpu = time.process_time() - cpu_started
    _ask(port)
    _patch(control_plane)
    return Calibration(cpu=cpu, wall=time.monotonic() - started)


def _compute() -> None:
    text = json.dumps({"items": [{"name": f"n{number}", "labels": {"a": "b"}} for number in range(20)]})
    for _ in range(_COMPUTATIONS):
        text = json.dumps(json.loads(text))
        hashlib.sha256(text.encode()).hexdigest()


def _ask(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(_REQUESTS):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()


def _patch(control_plane: ControlPlane) -> None:
    for number in range(_PATCHES):
        control_plane.admin.request(
            "PATCH",
            f"{_CONFIG_MAPS}/calibration",
            {"data": {"number": str(number)}},
            content_type="application/merge-patch+json",
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@contextmanager
def _server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="calibration", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
