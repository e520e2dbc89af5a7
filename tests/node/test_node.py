"""The operator in pods of a real node: its image, security context, ServiceAccount, probes, upgrade and shutdown.

The tests form one sequence: the kustomization is installed and removed, then a release of the chart is installed, used,
upgraded, tested and removed.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from harborhook import __version__
from harness.control_plane import ControlPlane, KubectlError
from harness.harbor_fixtures import HarborUnderTest
from harness.helm import Helm
from harness.node.cluster import Node
from harness.node.images import TAGS
from harness.operator_process import OperatorProcess
from harness.own import standing
from harness.world import World, eventually

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "harborhook"
MINUTES = 300.0
"""Seconds that a slow machine may need for pods; here they are ready in ten."""

Object = dict[str, Any]


def pods(cluster: ControlPlane) -> list[Object]:
    """Returns the operator's pods that are not terminating."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app.kubernetes.io/name%3Dharborhook"
    items = cluster.admin.request("GET", path)["items"]
    return [item for item in items if "deletionTimestamp" not in item["metadata"]]


def is_ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))


def image_of(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def until_ready(cluster: ControlPlane, count: int, tag: str) -> list[Object]:
    """Waits for this number of ready pods of that image, and no other pods."""

    def wanted() -> list[Object] | None:
        found = pods(cluster)
        fine = len(found) == count and all(is_ready(pod) and image_of(pod).endswith(f":{tag}") for pod in found)
        return found if fine else None

    found: list[Object] = eventually(wanted, lambda: state_of_pods(cluster), MINUTES)
    return found


def state_of_pods(cluster: ControlPlane) -> str:
    told = [cluster.kubectl(*command.split(), check=False).stdout for command in WHAT_TO_ASK]
    return "\n".join(["The operator's pods:", *told])


WHAT_TO_ASK = (
    f"get pods -n {NAMESPACE} -o wide",
    f"describe pods -n {NAMESPACE}",
    f"logs -n {NAMESPACE} harborhook-test",
    f"logs -n {NAMESPACE} -l app.kubernetes.io/name=harborhook --tail=60 --prefix",
)


def inside(cluster: ControlPlane, pod: Object, code: str) -> str:
    """Runs Python in the operator's container; returns its output or its error."""
    name = pod["metadata"]["name"]
    done = cluster.kubectl("exec", "-n", NAMESPACE, name, "--", "python3", "-c", code, check=False)
    return done.stdout.strip() or done.stderr


def forbids(cluster: ControlPlane, namespace: str) -> bool:
    """Whether the namespace rejects pods that are not restricted."""
    try:
        cluster.kubectl("run", "trial", f"--image=harborhook:{TAGS[0]}", "-n", namespace, "--dry-run=server")
    except KubectlError as error:
        return "restricted" in error.stderr
    return False


@pytest.fixture(scope="module")
def namespace(cluster: ControlPlane) -> str:
    cluster.create_namespace("team")
    return "team"


@pytest.fixture
def world(cluster: ControlPlane, harbor: HarborUnderTest, namespace: str) -> Iterator[World]:
    """A team's view; the operator runs in a pod, not as our process."""
    found = World(cluster, harbor, cast(OperatorProcess, None), namespace)
    yield found
    found.api.close()
    print(state_of_pods(cluster))  # shown when the test has failed


# The kustomization


def test_the_kustomization_runs_under_the_strictest_pod_security(cluster: ControlPlane, node: Node) -> None:
    rendered = cluster.kubectl("kustomize", str(REPOSITORY / "manifests/base")).stdout
    cluster.apply(rendered.replace(f"image: harborhook:{__version__}", f"image: harborhook:{TAGS[0]}"))
    (pod,) = until_ready(cluster, 1, TAGS[0])
    assert forbids(cluster, NAMESPACE)
    assert inside(cluster, pod, "import os; print(os.getuid())") == "65532"
    assert "Read-only file system" in inside(cluster, pod, "open('/opt/harborhook/new', 'w')")
    assert "No module named 'pip'" in inside(cluster, pod, "import pip")
    cluster.kubectl("delete", "--wait", "-f", "-", stdin=rendered)


# The chart


PATIENCE = [
    {"name": "HARBORHOOK_LEASE_DURATION", "value": "120"},
    {"name": "HARBORHOOK_RENEW_DEADLINE", "value": "90"},
]
"""On a busy machine a leader may not respond for a while. A leader that ends releases the lease at once, regardless of
its duration."""


class Release:
    """The release `harborhook` of the chart, with two replicas of which one works."""

    def __init__(self, helm: Helm, harbor: HarborUnderTest) -> None:
        self._helm = helm
        self._connection = {
            "create": True,
            "url": harbor.url,
            "allowInsecureHTTP": True,
            "credentials": {"existingSecret": "harbor"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        }

    def put(self, tag: str, *options: str) -> None:
        """Installs it or upgrades it to an image, and waits until its pods are ready."""
        values = {
            "image": {"tag": tag},
            "replicas": 2,
            "leaderElection": {"enabled": True},
            "extraEnv": PATIENCE,
            "settings": {"pollInterval": 1, "driftInterval": 5, "connectionInterval": 5},
            "connection": self._connection,
        }
        place = ("--namespace", NAMESPACE, "--wait", "--timeout=170s", "--values", "-")
        chart = REPOSITORY / "helm-chart"
        self._helm("upgrade", "--install", "harborhook", chart, *place, *options, stdin=json.dumps(values))

    def test(self) -> str:
        return self._helm("test", "harborhook", "--namespace", NAMESPACE, "--timeout=170s", check=False).stdout

    def uninstall(self) -> None:
        self._helm("uninstall", "harborhook", "--namespace", NAMESPACE, "--wait", "--timeout=170s")


@pytest.fixture(scope="module")
def release(cluster: ControlPlane, helm: Helm, harbor: HarborUnderTest) -> Release:
    """Installed in two steps: the CRDs have to be served before the connection can be created."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "harbor", "namespace": NAMESPACE},
        "stringData": {"username": harbor.username, "password": harbor.password},
    }
    for manifest in (namespace, secret):
        cluster.apply(json.dumps(manifest))
    found = Release(helm, harbor)
    found.put(TAGS[0])
    found.put(TAGS[0])
    return found


def leader(cluster: ControlPlane) -> str:
    (lease,) = cluster.admin.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases")["items"]
    return str(lease["spec"].get("holderIdentity", ""))


def test_a_release_serves_a_team_from_its_pods(cluster: ControlPlane, release: Release, world: World) -> None:
    found = until_ready(cluster, 2, TAGS[0])
    assert forbids(cluster, NAMESPACE)
    assert {pod["spec"]["serviceAccountName"] for pod in found} == {"harborhook"}
    world.ready("ClusterHarborConnection", "default")
    world.project("first")
    world.policy("ci", "first")
    world.ready("WebhookPolicy", "ci")
    assert [policy["name"] for policy in world.harbor_policies("first")] == ["ci"]


def test_an_upgrade_changes_the_leader_and_nothing_is_written_twice(
    cluster: ControlPlane, release: Release, world: World
) -> None:
    before = leader(cluster)
    start = len(standing(world).requests())
    ended = threading.Event()
    declared = Declared(world, ended)
    declared.start()
    try:
        release.put(TAGS[1])
    finally:
        ended.set()
        declared.join()
    until_ready(cluster, 2, TAGS[1])
    eventually(lambda: leader(cluster) not in ("", before), lambda: f"{leader(cluster)} still leads", MINUTES)
    assert len(declared.names) > 1
    for name in declared.names:
        world.ready("WebhookPolicy", name)
    created = [r.path for r in standing(world).requests()[start:] if r.method == "POST" and r.path.startswith("/api/")]
    assert created.count("/api/v2.0/projects") == len(declared.names)
    for name in declared.names:
        assert created.count(f"/api/v2.0/projects/{name}/webhook/policies") == 1


class Declared(threading.Thread):
    """Declares a project with a policy every second, until `stop`."""

    def __init__(self, world: World, ended: threading.Event) -> None:
        super().__init__()
        self.names: list[str] = []
        self._world = world
        self._ended = ended

    def run(self) -> None:
        while not self._ended.wait(1):
            name = f"during-{len(self.names)}"
            self._world.project(name)
            self._world.policy(name, name)
            self.names.append(name)


def test_helm_test_finds_the_operator_ready(cluster: ControlPlane, release: Release) -> None:
    said = release.test()
    assert "Phase:          Succeeded" in said, said + state_of_pods(cluster)


def test_a_release_is_removed_after_what_it_serves(cluster: ControlPlane, release: Release, world: World) -> None:
    for kind in ("WebhookPolicy", "HarborProject"):
        for item in world.all(kind):
            world.delete(kind, item["metadata"]["name"])
    world.delete("ClusterHarborConnection", "default")
    release.uninstall()
    eventually(lambda: not pods(cluster), lambda: state_of_pods(cluster), MINUTES)
    assert not cluster.admin.exists(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/harborhook")
