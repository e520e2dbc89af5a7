"""The share of the workers that a key uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from harborhook.api.base import ANNOTATION_RELEASE, FINALIZER, DeliveriesKey, Key, SenderKey
from harborhook.api.conditions import Reason, Verdict
from harborhook.api.connections import ClusterHarborConnection
from harborhook.harbor.client import HarborClient
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.transport import Credentials, Transport
from harborhook.plan.references import references
from harborhook.reconcile.links import Link
from harborhook.reconcile.sharing import gate_of_senders, gate_of_visits, lane_of
from harborhook.runtime.lanes import Lane
from harborhook.runtime.queue import Cause, Queue
from harborhook.runtime.store import Store

CLUSTERS = Key("ClusterHarborConnection", "", "default")
TEAMS = Key("HarborConnection", "team", "own")
OWN = {"kind": "HarborConnection", "name": "own"}
OF_TEAM = ("HarborConnections", "HarborConnections of team", "HarborConnection team/own")
DEFAULT = ("ClusterHarborConnection default",)


@pytest.fixture
def store() -> Store:
    return Store(references)


def declare(store: Store, kind: str, name: str, **spec: Any) -> Key:
    key = Key(kind, "team", name)
    if kind == "WebhookPolicy":
        spec = {"targets": [], **spec}
    metadata = {"namespace": "team", "name": name, "uid": name, "resourceVersion": "1"}
    store.upsert(key, {"kind": kind, "metadata": metadata, "spec": spec})
    return key


@pytest.mark.parametrize(
    ("spec", "shares", "gate"), [({}, DEFAULT, CLUSTERS), ({"connectionRef": OWN}, OF_TEAM, TEAMS)]
)
def test_a_project_uses_its_connections_share_and_its_namespace_takes_turns(
    store: Store, spec: dict[str, Any], shares: tuple[str, ...], gate: Key
) -> None:
    assert lane_of(store, declare(store, "HarborProject", "p", **spec)) == Lane(shares, "team", gate)


def test_a_policy_uses_the_share_of_its_projects_connection(store: Store) -> None:
    declare(store, "HarborProject", "p", connectionRef=OWN)
    policy = declare(store, "WebhookPolicy", "w", projectRef={"name": "p"})

    assert lane_of(store, policy) == Lane(OF_TEAM, "team", TEAMS)


def test_a_policy_of_a_project_by_name_uses_its_own_connections_share(store: Store) -> None:
    policy = declare(store, "WebhookPolicy", "w", projectName="library", connectionRef=OWN)

    assert lane_of(store, policy) == Lane(OF_TEAM, "team", TEAMS)


def test_a_policy_without_its_project_uses_no_connections_share(store: Store) -> None:
    policy = declare(store, "WebhookPolicy", "w", projectRef={"name": "p"})

    assert lane_of(store, policy).shares not in (DEFAULT, OF_TEAM, ())


def test_what_is_gone_has_a_lane(store: Store) -> None:
    assert lane_of(store, Key("HarborProject", "team", "gone")) == Lane(DEFAULT, "team")


def test_a_poll_uses_the_share_of_its_connection(store: Store) -> None:
    assert lane_of(store, DeliveriesKey(TEAMS, "p")) == Lane(OF_TEAM, gate=TEAMS)


def test_the_check_of_a_teams_connection_uses_the_teams_share_and_not_the_connections(store: Store) -> None:
    assert lane_of(store, TEAMS) == Lane(OF_TEAM[:2])


def test_the_check_of_a_clusters_connection_needs_no_share(store: Store) -> None:
    assert lane_of(store, CLUSTERS) == Lane()


async def test_the_receivers_of_one_namespace_leave_senders_to_the_others(store: Store) -> None:
    senders = 8
    queue = Queue(lambda: 0.0, workers=senders, lane_of=partial(lane_of, store))
    for number in range(100):
        queue.add(SenderKey("EndpointTest", Key("WebhookPolicy", "busy", f"w{number}")), Cause.CHANGE)
    held = 0
    while queue._take() is not None:
        held += 1
    other = SenderKey("EndpointTest", Key("WebhookPolicy", "other", "w"))

    queue.add(other, Cause.CHANGE)

    assert held < senders
    assert queue._take() == (other, Cause.CHANGE)


def declare_deleted(store: Store, **metadata: Any) -> Key:
    key = declare(store, "HarborProject", "p")
    body = {**(store.get(key) or {})}
    body["metadata"] = {
        **body["metadata"],
        "deletionTimestamp": "2026-01-01T00:00:00Z",
        "resourceVersion": "2",
        **metadata,
    }
    store.upsert(key, body)
    return key


def test_a_suspended_resource_needs_no_room_for_requests(store: Store) -> None:
    assert lane_of(store, declare(store, "HarborProject", "p", suspend=True)) == Lane(DEFAULT, "team")


@pytest.mark.parametrize(
    ("metadata", "gate"),
    [
        ({"finalizers": [FINALIZER]}, CLUSTERS),
        ({"finalizers": ["example.com/other"]}, None),
        ({"finalizers": [FINALIZER], "annotations": {ANNOTATION_RELEASE: "true"}}, None),
    ],
)
def test_a_deletion_that_changes_nothing_in_harbor_needs_no_room_for_requests(
    store: Store, metadata: dict[str, Any], gate: Key | None
) -> None:
    assert lane_of(store, declare_deleted(store, **metadata)) == Lane(DEFAULT, "team", gate)


def test_redelivery_reads_from_harbor_and_a_test_does_not(store: Store) -> None:
    policy = declare(store, "WebhookPolicy", "w", projectName="library")

    assert lane_of(store, SenderKey("Redelivery", policy)) == Lane(turn="team", gate=CLUSTERS)
    assert lane_of(store, SenderKey("EndpointTest", policy)) == Lane(turn="team")


async def test_a_connection_holds_its_keys_back_while_harbor_asks_for_a_pause() -> None:
    async with link_to_harbor() as links:
        visits, senders = gate_of_visits(links, CLUSTERS), gate_of_senders(links, CLUSTERS)
        assert visits is not None
        assert senders is not None
        assert (visits.is_open, senders.is_open) == (True, True)

        links[CLUSTERS].client.window.throttle(60)

        assert (visits.is_open, senders.is_open) == (False, False)


async def test_visits_that_use_up_a_connection_leave_it_to_senders() -> None:
    async with link_to_harbor() as links:
        visits, senders = gate_of_visits(links, CLUSTERS), gate_of_senders(links, CLUSTERS)
        assert visits is not None
        assert senders is not None
        visits.enter()

        senders.enter()
        assert (visits.is_open, senders.is_open) == (False, True)
        senders.leave()
        visits.leave()
        assert visits.is_open


async def test_a_connection_that_is_lost_or_suspended_holds_nothing_back() -> None:
    async with link_to_harbor() as links:
        links[CLUSTERS].verdict = Verdict(Reason.SUSPENDED, "")

        assert gate_of_visits(links, CLUSTERS) is None
        assert gate_of_senders(links, CLUSTERS) is None
    assert gate_of_visits({}, CLUSTERS) is None


@asynccontextmanager
async def link_to_harbor() -> AsyncIterator[dict[Key, Link]]:
    """Yields a connection with one concurrent request; no server is needed."""
    transport = Transport("http://127.0.0.1:1", Credentials("robot", "secret"), limiters=(Limiter(1, 100),))
    declared = {
        "metadata": {"name": "default"},
        "spec": {
            "url": transport.url,
            "credentialsSecretRef": {"namespace": "y", "name": "z"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        },
    }
    connection = ClusterHarborConnection.model_validate({"kind": "ClusterHarborConnection", **declared})
    try:
        yield {CLUSTERS: Link.over(connection, HarborClient(transport), clock=lambda: 0.0)}
    finally:
        await transport.close()
