"""The page for kind, as far as it works without nodes: chart, manifests and commands of the page, from step 2 on.

The operator runs beside the cluster, as its Deployment describes. Harbor is a stand-in, and the receiver belongs to the
tests. Only their addresses are changed in the page's manifests.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from harness.installed_chart import Cluster
from harness.paths import REPOSITORY
from harness.push import push_artifact
from harness.readme import blocks, commands
from harness.receiver import Receiver
from harness.world import World, condition

PAGE = (REPOSITORY / "docs/getting-started.md").read_text().partition("\n## Without containers\n")[0]
HARBOR = "http://harbor.harbor.svc"
RECEIVER = "http://receiver.team-a.svc:8080"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


@pytest.fixture
def world(cluster: Cluster) -> World:
    """Returns the cluster after step 2."""
    cluster.install()
    return cluster.world(cluster.operate(), "default").elsewhere("team-a")


def part_of_page(title: str) -> str:
    (found,) = [part for part in PAGE.split("\n## ") if part.startswith(title)]
    return found


def step(world: World, title: str, **addresses: str) -> None:
    """Applies the manifests of a step and runs its kubectl commands."""
    text = part_of_page(title)
    (manifests,) = blocks(text, "yaml")
    for address, replacement in addresses.items():
        assert address in manifests
        manifests = manifests.replace(address, replacement)
    world.control_plane.apply(manifests)
    for command in commands(text):
        if not command.startswith(("kubectl apply", "kubectl run")):
            world.control_plane.kubectl(*shlex.split(command)[1:])


def push(world: World, title: str) -> str:
    """Pushes the same image as the command of a step, but without a pod. Returns its reference."""
    (command,) = [command for command in commands(part_of_page(title)) if command.startswith("kubectl run push ")]
    reference = command.rstrip("'").rpartition(f"{HARBOR.removeprefix('http://')}/")[2]
    repository, tag = reference.split(":")
    push_artifact(world.harbor.url, *world.harbor.auth, repository=repository, tag=tag)
    return reference


def until_delivering(world: World, status: str) -> None:
    world.until("WebhookPolicy", "ci", lambda found: condition(found, "Delivering").get("status") == status, status)


def test_the_page_leads_from_the_chart_to_a_notification_that_fails(world: World, receiver: Receiver) -> None:
    step(world, "3. Connect it to Harbor", **{HARBOR: world.harbor.url})
    step(world, "4. Declare a project and a webhook", **{RECEIVER: receiver.url})
    first = push(world, "5. Push an image")
    until_delivering(world, "True")
    receiver.down()
    assert push(world, "6. Break it") != first, "crane does not push a tag that is there already"
    until_delivering(world, "False")
    assert condition(world.get("WebhookPolicy", "ci"), "Ready")["status"] == "True"
    delete, _, reason = commands(part_of_page("6. Break it"))
    world.control_plane.kubectl(*shlex.split(delete)[1:])
    shown = world.control_plane.kubectl(*shlex.split(reason)[1:]).stdout
    assert "connection refused" in shown
