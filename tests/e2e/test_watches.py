"""A watch that goes silent is reopened, and one that has ended fails the liveness probe.

The operator runs in the test's process, where its time-outs can be shortened and a watch can be ended.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import kopf
import pytest

from harborhook import handlers, lifecycle
from harborhook.api.base import Key
from harborhook.inventory import Inventory
from harborhook.kube.gateway import PAGE_SIZE
from harborhook.lifecycle import Operator
from harborhook.reconcile import changes
from harborhook.settings import Settings
from harness.api_proxy import ApiProxy
from harness.control_plane import ControlPlane

SILENCE, LIMIT = 2.0, 8.0
PATIENCE = 40.0
"""Seconds within which everything happens; with the limits of a real operator it would take minutes."""
NAMESPACE = "watched"
PROJECTS = f"/apis/harborhook.io/v1alpha1/namespaces/{NAMESPACE}/harborprojects"
CANARY = "canary-5d1c"
KINDS = {
    "clusterharborconnections",
    "harborconnections",
    "harborprojects",
    "webhookpolicies",
    "configmaps",
    "secrets",
}


@pytest.fixture
def proxy(own_cluster: ControlPlane) -> Iterator[ApiProxy]:
    with ApiProxy(own_cluster) as running:
        yield running


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the time-outs."""
    monkeypatch.setattr(handlers, "WATCH_SILENCE", SILENCE)
    monkeypatch.setattr(lifecycle, "WATCH_LIMIT", LIMIT)
    monkeypatch.setattr(handlers, "Backoffs", lambda: itertools.repeat(1.0))


@pytest.fixture
async def operator(own_cluster: ControlPlane, proxy: ApiProxy) -> AsyncIterator[Operator]:
    async with running_operator(own_cluster, proxy) as found:
        yield found


@asynccontextmanager
async def running_operator(own_cluster: ControlPlane, proxy: ApiProxy) -> AsyncIterator[Operator]:
    """An operator that never lists again on its own."""
    own_cluster.create_namespace(NAMESPACE)
    kubeconfig = own_cluster.service_account_kubeconfig("harborhook", "harborhook", server=proxy.url)
    found = Operator(Settings(namespace="harborhook", relist_interval=3600, listen_port=0), str(kubeconfig))
    stop = asyncio.Event()
    running = asyncio.create_task(found.run(stop))
    await until(lambda: found._is_ready() and watched(proxy) >= KINDS, "its watches do not begin")
    yield found
    stop.set()
    await running


async def test_what_changes_behind_a_silent_watch_is_heard_of_soon(
    own_cluster: ControlPlane, proxy: ApiProxy, operator: Operator
) -> None:
    proxy.stall_watches()

    key = declare(own_cluster, "unheard")

    await until(lambda: operator.context is not None and key in operator.context.store, "nothing is heard of it")
    assert operator._is_alive()


async def test_a_watch_that_has_ended_fails_the_liveness_probe(operator: Operator) -> None:
    (watcher,) = (task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for webhookpolicies"))

    watcher.cancel()

    await until(lambda: not operator._is_alive(), "nobody notices")
    (silent,) = operator._watches.silent(LIMIT)
    assert silent.endswith("/webhookpolicies")


async def test_just_what_is_watched_is_expected_to_be(proxy: ApiProxy, operator: Operator) -> None:
    asked = {path.partition("?")[0] for _, path in proxy.requests if "watch=true" in path}

    assert operator.handlers is not None
    operator._watches._asked.clear()
    operator.handlers._expect_watches()

    assert set(operator._watches._asked) == asked


async def test_a_kind_that_may_not_be_listed_for_long_is_no_reason_to_begin_anew(
    proxy: ApiProxy, operator: Operator
) -> None:
    proxy.fail("GET", "/webhookpolicies", 403)
    proxy.cut_watches()

    end = time.monotonic() + 1.5 * LIMIT
    while time.monotonic() < end:
        assert operator._is_alive()
        await asyncio.sleep(0.5)


async def test_the_session_of_each_login_is_closed_when_the_next_begins(
    proxy: ApiProxy, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[aiohttp.ClientSession] = []
    assert operator.handlers is not None
    session = operator.handlers._session

    def noted(info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
        made.append(session(info))
        return made[-1]

    monkeypatch.setattr(operator.handlers, "_session", noted)
    monkeypatch.setattr(handlers, "LOGIN_LIFE", timedelta(seconds=1))
    monkeypatch.setattr(handlers, "LOGIN_PAUSE", 0.1)

    proxy.fail("GET", "watch=true", 401, times=3)
    proxy.cut_watches()

    await until(lambda: len(made) > 5, "there are no further logins")
    assert [one.closed for one in made[:-1]] == [True] * (len(made) - 1)
    assert operator._is_alive()


async def test_of_secrets_and_config_maps_only_the_metadata_reaches_the_operator(
    own_cluster: ControlPlane, proxy: ApiProxy, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Key] = []
    monkeypatch.setattr(changes, "saw_secret", lambda context, source, version: reported.append(source))
    proxy.answers = bytearray()
    core = f"/api/v1/namespaces/{NAMESPACE}"
    helms, others = "sh.helm.release.v1.shop.v1", [Key("Secret", NAMESPACE, "other"), Key("ConfigMap", NAMESPACE, "x")]
    own_cluster.admin.create(
        f"{core}/secrets",
        {"metadata": {"name": helms}, "type": "helm.sh/release.v1", "stringData": {"release": CANARY}},
    )
    own_cluster.admin.create(f"{core}/secrets", {"metadata": {"name": "other"}, "stringData": {"password": CANARY}})
    own_cluster.admin.create(f"{core}/configmaps", {"metadata": {"name": "x"}, "data": {"text": CANARY}})
    await until(lambda: {*others} <= {*reported}, "the watch does not report them")

    reported.clear()
    proxy.fail("GET", "(secrets|configmaps).*watch=true", 410, times=2)
    proxy.cut_watches()
    await until(lambda: {*others} <= {*reported}, "the list does not report them")

    assert Key("Secret", NAMESPACE, helms) not in reported
    for unseen in (helms, CANARY, base64.b64encode(CANARY.encode()).decode()):
        assert unseen.encode() not in proxy.answers


async def test_lists_are_read_by_small_pages(own_cluster: ControlPlane, proxy: ApiProxy, operator: Operator) -> None:
    limits = {dict(parse_qsl(urlsplit(path).query)).get("limit") for path in lists(proxy)}

    assert limits - {"1"} == {"100"}  # 1: only the version of the list matters


async def test_what_is_deleted_before_the_first_watch_begins_is_forgotten_without_another_listing(
    own_cluster: ControlPlane, proxy: ApiProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cluster.create_namespace(NAMESPACE)
    keys = [declare(own_cluster, f"listed-{number}") for number in range(PAGE_SIZE + 1)]
    list_all = Inventory.list_all
    listings = 0

    async def followed_by_a_deletion(self: Inventory, *, first: bool = False) -> None:
        nonlocal listings
        listings += 1
        await list_all(self, first=first)
        assert keys[0] in self.context.store
        own_cluster.admin.request("DELETE", f"{PROJECTS}/{keys[0].name}")

    monkeypatch.setattr(Inventory, "list_all", followed_by_a_deletion)
    async with running_operator(own_cluster, proxy) as operator:
        assert operator.context is not None
        store = operator.context.store
        await until(lambda: keys[0] not in store, "nothing is heard of the deletion")
        assert {*keys[1:]} <= {*store.all("HarborProject")}
    own_cluster.admin.request("DELETE", PROJECTS)

    assert listings == 1
    read = [path for path in lists(proxy) if "/harborprojects?" in path]
    assert len(read) == 3, "two pages for us, one for kopf"


def lists(proxy: ApiProxy) -> list[str]:
    return [
        path
        for method, path in proxy.requests
        if method == "GET" and "watch=true" not in path and urlsplit(path).path.rpartition("/")[2] in KINDS
    ]


def declare(cluster: ControlPlane, name: str) -> Key:
    """A project over a connection that does not exist."""
    cluster.admin.create(
        PROJECTS,
        {"apiVersion": "harborhook.io/v1alpha1", "kind": "HarborProject", "metadata": {"name": name}, "spec": {}},
    )
    return Key("HarborProject", NAMESPACE, name)


def watched(proxy: ApiProxy) -> set[str]:
    """Returns the plurals of the watched kinds."""
    return {path.partition("?")[0].rpartition("/")[2] for _, path in proxy.requests if "watch=true" in path}


async def until(true: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, complaint
        await asyncio.sleep(0.1)
