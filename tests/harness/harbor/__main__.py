"""`python -m harness.harbor`: the stand-in as a process. It prints one line of JSON once it serves."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import uvicorn

from .app import StandInApp
from .settings import Settings


def main() -> None:
    """Parse the arguments and serve."""
    arguments = _parser().parse_args()
    # with its protocol named, asyncio disables Nagle's algorithm; otherwise each answer waits 40 ms for an ACK
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", arguments.port))
    scheme = "https" if arguments.tls_cert else "http"
    url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    asyncio.run(_serve(arguments, listener, url))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="harness.harbor", description="a stand-in for a Harbor registry")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--version", default="2.16")
    parser.add_argument("--admin-password", default="Harbor12345")
    parser.add_argument("--time-scale", type=float, default=0.02)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--hash-cost-ms", type=float, default=0.0)
    parser.add_argument("--row-costs", action="store_true")
    parser.add_argument("--config-overwrite", action="store_true")
    parser.add_argument("--max-attempts", type=int, default=None)
    parser.add_argument("--external-url", default=None)
    parser.add_argument("--tls-cert", type=Path, default=None)
    parser.add_argument("--tls-key", type=Path, default=None)
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does, as with its parent")
    return parser


async def _serve(arguments: argparse.Namespace, listener: socket.socket, url: str) -> None:
    settings = Settings(
        latency_ms=arguments.latency_ms,
        hash_cost_ms=arguments.hash_cost_ms,
        row_costs=arguments.row_costs,
        time_scale=arguments.time_scale,
        config_overwrite=arguments.config_overwrite,
    )
    app = StandInApp(
        arguments.directory,
        version=arguments.version,
        admin_password=arguments.admin_password,
        public_url=arguments.external_url or url,
        settings=settings,
        max_attempts=arguments.max_attempts,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        ssl_certfile=arguments.tls_cert,
        ssl_keyfile=arguments.tls_key,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    if arguments.until_eof:
        _end_with_stdin()
    announcing = asyncio.create_task(_announce(server, url))
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve(sockets=[listener])
    announcing.cancel()


async def _announce(server: uvicorn.Server, url: str) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    print(json.dumps({"url": url}), flush=True)


def _end_with_stdin() -> None:
    """Ends the process when standard input closes: the parent holds the write end, which closes when the parent ends in
    any way."""

    def read() -> None:
        if not os.read(0, 1024):
            os.kill(os.getpid(), signal.SIGTERM)

    asyncio.get_running_loop().add_reader(0, read)


if __name__ == "__main__":
    main()
