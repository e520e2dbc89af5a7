"""The parts of the operator are connected with each other, and end together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from harborhook.api.base import Key, SenderKey
from harborhook.api.connections import ClusterHarborConnection
from harborhook.clock import ServerClock
from harborhook.harbor.client import HarborClient
from harborhook.harbor.transport import Credentials
from harborhook.kube.gateway import Gateway
from harborhook.lifecycle import Operator
from harborhook.reconcile import links
from harborhook.reconcile.breaker import Breaker
from harborhook.reconcile.context import Context
from harborhook.reconcile.credentials import Admission
from harborhook.reconcile.links import Link, retire
from harborhook.runtime.process import cancel
from harborhook.runtime.queue import Cause
from harborhook.settings import Settings
from harborhook.tls import TLSOptions

CONNECTION = Key("ClusterHarborConnection", "", "default")
POLICY = Key("WebhookPolicy", "team", "hook")


class NoGateway:
    """Offers what a context refers to; nothing is sent."""

    clock = ServerClock()
    data = create_event = None


def connect(context: Context) -> Link:
    """Puts a connection without a server into the context."""
    connection = ClusterHarborConnection.model_validate(
        {
            "kind": "ClusterHarborConnection",
            "metadata": {"name": "default"},
            "spec": {
                "url": "http://127.0.0.1:1",
                "credentialsSecretRef": {"namespace": "harborhook", "name": "harbor"},
                "access": [{"namespaces": ["*"], "projects": ["*"]}],
            },
        }
    )
    breaker = Breaker(lambda: 0.0)
    client = context.clients.make(connection, Admission(Credentials("robot", "secret"), TLSOptions(), ()), breaker)
    link = context.links[CONNECTION] = Link.over(connection, client, clock=lambda: 0.0, breaker=breaker)
    return link


def declare_policy(context: Context) -> None:
    metadata: dict[str, Any] = {"namespace": "team", "name": "hook", "uid": "x", "resourceVersion": "1"}
    spec = {"projectName": "library", "targets": []}
    context.store.upsert(POLICY, {"kind": "WebhookPolicy", "metadata": metadata, "spec": spec})


async def test_the_end_of_a_pause_wakes_workers_and_senders() -> None:
    operator = Operator(Settings(cluster_name="test"))
    context = await operator._make_context(cast("Gateway", NoGateway()))
    declare_policy(context)
    link = connect(context)
    link.client.window.throttle(0.1)
    context.queue.add(POLICY, Cause.CHANGE)
    context.sending.add(SenderKey("Redelivery", POLICY), Cause.CHANGE)
    taking = [asyncio.create_task(queue.get()) for queue in (context.queue, context.sending)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in taking)

    taken = await asyncio.wait_for(asyncio.gather(*taking), 5)

    assert [key for key, _ in taken] == [POLICY, SenderKey("Redelivery", POLICY)]
    await link.client.close()


class Client:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


async def test_clients_that_were_just_replaced_are_closed_too() -> None:
    """Otherwise their sessions stay in Harbor for an hour, and asyncio logs an error."""
    client = Client()
    retire(cast(HarborClient, client))

    await Operator(Settings())._log_out()

    assert client.closed
    await cancel(set(links._closing))
    assert links.retired_clients() == []
