"""Testing the targets of a policy on request, without an event."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from harness.certificates import Authority
from harness.harbor.process import StandIn
from harness.own import own_harbor
from harness.receiver import Receiver
from harness.world import Object, World, eventually, header_from, http_target, ready_condition

ALLOWED: Object = {"allowEndpointTests": True, "allowedTargetHosts": ["127.0.0.1"]}


@pytest.fixture
def connection_fields() -> Object:
    return ALLOWED


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def declare(world: World, *targets: Object) -> None:
    project = world.project_name()
    world.project(project)
    world.policy("ci", project, targets=list(targets))
    world.ready("WebhookPolicy", "ci")


def results(world: World) -> list[Object]:
    """Asks for a test and waits for its answer."""
    stamp = secrets.token_hex(4)
    world.annotate("WebhookPolicy", "ci", test_endpoint=stamp)
    found = world.until(
        "WebhookPolicy",
        "ci",
        lambda found: (found["status"].get("endpointTest") or {}).get("request") == stamp,
        "the test was not answered",
    )
    return list(found["status"]["endpointTest"]["results"])


def test_each_target_is_sent_an_empty_object_with_its_header_once(own: World, receiver: Receiver) -> None:
    own.secret("ci", header="Bearer c4nary", url=f"{receiver.url}/c4nary-path")
    declare(
        own,
        http_target(f"{receiver.url}/ok", authHeaderFrom=header_from("ci")),
        {"type": "slack", "addressFrom": header_from("ci", "url")},
        http_target(f"{receiver.url}/status/403"),
        http_target(f"{receiver.url}/redirect/302/elsewhere"),
        http_target("http://127.0.0.1:9/c4nary"),
    )
    assert receiver.received() == []
    found = results(own)
    assert [(row["target"], row["reachable"], row.get("httpStatus")) for row in found] == [
        (0, True, 200),
        (1, True, 200),
        (2, True, 403),
        (3, True, 302),
        (4, False, None),
    ]
    assert "does not follow" in found[3]["message"]
    assert found[4]["message"].startswith("It cannot be reached: ")
    own.reconcile_all()
    got = {request.path: request for request in receiver.received()}
    assert len(receiver.received()) == 4, "each once, and no redirect was followed"
    assert got["/ok"].json() == {}
    assert got["/ok"].headers["authorization"] == "Bearer c4nary"
    assert "authorization" not in got["/status/403"].headers
    shown = [own.get("WebhookPolicy", "ci")["status"], own.events("ci"), own.operator.log.read_text()]
    assert "c4nary" not in str(shown)


def test_a_certificate_is_verified_as_the_target_says(own: World) -> None:
    with Receiver(tls=True) as secured:
        declare(own, http_target(f"{secured.url}/a"), http_target(f"{secured.url}/b", verifyRemoteCertificate=False))
        first, second = results(own)
    assert (first["reachable"], second["reachable"]) == (False, True)
    assert first["message"].startswith("Its certificate is not trusted: no trusted authority issued it.")


def test_authorities_of_the_connection_are_trusted_and_a_change_of_them_counts(own: World) -> None:
    with Receiver(tls=True) as secured:
        assert secured.certificate is not None
        bundle = {"kind": "ConfigMap", "namespace": "harborhook", "name": own.connection}
        own.config_map(own.connection, "harborhook", **{"ca.crt": secured.certificate.read_text()})
        own.connect(own.connection, tls={"caBundleRef": bundle}, **ALLOWED)
        own.until("ClusterHarborConnection", own.connection, _is_of_generation, "seen")
        declare(own, http_target(f"{secured.url}/a"))
        (row,) = results(own)
        assert (row["reachable"], row.get("httpStatus")) == (True, 200), row
        own.config_map(own.connection, "harborhook", **{"ca.crt": Authority().bundle})
        eventually(lambda: not results(own)[0]["reachable"], lambda: "the former authority is still trusted")


def _is_of_generation(found: Object) -> bool:
    return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])


def test_where_it_is_not_allowed_nothing_is_sent_and_the_answer_says_who_can_allow_it(
    world: World, stand_in: StandIn, receiver: Receiver
) -> None:
    with own_harbor(world, stand_in) as own:
        declare(own, http_target(f"{receiver.url}/ok"))
        (row,) = results(own)
        assert row["reachable"] is False
        assert "allowEndpointTests" in row["message"]
        assert receiver.received() == []


def test_a_host_that_targets_may_not_have_is_not_asked(own: World, receiver: Receiver) -> None:
    project = own.project_name()
    own.project(project)
    elsewhere = receiver.url.replace("127.0.0.1", "localhost")
    own.policy("ci", project, targets=[http_target(f"{elsewhere}/ok")])
    own.reason("WebhookPolicy", "ci", "TargetHostNotAllowed")
    own.annotate("WebhookPolicy", "ci", test_endpoint="now", reconcile_at="now")
    found = own.until("WebhookPolicy", "ci", lambda found: found["status"].get("lastHandledReconcileAt") == "now")
    assert ready_condition(found)["reason"] == "TargetHostNotAllowed"
    assert "endpointTest" not in found["status"]
    assert receiver.received() == []
