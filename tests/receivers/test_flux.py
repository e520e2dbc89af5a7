"""Flux's notification-controller: with the objects of docs/receivers/flux.md, Flux reconciles the repository of a
push."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from harness.control_plane import ControlPlane
from harness.foreign_receivers import flux
from harness.how_to import Object, kubectl_commands, objects_of
from harness.push import push_artifact
from harness.world import World, condition, eventually

PAGE = "flux.md"
TOKEN = "REPLACE-WITH-32-RANDOM-CHARACTERS"
"""The page's placeholder is a valid value too."""
ADDRESS = "http://webhook-receiver.flux-system.svc/hook/REPLACE-ME"
REQUESTED = "reconcile.fluxcd.io/requestedAt"


@pytest.fixture(scope="module")
def controller(crds_installed: ControlPlane, logs: Path) -> Iterator[str]:
    with flux(crds_installed, logs / "flux.log") as found:
        yield found


@pytest.fixture
def path(team: World, controller: str) -> str:
    """Returns the path of the page's Receiver, read with the page's command."""
    objects = objects_of(PAGE, team.namespace)
    repository = {
        "apiVersion": objects["Receiver/harbor"]["spec"]["resources"][0]["apiVersion"],
        "kind": "OCIRepository",
        "metadata": {"name": "app", "namespace": team.namespace},
        "spec": {"url": "oci://harbor.example.com/team-a/app", "interval": "1h"},
    }
    secret, receiver = objects["Secret/harbor-webhook"], objects["Receiver/harbor"]
    team.control_plane.apply(yaml.safe_dump_all([secret, receiver, repository]))
    return until_path(team)


def until_path(team: World, other_than: str = "") -> str:
    """Runs the page's command until the Receiver has a path."""
    (command,) = (found for found in kubectl_commands(PAGE, team.namespace) if found[0] == "get")

    def found() -> str:
        path = team.control_plane.kubectl(*command).stdout
        return "" if path == other_than else path

    shown: str = eventually(found, lambda: "the Receiver has no path")
    return shown


@pytest.fixture
def policy(team: World, controller: str, path: str) -> str:
    """Returns the page's policy, in Harbor."""
    declare(team, controller + path)
    team.ready("WebhookPolicy", "flux")
    return "flux"


def declare(team: World, address: str) -> None:
    objects = objects_of(PAGE, team.namespace, **{ADDRESS: address})
    for name in ("Secret/flux-address", "WebhookPolicy/flux"):
        team.apply(objects[name])


def push(team: World, content: bytes = b"first") -> None:
    push_artifact(team.harbor.url, *team.harbor.auth, repository=f"{team.namespace}/app", content=content)


def until_delivering(team: World, status: str) -> Object:
    return team.until(
        "WebhookPolicy", "flux", lambda found: condition(found, "Delivering").get("status") == status, f"not {status}"
    )


def requested(team: World) -> str | None:
    """Returns the time of the last reconcile request to Flux."""
    path = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{team.namespace}/ocirepositories/app"
    annotations: dict[str, str] = team.control_plane.admin.request("GET", path)["metadata"].get("annotations", {})
    return annotations.get(REQUESTED)


def test_a_push_asks_flux_to_reconcile_the_repository(team: World, policy: str) -> None:
    assert requested(team) is None
    push(team)
    eventually(lambda: requested(team), lambda: "the repository has no request")
    until_delivering(team, "True")


@pytest.mark.parametrize(
    ("header", "suffix", "status"),
    [(TOKEN, "", 200), (f"Bearer {TOKEN}", "", 400), ("", "", 400), (TOKEN, "f", 404)],
    ids=["page", "scheme", "none", "other-path"],
)
def test_flux_answers_as_its_page_says(
    team: World, controller: str, path: str, header: str, suffix: str, status: int
) -> None:
    answer = httpx.post(
        controller + path + suffix, json={}, headers={"Authorization": header} if header else {}, trust_env=False
    )
    assert answer.status_code == status
    assert bool(requested(team)) == (status == 200)


def test_flux_answers_500_for_a_repository_that_is_not_there(team: World, policy: str) -> None:
    team.control_plane.kubectl("delete", "ocirepository", "app", "--namespace", team.namespace)
    push(team)
    shown = until_delivering(team, "False")["status"]["deliveries"]["lastFailureMessage"]
    assert shown.startswith("127.0.0.1 answered with status 500")


def test_a_new_token_changes_the_path_when_flux_reconciles_the_receiver(
    team: World, controller: str, policy: str, path: str
) -> None:
    team.secret("harbor-webhook", token="another")
    (ask,) = (found for found in kubectl_commands(PAGE, team.namespace) if found[0] == "annotate")
    team.control_plane.kubectl(*ask)
    new = until_path(team, other_than=path)
    team.reconcile_all()
    push(team)
    shown = until_delivering(team, "False")["status"]["deliveries"]["lastFailureMessage"]
    assert shown.startswith("127.0.0.1 answered with status 404")
    declare(team, controller + new)
    team.reconcile_all()
    push(team, b"second")
    until_delivering(team, "True")
    assert requested(team)
