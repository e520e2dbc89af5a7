"""Logging, and the HTTP endpoints by which Kubernetes sees whether the operator lives."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for a log collector."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(level: str) -> None:
    """All logs to stderr, at `level`; kopf's and the HTTP clients' routine only as warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("kopf", "httpx", "httpcore", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))


async def serve_probes(host: str, port: int, *, alive: Callable[[], bool], ready: Callable[[], bool]) -> web.AppRunner:
    """Answers /healthz (the workers get on) and /readyz (all resources have been listed) with 200 or 503."""

    def answer(check: Callable[[], bool]) -> Callable[[web.Request], object]:
        async def respond(_: web.Request) -> web.Response:
            return web.Response(text="ok\n") if check() else web.Response(text="not yet\n", status=503)

        return respond

    app = web.Application()
    app.router.add_get("/healthz", answer(alive))  # type: ignore[arg-type]
    app.router.add_get("/readyz", answer(ready))  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
