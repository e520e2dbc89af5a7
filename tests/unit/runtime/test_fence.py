"""The fence: a process that has lost leadership sends no write, neither to Harbor nor to Kubernetes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harborhook.api.base import Key
from harborhook.harbor.client import HarborClient
from harborhook.harbor.transport import Credentials, Transport
from harborhook.kube.gateway import Gateway
from harborhook.runtime.leader import LeadershipLostError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Server:
    """Answers everything with {}, and records requests."""

    port: int = 0
    received: list[str] = field(default_factory=list)
    """Method and path."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.received.append(" ".join(head.split()[:2]))
            lengths = [
                line.partition(":")[2] for line in head.lower().splitlines() if line.startswith("content-length")
            ]
            await reader.readexactly(int(lengths[0]) if lengths else 0)
            writer.write(ANSWER)
            await writer.drain()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    connections = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        try:
            await found.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.port = running.sockets[0].getsockname()[1]
    yield found
    running.close()
    await running.wait_closed()
    await asyncio.gather(*(task for task in connections if task is not None))


@dataclass
class Leadership:
    leads: bool = True

    def check(self) -> None:
        if not self.leads:
            raise LeadershipLostError


@pytest.fixture
def leadership() -> Leadership:
    return Leadership()


@pytest.fixture
async def transport(server: Server, leadership: Leadership) -> AsyncIterator[Transport]:
    url = f"http://127.0.0.1:{server.port}"
    found = Transport(url, Credentials("robot", "secret"), fence=leadership.check)
    yield found
    await found.close()


@pytest.fixture
async def gateway(server: Server, leadership: Leadership, tmp_path: Path) -> AsyncIterator[Gateway]:
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    found = await Gateway.connect(str(file))
    found.fence(leadership.check)
    yield found
    await found.close()


@pytest.mark.parametrize("connected", [False, True])
async def test_harbor_is_read_but_not_written_to(
    transport: Transport, server: Server, leadership: Leadership, connected: bool
) -> None:
    client = HarborClient(transport)
    if connected:
        await client.update_project("team", {"public": "true"})
    before = len(server.received)
    leadership.leads = False

    for write in (
        client.create_project("team", {}),
        client.update_project("team", {"public": "true"}),
        client.delete_project("team"),
    ):
        with pytest.raises(LeadershipLostError):
            await write
    await transport.request("GET", "/systeminfo", endpoint="/systeminfo")

    assert server.received[before:] == ["GET /api/v2.0/systeminfo"]


async def test_a_leader_writes_to_harbor(transport: Transport, server: Server) -> None:
    await HarborClient(transport).update_project("team", {"public": "true"})

    assert server.received == ["PUT /api/v2.0/projects/team"]


@pytest.mark.parametrize("connected", [False, True])
async def test_kubernetes_is_read_but_not_written_to(
    gateway: Gateway, server: Server, leadership: Leadership, connected: bool
) -> None:
    key = Key("HarborProject", "leases", "coordination.k8s.io")
    if connected:
        await gateway.patch_status(key, {})
    before = len(server.received)
    leadership.leads = False

    for write in (gateway.patch_status(key, {}), gateway.patch(key, {}), gateway.create_event("team", {})):
        with pytest.raises(LeadershipLostError):
            await write
    await gateway.lease("harborhook", "harborhook")

    assert server.received[before:] == ["GET /apis/coordination.k8s.io/v1/namespaces/harborhook/leases/harborhook"]


async def test_the_lease_is_written_by_the_operator_that_wants_it(
    gateway: Gateway, server: Server, leadership: Leadership
) -> None:
    leadership.leads = False

    await gateway.write_lease({"metadata": {"namespace": "n", "name": "l"}})
    await gateway.write_lease({"metadata": {"namespace": "n", "name": "l", "resourceVersion": "1"}})

    leases = "/apis/coordination.k8s.io/v1/namespaces/n/leases"
    assert server.received == [f"POST {leases}", f"PUT {leases}/l"]
