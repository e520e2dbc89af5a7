"""Tekton's EventListener: with the objects of docs/receivers/tekton.md, a push starts a PipelineRun."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from harness.control_plane import ControlPlane
from harness.foreign_receivers import install_tekton, tekton
from harness.how_to import Object, objects_of
from harness.push import push_artifact
from harness.receiver_programs import TEKTON
from harness.world import World, condition, eventually

PAGE = "tekton.md"
HEADER = "REPLACE-WITH-32-RANDOM-CHARACTERS"
"""The page's placeholder is a valid value too."""
ADDRESS = "http://el-harbor.{namespace}.svc:8080/"


@pytest.fixture(scope="module")
def program(crds_installed: ControlPlane) -> Path:
    """Returns Tekton's program, after its kinds are installed."""
    install_tekton(crds_installed)
    return TEKTON.build()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tekton.log"


@pytest.fixture
def address(team: World, program: Path, log: Path) -> Iterator[str]:
    """Yields the address of the page's EventListener."""
    objects = objects_of(PAGE, team.namespace)
    listener = admitted(program, objects.pop("EventListener/harbor"))
    del objects["WebhookPolicy/tekton"]
    team.control_plane.apply(yaml.safe_dump_all([*objects.values(), listener]))
    account = listener["spec"]["serviceAccountName"]
    with tekton(team.control_plane, team.namespace, listener, account, log) as found:
        yield found
    team.control_plane.kubectl("delete", "-f", "-", stdin=yaml.safe_dump(objects[bindings_of(objects)]))


def admitted(program: Path, listener: Object) -> Object:
    """Returns the object as Tekton's admission webhook changes it."""
    done = subprocess.run([program, "admit"], input=yaml.safe_dump(listener), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: Object = yaml.safe_load(done.stdout)
    return found


def bindings_of(objects: dict[str, Object]) -> str:
    (name,) = (name for name in objects if name.startswith("ClusterRoleBinding/"))
    return name


@pytest.fixture
def policy(team: World, address: str) -> str:
    """Returns the page's policy, in Harbor."""
    placeholder = ADDRESS.format(namespace=team.namespace)
    team.apply(objects_of(PAGE, team.namespace, **{placeholder: f"{address}/"})["WebhookPolicy/tekton"])
    team.ready("WebhookPolicy", "tekton")
    return "tekton"


def push(team: World) -> None:
    push_artifact(team.harbor.url, *team.harbor.auth, repository=f"{team.namespace}/app", tag="v1")


def until_delivering(team: World, policy: str) -> None:
    team.until("WebhookPolicy", policy, lambda found: condition(found, "Delivering").get("status") == "True")


def runs(team: World) -> list[Object]:
    path = f"/apis/tekton.dev/v1/namespaces/{team.namespace}/pipelineruns"
    return list(team.control_plane.admin.request("GET", path)["items"])


def test_a_push_starts_a_pipeline_run_with_the_image(team: World, policy: str) -> None:
    push(team)
    (run,) = eventually(lambda: runs(team), lambda: "no PipelineRun")
    assert run["metadata"]["name"].startswith("build-")
    (image,) = run["spec"]["params"]
    assert image["name"] == "image"
    assert image["value"].endswith(f"/{team.namespace}/app:v1")
    until_delivering(team, policy)


def test_another_header_is_accepted_and_starts_nothing(team: World, policy: str, log: Path) -> None:
    """The page's warning: the policy delivers all the same, and only the log has the reason."""
    team.secret("wrong", header=f"Bearer {HEADER}")
    target = team.get("WebhookPolicy", policy)["spec"]["targets"][0]
    wrong = {**target, "authHeaderFrom": {"secretKeyRef": {"name": "wrong", "key": "header"}}}
    team.patch("WebhookPolicy", policy, {"spec": {"targets": [wrong]}})
    team.ready("WebhookPolicy", policy)
    push(team)
    until_delivering(team, policy)
    eventually(lambda: "did not return true" in log.read_text(), lambda: "the interceptors log no reason")
    assert runs(team) == []


def test_a_body_that_is_not_a_json_object_is_refused(team: World, address: str) -> None:
    answer = httpx.post(address, content="[]", headers={"Authorization": HEADER}, trust_env=False)
    assert answer.status_code == 400
