"""`make demo CLUSTER=current`: runs in an existing cluster, and leaves it unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.control_plane import ControlPlane
from harness.demo.current import KINDS, LOCAL, NAMESPACES, CurrentCluster
from harness.demo.story import STEPS
from harness.paths import REPOSITORY

LONGEST = 400.0


@pytest.fixture(scope="module")
def somebodys() -> Iterator[ControlPlane]:
    """A cluster without Harborhook."""
    with ControlPlane.start(progress=print) as running:
        yield running


def demo(cluster: ControlPlane, directory: Path, context: str) -> subprocess.CompletedProcess[str]:
    """Runs `make demo CLUSTER=current`, with a context of that name for the cluster."""
    kubeconfig = json.loads(cluster.kubeconfig.read_text())
    kubeconfig["current-context"] = kubeconfig["contexts"][0]["name"] = context
    (directory / "kubeconfig").write_text(json.dumps(kubeconfig))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("KEEP", "FORCE_COLOR")},
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "operator"), str(REPOSITORY / "tests")]),
        "PATH": f"{cluster.programs}:{os.environ['PATH']}",
        "KUBECONFIG": str(directory / "kubeconfig"),
        "KUBECACHEDIR": str(directory / "cache"),
        "CLUSTER": "current",
    }
    return subprocess.run(
        [sys.executable, "-m", "harness.demo"],
        env=environment,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LONGEST,
    )


def left(cluster: ControlPlane) -> list[str]:
    """Returns the demonstration's objects in the cluster."""
    objects = [f"crd/{name}.harborhook.io" for name in KINDS] + [f"namespace/{name}" for name in NAMESPACES]
    found = cluster.kubectl("get", *objects, "--ignore-not-found", "--output=name").stdout.split()
    roles = cluster.kubectl("get", "clusterroles,clusterrolebindings", "--output=name").stdout.split()
    return found + [name for name in roles if "harborhook" in name]


def test_the_cluster_of_another_context_is_not_touched_unasked(somebodys: ControlPlane, tmp_path: Path) -> None:
    done = demo(somebodys, tmp_path, "production")
    assert done.returncode == 1
    assert "context production does not look like kind, k3d or minikube" in " ".join(done.stdout.split())
    assert left(somebodys) == []


def test_in_a_local_cluster_every_step_comes_true_and_nothing_is_left(somebodys: ControlPlane, tmp_path: Path) -> None:
    done = demo(somebodys, tmp_path, "kind-playground")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-5000:]
    assert "Using the cluster of context kind-playground" in done.stdout
    assert f"All {len(STEPS)} steps came true" in done.stdout
    assert "first-token" not in done.stdout
    assert left(somebodys) == []


def test_what_a_failed_demonstration_has_left_is_removed_without_an_operator(
    somebodys: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebodys.apply(REPOSITORY / "manifests/base")
    somebodys.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    for example in ("01-connection", "02-project", "03-webhook-http"):
        somebodys.apply(REPOSITORY / f"manifests/examples/{example}.yaml")
    waiting = '{"metadata":{"finalizers":["harborhook.io/cleanup"]}}'
    for name, place in (("chconn/default", "default"), ("hproj/team-a", "team-a"), ("whp/ci", "team-a")):
        somebodys.kubectl("patch", name, f"--namespace={place}", "--type=merge", f"--patch={waiting}")
    monkeypatch.setenv("KUBECONFIG", str(somebodys.kubeconfig))
    monkeypatch.setenv("PATH", f"{somebodys.programs}:{os.environ['PATH']}")
    CurrentCluster(tmp_path).clean_up(REPOSITORY / "manifests/base")
    assert left(somebodys) == []


def test_a_cluster_that_has_harborhook_is_refused_and_keeps_it(somebodys: ControlPlane, tmp_path: Path) -> None:
    somebodys.create_namespace("team-a")
    done = demo(somebodys, tmp_path, "kind-playground")
    assert done.returncode == 1
    assert "has namespace/team-a already" in " ".join(done.stdout.split())
    assert left(somebodys) == ["namespace/team-a"]


@pytest.mark.parametrize(
    ("context", "local"),
    [
        ("kind-demo", True),
        ("k3d-a", True),
        ("minikube", True),
        ("my-kind", True),
        ("mankind", False),
        ("kindergarten-prod", False),
        ("production", False),
    ],
)
def test_which_contexts_count_as_local(context: str, local: bool) -> None:
    assert bool(LOCAL.search(context)) is local
