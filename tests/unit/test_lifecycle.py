"""The end of the operator's process."""

from __future__ import annotations

from typing import cast

from harborhook.harbor.client import HarborClient
from harborhook.lifecycle import Operator
from harborhook.reconcile import links
from harborhook.reconcile.links import retire
from harborhook.runtime.process import cancel
from harborhook.settings import Settings


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
