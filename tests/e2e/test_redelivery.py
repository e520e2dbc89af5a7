"""Redelivery: notifications that Harbor could not deliver arrive, unchanged and not twice."""

from __future__ import annotations

import random
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.harbor.process import StandIn
from harness.own import leave, own_harbor, standing
from harness.push import push_artifact
from harness.receiver import Received, Receiver
from harness.world import Object, World, condition, eventually, header_from, http_target

ALLOWED: Object = {"allowRedelivery": True, "allowedTargetHosts": ["127.0.0.1"]}
AUTOMATIC: Object = {"mode": "Automatic"}


@pytest.fixture
def connection_fields() -> Object:
    return ALLOWED


@pytest.fixture
def one_attempt_27(world: World) -> Iterator[World]:
    """A Harbor before 2.8 that makes a single attempt."""
    with (
        StandIn.start(version="2.7", extra=["--max-attempts=1"]) as stand_in,
        own_harbor(world, stand_in, "2.7", deliveryMaxAttempts=1, **ALLOWED) as found,
    ):
        yield found


@pytest.fixture
def one_attempt(world: World) -> Iterator[World]:
    """With a Harbor that makes a single attempt, as its connection says."""
    with (
        StandIn.start(extra=["--max-attempts=1"]) as stand_in,
        own_harbor(world, stand_in, deliveryMaxAttempts=1, **ALLOWED) as found,
    ):
        yield found


@pytest.fixture
def reachable(world: World) -> Iterator[tuple[World, Receiver, str]]:
    """The Harbor under test, which may be a real one, over a connection that allows redelivery; a receiver for it, and
    the receiver's address."""
    if world.harbor.receiver_url is None:
        pytest.skip("nobody said where this Harbor reaches a receiver")
    url = urlsplit(world.harbor.receiver_url)
    own = f"own-{world._unique}"
    found = World(world.control_plane, world.harbor, world.operator, world.namespace, connection=own)
    found.connect(found.connection, allowRedelivery=True, allowedTargetHosts=[str(url.hostname)])
    found.ready("ClusterHarborConnection", found.connection)
    with Receiver(host="0.0.0.0" if world.harbor.is_real else "127.0.0.1", port=url.port or 0) as receiver:
        yield found, receiver, f"{url.scheme}://{url.hostname}:{receiver.port}"
    leave(found)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def declare(world: World, *targets: Object, name: str = "ci", **spec: Any) -> str:
    project = world.project_name()
    world.project(project)
    world.policy(name, project, targets=list(targets), **spec)
    world.ready("WebhookPolicy", name)
    return project


def push(world: World, project: str, *tags: str) -> None:
    for tag in tags:
        push_artifact(world.harbor.url, world.harbor.username, world.harbor.password, f"{project}/app", tag)


def deliveries(world: World, name: str = "ci") -> Object:
    return dict(world.get("WebhookPolicy", name)["status"].get("deliveries") or {})


def until_undelivered(world: World, count: int, name: str = "ci") -> Object:
    return world.until(
        "WebhookPolicy",
        name,
        lambda found: (
            (found["status"].get("deliveries") or {}).get("undelivered", 0) == count
            and not found["status"]["deliveries"]["inProgress"]
        ),
        f"not {count} undelivered",
    )


def until_redelivered(world: World, name: str = "ci") -> Object:
    return world.until(
        "WebhookPolicy",
        name,
        lambda found: condition(found, "Delivering").get("reason") == "Redelivered",
        "Delivering has not become Redelivered",
    )


def ask(world: World, what: str, name: str = "ci") -> Object:
    """Sets the annotation and waits for the answer."""
    request = f"{what} {secrets.token_hex(4)}"
    world.annotate("WebhookPolicy", name, redeliver=request)
    found = world.until(
        "WebhookPolicy",
        name,
        lambda found: (
            (found["status"].get("redelivery") or {}).get("request") == request
            and "time" in found["status"]["redelivery"]
        ),
        "the request was not answered",
    )
    return dict(found["status"]["redelivery"])


def again(receiver: Receiver) -> list[Received]:
    """Returns the operator's requests."""
    return [one for one in receiver.received() if one.redelivery is not None]


def tags_of(requests: list[Received]) -> list[str]:
    return [one.json()["event_data"]["resources"][0]["tag"] for one in requests]


def test_what_was_lost_while_the_receiver_was_down_arrives_when_it_is_back(own: World, receiver: Receiver) -> None:
    own.secret("ci", header="Bearer c4nary-header")
    target = http_target(f"{receiver.url}/c4nary-path", authHeaderFrom=header_from("ci"))
    project = declare(own, target, redelivery=AUTOMATIC)
    push(own, project, "v0")
    (first,) = receiver.wait(1)
    receiver.down(503)
    push(own, project, "v1", "v2", "v3")
    found = until_undelivered(own, 3)
    assert condition(found, "Delivering")["reason"] == "LastDeliveryFailed"
    assert "3 events are not delivered" in condition(found, "Delivering")["message"]
    receiver.up()
    found = until_redelivered(own)

    sent = [one for one in again(receiver) if one.answered == 200]
    assert tags_of(sent) == ["v1", "v2", "v3"], "oldest first"
    failed = [one for one in receiver.received() if one.redelivery is None and one.answered == 503]
    for one in sent:
        by_harbor = next(other for other in failed if other.json() == one.json())
        assert one.body == by_harbor.body, "byte for byte"
        assert one.content_type == by_harbor.content_type == first.content_type
        assert one.authorization == by_harbor.authorization == "Bearer c4nary-header"
    status = found["status"]["deliveries"]
    assert (status.get("undelivered", 0), status.get("consecutiveFailures", 0)) == (0, 0)
    rows = [(row["subject"], row["status"], (row.get("redelivery") or {}).get("status")) for row in status["recent"]]
    assert rows == [
        (f"{project}/app:v3", "Failed", "Succeeded"),
        (f"{project}/app:v2", "Failed", "Succeeded"),
        (f"{project}/app:v1", "Failed", "Succeeded"),
        (f"{project}/app:v0", "Succeeded", None),
    ]
    eventually(lambda: "Redelivered" in [event["reason"] for event in own.events("ci")], lambda: str(own.events("ci")))
    before = len(receiver.received())
    own.reconcile_all()
    assert len(receiver.received()) == before, "none twice"
    shown = [own.get("WebhookPolicy", "ci")["status"], own.events("ci"), own.operator.log.read_text()]
    assert "c4nary" not in str(shown)


def test_a_dead_receiver_gets_one_request_per_pause_however_many_wait(own: World, receiver: Receiver) -> None:
    project = declare(own, http_target(f"{receiver.url}/hook"), redelivery=AUTOMATIC)
    receiver.down(500)
    push(own, project, *(f"v{n}" for n in range(5)))
    until_undelivered(own, 5)
    start = len(again(receiver))  # earlier, a younger one might have been the only failed one in Harbor
    eventually(lambda: len(again(receiver)) >= start + 4, lambda: "no attempts")
    assert set(tags_of(again(receiver)[start + 1 :])) == {"v0"}, "the oldest alone"
    attempts = deliveries(own)["redeliveries"][0]["attempts"]
    assert 0 <= len(again(receiver)) - attempts <= 1, "none besides those that are counted"


def test_on_request_what_failed_is_sent_once(own: World, receiver: Receiver) -> None:
    project = declare(own, http_target(f"{receiver.url}/hook"))
    receiver.down(500)
    push(own, project, "v1", "v2")
    until_undelivered(own, 2)
    answer = ask(own, "failed")
    assert (answer["succeeded"], answer["failed"]) == (0, 2), "to a dead receiver one is sent, and the other is not"
    assert len(again(receiver)) == 1
    assert "1 more to the same target were not tried" in answer["message"]
    receiver.up()
    answer = ask(own, "failed")
    assert (answer["succeeded"], answer.get("failed", 0)) == (2, 0), answer
    until_redelivered(own)
    assert ask(own, "failed")["message"].startswith("Nothing is undelivered")


def test_any_notification_can_be_asked_for_by_its_id(own: World, receiver: Receiver) -> None:
    project = declare(own, http_target(f"{receiver.url}/hook"))
    push(own, project, "v1")
    found = own.until(
        "WebhookPolicy", "ci", lambda found: (found["status"].get("deliveries") or {}).get("recent"), "nothing"
    )
    execution = found["status"]["deliveries"]["recent"][0]["executionID"]
    answer = ask(own, f"{execution},999999999")
    assert (answer["succeeded"], answer["failed"]) == (1, 1)
    assert "Harbor no longer has 1 of them" in answer["message"]
    (sent,) = again(receiver)
    assert (sent.redelivery, sent.body) == (execution, receiver.received()[0].body)


@pytest.mark.parametrize("value", ["now", "all", "1;2"])
def test_a_request_that_cannot_be_understood_says_how_to_ask(own: World, value: str) -> None:
    declare(own, http_target("http://127.0.0.1:9/hook"))
    assert 'Begin the annotation with "failed"' in ask(own, value)["message"]


def test_before_harbor_2_8_what_failed_is_sent_as_harbor_sends_it_to_slack_too(
    one_attempt_27: World, receiver: Receiver
) -> None:
    slack = {"type": "slack", "address": f"{receiver.url}/slack"}
    project = declare(one_attempt_27, http_target(f"{receiver.url}/hook"), name="http")
    one_attempt_27.policy("slack", project, targets=[slack])
    one_attempt_27.ready("WebhookPolicy", "slack")
    receiver.down(500)
    push(one_attempt_27, project, "v1")
    for name in ("http", "slack"):
        until_undelivered(one_attempt_27, 1, name)
    receiver.up()
    for name in ("http", "slack"):
        answer = ask(one_attempt_27, "failed", name)
        assert answer["succeeded"] == 1, answer
    for path in ("/hook", "/slack"):
        by_harbor, by_us = receiver.received(path)[0], [one for one in again(receiver) if one.path == path][-1]
        assert (by_us.body, by_us.content_type) == (by_harbor.body, by_harbor.content_type)


def test_every_format_is_sent_again_as_harbor_sent_it(reachable: tuple[World, Receiver, str]) -> None:
    world, receiver, address = reachable
    targets: dict[str, Object] = {
        "default": http_target(f"{address}/default"),
        "events": http_target(f"{address}/events", payloadFormat="CloudEvents"),
        "slack": {"type": "slack", "address": f"{address}/slack"},
    }
    project = world.project_name()
    world.project(project)
    for name, target in targets.items():
        world.policy(name, project, targets=[target])
        world.ready("WebhookPolicy", name)
    push(world, project, "v1")
    for name in targets:
        found = world.until(
            "WebhookPolicy", name, lambda found: (found["status"].get("deliveries") or {}).get("lastSuccessTime")
        )
        (event,) = found["status"]["deliveries"]["recent"]
        assert ask(world, str(event["executionID"]), name)["succeeded"] == 1
        by_harbor, by_us = receiver.received(f"/{name}")
        assert (by_us.body, by_us.content_type) == (by_harbor.body, by_harbor.content_type)
        assert (by_harbor.redelivery, by_us.redelivery) == (None, event["executionID"])


def test_killed_again_and_again_it_sends_what_harbor_keeps_once_each_and_one_more_per_kill_at_most(
    one_attempt: World, receiver: Receiver
) -> None:
    """120 events while the receiver is down: of http and of slack, Harbor keeps the newest 50."""
    own, moments = one_attempt, random.Random(16)
    slack = {"type": "slack", "address": f"{receiver.url}/slack"}
    project = declare(own, http_target(f"{receiver.url}/http"), slack, redelivery=AUTOMATIC)
    receiver.down(503)
    for number in range(120):
        standing(own).happen("PUSH_ARTIFACT", project, tag=f"v{number}")
    until_undelivered(own, 120)
    standing(own).sweep()
    own.operator.kill()
    start = receiver.received()[-1].number
    receiver.up()
    own.operator.restart()
    kills = 0
    while len({(one.path, one.redelivery) for one in again(receiver) if one.number > start}) < 100:
        time.sleep(moments.uniform(0.5, 4))
        if kills < 3:
            own.operator.kill()
            own.operator.restart()
            kills += 1
    until_redelivered(own)
    sent = [one for one in again(receiver) if one.number > start]
    arrived = Counter((one.path, one.redelivery) for one in sent)
    assert Counter(path for path, _ in arrived) == {"/http": 50, "/slack": 50}
    assert sum(arrived.values()) - len(arrived) <= kills
    firsts = list(dict.fromkeys(tag for one in sent if one.path == "/http" for tag in tags_of([one])))
    assert firsts == [f"v{number}" for number in range(70, 120)], "oldest first"
    eventually(
        lambda: any("Harbor has forgotten them" in event["note"] for event in own.events("ci")),
        lambda: str(own.events("ci")),
    )
