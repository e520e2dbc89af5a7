"""The endpoints for Kubernetes' probes and for Prometheus: their addresses."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from harborhook.settings import Settings
from harborhook.telemetry import Metrics, serve_probes
from harness.operator_process import free_port

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def is_there(family: socket.AddressFamily) -> bool:
    """Whether this machine supports the address family."""
    try:
        with socket.socket(family) as probe:
            probe.bind((LOOPBACK[family], 0))
    except OSError:
        return False
    return True


async def reached(host: str) -> set[str]:
    """Returns the addresses at which probes on `host` answer."""
    port, found = free_port(), set()
    runner = await serve_probes(host, port, alive=lambda: True, ready=lambda: True, metrics=Metrics())
    try:
        async with aiohttp.ClientSession() as session:
            for address in LOOPBACK.values():
                try:
                    async with session.get(f"http://{f'[{address}]' if ':' in address else address}:{port}/readyz"):
                        found.add(address)
                except aiohttp.ClientConnectorError:
                    continue
    finally:
        await runner.cleanup()
    return found


async def test_by_default_they_are_reached_by_ipv4_and_by_ipv6() -> None:
    assert await reached(Settings().listen_host) == {LOOPBACK[family] for family in LOOPBACK if is_there(family)}


@pytest.mark.parametrize("address", [LOOPBACK[family] for family in LOOPBACK if is_there(family)])
async def test_an_address_that_is_stated_is_the_only_one(address: str) -> None:
    assert await reached(address) == {address}
