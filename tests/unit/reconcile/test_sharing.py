"""The share of the workers that a key uses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from harborhook.api.base import DeliveriesKey, Key, SenderKey
from harborhook.plan.references import references
from harborhook.reconcile.sharing import lane_of
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
