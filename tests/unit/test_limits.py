"""What connections share, and what each has for itself, when a Harbor is asked."""

from __future__ import annotations

import asyncio

from harborhook.api.connections import ClusterHarborConnection, HarborConnection
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.transport import Credentials, Transport
from harborhook.reconcile.clients import Clients
from harness.hostile import answer, hostile, json_answer


def of_cluster(url: str) -> ClusterHarborConnection:
    spec = {
        "url": url,
        "credentialsSecretRef": {"namespace": "x", "name": "y"},
        "access": [{"namespaces": ["*"], "projects": ["*"]}],
        "limits": {"maxConcurrentRequests": 3, "requestsPerSecond": 10},
    }
    return ClusterHarborConnection.model_validate({"metadata": {"name": "c"}, "spec": spec})


def of_team(url: str) -> HarborConnection:
    spec = {"url": url, "credentialsSecretRef": {"name": "y"}}
    return HarborConnection.model_validate({"metadata": {"name": "c", "namespace": "team"}, "spec": spec})


def test_a_teams_connection_is_held_to_its_own_limits_and_to_those_of_the_harbor() -> None:
    clients = Clients()
    (shared,) = clients.limit(of_cluster("https://harbor.example.com"))

    own, same = clients.limit(of_team("https://HARBOR.example.com:443/"))

    assert same is shared
    assert own is not shared


def test_another_port_or_scheme_of_a_host_is_another_harbor() -> None:
    clients = Clients()
    urls = ("https://harbor.example.com", "https://harbor.example.com:8443", "http://harbor.example.com")

    assert len({clients.limit(of_cluster(url)) for url in urls}) == len(urls)


async def test_a_pause_that_one_connection_is_asked_for_does_not_stop_others_of_the_host() -> None:
    shared = Limiter(1, 1000)
    answers = iter([answer(b"", "Retry-After: 30", status="429 Slow down")])
    async with hostile(lambda _: next(answers, json_answer({}))) as server:
        throttled, other = (Transport(server.url, Credentials("robot", "secret"), limiters=(shared,)) for _ in range(2))
        waiting = asyncio.create_task(throttled.request("GET", "/systeminfo", endpoint="/systeminfo"))
        await asyncio.sleep(0.2)

        async with asyncio.timeout(2):
            assert (await other.request("GET", "/systeminfo", endpoint="/systeminfo")).status == 200
        assert not waiting.done()

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.gather(throttled.close(), other.close())
