"""Kargo, Argo CD Image Updater, Argo Events and Mattermost: what the how-tos say works, and their warnings hold.

The YAML of docs/receivers is applied unchanged, with its placeholders filled in. The receivers are imitations
(harness.known_receivers); Mattermost's relay is the one on the page.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from harness.known_receivers import argo_events, image_updater, image_updater_1_0, kargo, mattermost, quoting
from harness.operator_process import free_port
from harness.own import standing
from harness.readme import blocks
from harness.receiver import Receiver
from harness.world import Object, World, condition, eventually, header_from, http_target

PAGES = Path(__file__).parents[2] / "docs/receivers"
OURS = {"Secret", "WebhookPolicy"}
BARE = "q7Zk2pLw9XvB4nTr8sYdK3mH6cFj1gUe"
"""A header without a scheme, as in the how-tos."""
PATH = "/" + "a1c4nary" * 8
"""The paths of Kargo and Mattermost, which are secret."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def project(own: World) -> str:
    """The HarborProject that the pages name."""
    name = own.project_name()
    own.patch("ClusterHarborConnection", own.connection, {"spec": {"allowedTargetHosts": ["127.0.0.1"]}})
    own.project("team-a", projectName=name)
    own.ready("HarborProject", "team-a")
    return name


def declared(own: World, page: str, **filled_in: str) -> list[Object]:
    """Applies the Secrets and policies of a page to the test's namespace; returns all objects of the page."""
    text = "\n---\n".join(blocks((PAGES / page).read_text(), "yaml"))
    for placeholder, value in filled_in.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    objects = [found for found in yaml.safe_load_all(text) if found]
    for found in objects:
        assert found["metadata"].pop("namespace") == "team-a"
        if found["kind"] in OURS:
            own.apply(found)
    assert "REPLACE" not in str([found for found in objects if found["kind"] in OURS])
    return objects


def push(own: World, project: str, tag: str = "v1") -> None:
    standing(own).happen("PUSH_ARTIFACT", project, repository="app", tag=tag, digest="sha256:" + "0" * 64)


def until_delivering(own: World, name: str, reason: str) -> Object:
    return own.until(
        "WebhookPolicy", name, lambda found: condition(found, "Delivering").get("reason") == reason, f"not {reason}"
    )


def failure(found: Object) -> str:
    return str(found["status"]["deliveries"]["lastFailureMessage"])


def assert_nothing_secret_is_shown(own: World, *names: str) -> None:
    shown: list[Any] = [own.get("WebhookPolicy", name)["status"] for name in names]
    shown += [own.events(name) for name in names]
    shown += [own.operator.log.read_text(), own.operator.metrics()]
    for secret in (BARE[:8], "c4nary"):
        assert secret.lower() not in str(shown).lower()


# Kargo


def declare_kargo(own: World, receiver: Receiver) -> list[Object]:
    return declared(
        own,
        "kargo.md",
        **{
            "https://kargo-webhooks.example.com/REPLACE-WITH-THE-PATH-THAT-KARGO-SHOWS": receiver.url + PATH,
            "REPLACE-WITH-32-RANDOM-CHARACTERS": BARE,
        },
    )


def test_kargo_takes_pushes_as_its_page_declares_them(own: World, project: str, receiver: Receiver) -> None:
    receiver.imitate(PATH, kargo(BARE))
    config = next(found for found in declare_kargo(own, receiver) if found["kind"] == "ProjectConfig")
    (stated,) = config["spec"]["webhookReceivers"]
    policy = own.ready("WebhookPolicy", "kargo")
    assert (
        stated["harbor"]["secretRef"]["name"] == policy["spec"]["targets"][0]["authHeaderFrom"]["secretKeyRef"]["name"]
    )
    push(own, project)
    until_delivering(own, "kargo", "LastDeliverySucceeded")
    (received,) = receiver.received(PATH)
    assert received.headers["authorization"] == BARE
    assert received.json()["event_data"]["resources"][0]["resource_url"].endswith(f"{project}/app:v1")
    assert_nothing_secret_is_shown(own, "kargo")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"target": {"payloadFormat": "CloudEvents"}}, 400),
        ({"event": "PULL_ARTIFACT"}, 400),
        ({"header": f"Bearer {BARE}"}, 401),
        ({"path": "/status/404"}, 404),
    ],
    ids=["cloudevents", "other-event", "scheme", "other-address"],
)
def test_kargos_refusals_show_as_its_page_says(
    own: World, project: str, receiver: Receiver, changed: dict[str, Any], status: int
) -> None:
    receiver.imitate(PATH, kargo(BARE))
    event = changed.get("event", "PUSH_ARTIFACT")
    own.secret("kargo", header=changed.get("header", BARE), url=receiver.url + changed.get("path", PATH))
    target = {
        "type": "http",
        "addressFrom": header_from("kargo", "url"),
        "authHeaderFrom": header_from("kargo"),
        **changed.get("target", {}),
    }
    own.policy("kargo", "team-a", eventTypes=[event], targets=[target])
    own.ready("WebhookPolicy", "kargo")
    standing(own).happen(event, project, repository="app", tag="v1", digest="sha256:" + "0" * 64)
    said = failure(until_delivering(own, "kargo", "LastDeliveryFailed"))
    assert said.partition(": ")[0] == f"127.0.0.1 answered with status {status}"
    assert_nothing_secret_is_shown(own, "kargo")


def test_a_header_without_a_scheme_is_not_shown_when_a_receiver_quotes_it(
    own: World, project: str, receiver: Receiver
) -> None:
    receiver.imitate(PATH, quoting)
    declare_kargo(own, receiver)
    own.ready("WebhookPolicy", "kargo")
    push(own, project)
    said = failure(until_delivering(own, "kargo", "LastDeliveryFailed"))
    assert said.startswith("127.0.0.1 answered with status 401: unknown token ***, also as ***")
    assert_nothing_secret_is_shown(own, "kargo")


# Argo CD Image Updater


def declare_image_updater(own: World, receiver: Receiver, header: str = BARE) -> None:
    filled_in = {"https://image-updater.example.com": receiver.url, "REPLACE-WITH-THE-SAME-VALUE": header}
    declared(own, "argocd-image-updater.md", **filled_in)
    own.ready("WebhookPolicy", "image-updater")


def test_image_updater_takes_pushes_as_its_page_declares_them(own: World, project: str, receiver: Receiver) -> None:
    receiver.imitate("/webhook", image_updater(BARE))
    declare_image_updater(own, receiver)
    push(own, project)
    until_delivering(own, "image-updater", "LastDeliverySucceeded")
    (received,) = receiver.received("/webhook")
    assert (received.query, received.headers["authorization"]) == ("type=harbor", BARE)
    assert_nothing_secret_is_shown(own, "image-updater")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "invalid webhook secret"),
        ({"query": ""}, "missing registry type parameter"),
        ({"query": "?type=quay.io"}, "invalid registry type"),
        ({"event": "PULL_ARTIFACT"}, "unsupported event type"),
        ({"target": {"payloadFormat": "CloudEvents"}}, "invalid content type"),
    ],
    ids=["scheme", "no-type", "other-type", "other-event", "cloudevents"],
)
def test_image_updaters_complaints_show_as_its_page_says(
    own: World, project: str, receiver: Receiver, changed: dict[str, Any], said: str
) -> None:
    assert f"| `{said}` |" in (PAGES / "argocd-image-updater.md").read_text()
    receiver.imitate("/webhook", image_updater(BARE))
    event = changed.get("event", "PUSH_ARTIFACT")
    own.secret("header", header=BARE if changed else f"Bearer {BARE}")
    address = f"{receiver.url}/webhook{changed.get('query', '?type=harbor')}"
    target = http_target(address, authHeaderFrom=header_from("header"), **changed.get("target", {}))
    own.policy("image-updater", "team-a", eventTypes=[event], targets=[target])
    own.ready("WebhookPolicy", "image-updater")
    standing(own).happen(event, project, repository="app", tag="v1", digest="sha256:" + "0" * 64)
    found = failure(until_delivering(own, "image-updater", "LastDeliveryFailed"))
    assert found.startswith(f"127.0.0.1 answered with status 400: {said}")
    assert_nothing_secret_is_shown(own, "image-updater")


def test_image_updater_1_0_refuses_what_harbor_sends_as_its_page_says(
    own: World, project: str, receiver: Receiver
) -> None:
    said = "invalid webhook signature"
    assert f"| `{said}` |" in (PAGES / "argocd-image-updater.md").read_text()
    receiver.imitate("/webhook", image_updater_1_0(BARE))
    declare_image_updater(own, receiver)
    push(own, project)
    found = failure(until_delivering(own, "image-updater", "LastDeliveryFailed"))
    assert found.startswith(f"127.0.0.1 answered with status 400: {said}")


# Argo Events


def declare_argo_events(own: World, receiver: Receiver) -> None:
    objects = declared(
        own,
        "argo-events.md",
        **{
            "http://harbor-eventsource-svc.team-a.svc:12000/push": f"{receiver.url}/push",
            "REPLACE-WITH-32-RANDOM-CHARACTERS": BARE,
        },
    )
    (source,) = (found["spec"]["webhook"]["push"] for found in objects if found["kind"] == "EventSource")
    (secret,) = (found for found in objects if found["kind"] == "Secret")
    assert source["authSecret"]["name"] == secret["metadata"]["name"]
    assert secret["stringData"][source["authSecret"]["key"]] == BARE
    assert (source["endpoint"], source["method"]) == ("/push", "POST")
    own.ready("WebhookPolicy", "argo-events")


def test_argo_events_takes_pushes_as_its_page_declares_them(own: World, project: str, receiver: Receiver) -> None:
    receiver.imitate("/push", argo_events(BARE))
    declare_argo_events(own, receiver)
    push(own, project)
    until_delivering(own, "argo-events", "LastDeliverySucceeded")
    (received,) = receiver.received("/push")
    assert received.json()["event_data"]["resources"][0]["resource_url"].endswith(f"{project}/app:v1")
    assert_nothing_secret_is_shown(own, "argo-events")


@pytest.mark.parametrize(
    ("token", "bus", "status", "said"),
    [("another", True, 401, "Invalid Auth token"), (BARE, False, 500, "failed to record event")],
    ids=["token", "bus"],
)
def test_argo_events_refusals_show_as_its_page_says(
    own: World, project: str, receiver: Receiver, token: str, bus: bool, status: int, said: str
) -> None:
    assert f"| {status} `{said}` |" in (PAGES / "argo-events.md").read_text()
    receiver.imitate("/push", argo_events(token, bus=bus))
    declare_argo_events(own, receiver)
    push(own, project)
    found = failure(until_delivering(own, "argo-events", "LastDeliveryFailed"))
    assert found == f"127.0.0.1 answered with status {status}: {said}"


# Mattermost


@pytest.mark.parametrize("kind", ["slack", "http"])
def test_mattermost_refuses_what_harbor_sends_as_its_page_says(
    own: World, project: str, receiver: Receiver, kind: str
) -> None:
    receiver.imitate(f"/hooks{PATH}", mattermost)
    own.secret("mattermost", url=f"{receiver.url}/hooks{PATH}")
    own.policy("mattermost", "team-a", targets=[{"type": kind, "addressFrom": header_from("mattermost", "url")}])
    own.ready("WebhookPolicy", "mattermost")
    push(own, project)
    found = until_delivering(own, "mattermost", "LastDeliveryFailed")
    assert failure(found) == "127.0.0.1 answered with status 400"
    assert_nothing_secret_is_shown(own, "mattermost")


def test_mattermost_gets_a_line_of_text_from_the_relay_of_its_page(
    own: World, project: str, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.imitate(f"/hooks{PATH}", mattermost)
    port = free_port()
    objects = declared(
        own,
        "mattermost.md",
        **{
            "https://mattermost.example.com/hooks/REPLACE-ME": f"{receiver.url}/hooks{PATH}",
            "REPLACE-WITH-32-RANDOM-CHARACTERS": BARE,
            "http://mattermost-relay.team-a.svc:8080/": f"http://127.0.0.1:{port}/",
        },
    )
    for found in (found for found in objects if found["kind"] not in OURS):
        own.control_plane.apply(yaml.safe_dump(found), "--namespace", own.namespace, "--dry-run=server")
    (script,) = (found["data"]["relay.py"] for found in objects if found["kind"] == "ConfigMap")
    (secret,) = (found["stringData"] for found in objects if found["kind"] == "Secret")
    with relaying(tmp_path, script, {**secret, "HOST": "127.0.0.1", "PORT": str(port)}):
        own.ready("WebhookPolicy", "mattermost")
        push(own, project)
        until_delivering(own, "mattermost", "LastDeliverySucceeded")
        (received,) = receiver.received(f"/hooks{PATH}")
        text = received.json()["text"]
        assert text.startswith("**PUSH_ARTIFACT** `")
        assert f"{project}/app:v1` by " in text
        without = httpx.post(f"http://127.0.0.1:{port}/", json={"type": "PUSH_ARTIFACT"}, trust_env=False)
        assert (without.status_code, without.text) == (401, "")
        ours = {"Authorization": BARE}
        strange = httpx.post(f"http://127.0.0.1:{port}/", content="[]", headers=ours, trust_env=False)
        assert strange.status_code == 400
    assert BARE not in (tmp_path / "relay.log").read_text()
    assert_nothing_secret_is_shown(own, "mattermost")


@contextmanager
def relaying(directory: Path, script: str, environment: dict[str, str]) -> Iterator[None]:
    """The relay of the page as a process."""
    (directory / "relay.py").write_text(script)
    with (directory / "relay.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(directory / "relay.py")], env={**os.environ, **environment}, stdout=log, stderr=log
        )
    try:
        port = environment["PORT"]
        eventually(lambda: process.poll() is None and listens(port), lambda: "the relay does not listen")
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: str) -> bool:
    with closing(httpx.Client(trust_env=False)) as client:
        try:
            return client.post(f"http://127.0.0.1:{port}/").status_code == 401
        except httpx.TransportError:
            time.sleep(0.05)
            return False
