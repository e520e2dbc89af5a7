"""The kopf adapter: its login and the settings of its watches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import kopf

from harborhook.handlers import Handlers
from harborhook.inventory import Inventory, View
from harborhook.kube.gateway import Gateway
from harborhook.kube.watches import Watches
from harborhook.settings import Settings
from harness.alone import kubeconfig_file


async def never() -> Inventory:
    raise AssertionError("nothing is to be started")


def adapter(gateway: Gateway | None = None) -> Handlers:
    return Handlers(View(Settings()), cast(Gateway, gateway), Watches(time.monotonic), start=never)


async def test_watches_go_through_the_proxy_of_the_kubeconfig_too(tmp_path: Path) -> None:
    gateway = await Gateway.connect(str(kubeconfig_file(tmp_path, user={}, **{"proxy-url": "http://127.0.0.1:3128"})))
    login = await adapter(gateway)._login()
    assert str(login.aiohttp_session._default_proxy) == gateway.configuration.proxy == "http://127.0.0.1:3128"
    await login.aiohttp_session.close()
    await gateway.close()


async def test_a_watch_without_a_sign_of_life_is_opened_again_soon_after_the_servers_minute() -> None:
    settings = kopf.OperatorSettings()

    await adapter()._configure(settings)

    assert 60 < settings.watching.inactivity_timeout <= 90  # the API server sends a bookmark every 60 s
