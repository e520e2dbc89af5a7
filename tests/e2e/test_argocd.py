"""Argo CD with our entries in its ConfigMap, evaluating resources of a running operator.

Argo CD itself does not run here; harness.argocd plays its part, with the objects of the API server.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.argocd import ArgoCD
from harness.control_plane import ControlPlane
from harness.readme import commands
from harness.world import World, header_from, http_target

REPOSITORY = Path(__file__).parents[2]
MANIFESTS = REPOSITORY / "manifests/argocd"
PAGE = (REPOSITORY / "docs/gitops.md").read_text()
CONFIG_MAP = "/api/v1/namespaces/argocd/configmaps/argocd-cm"


@pytest.fixture(scope="module")
def argocd(crds_installed: ControlPlane) -> ArgoCD:
    """Its ConfigMap had an entry before ours were added."""
    crds_installed.create_namespace("argocd")
    theirs = {"metadata": {"name": "argocd-cm"}, "data": {"url": "https://argocd.example.com"}}
    crds_installed.admin.create(CONFIG_MAP.rpartition("/")[0], theirs)
    crds_installed.kubectl("apply", "--server-side", "-k", str(MANIFESTS))
    return ArgoCD(crds_installed.admin.request("GET", CONFIG_MAP)["data"])


def health(argocd: ArgoCD, world: World, kind: str, name: str) -> str:
    return argocd.health(world.get(kind, name))[0]


def test_our_entries_leave_those_that_were_there(argocd: ArgoCD) -> None:
    assert argocd.data["url"] == "https://argocd.example.com"


def test_the_documented_commands_bring_the_health_check_and_its_option(crds_installed: ControlPlane) -> None:
    plain, optional = (command for command in commands(PAGE) if "manifests/argocd" in command)
    assert globally_disabled(crds_installed, plain) == "Healthy"
    assert globally_disabled(crds_installed, optional) == "Suspended"
    assert globally_disabled(crds_installed, plain) == "Healthy"


def globally_disabled(control_plane: ControlPlane, command: str) -> str:
    """Returns a policy's health while notifications are switched off, after this shell command."""
    control_plane.create_namespace("argocd")
    path = f"{control_plane.programs}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(control_plane.kubeconfig)}
    subprocess.run(["sh", "-c", command], cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=60)
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Reconciled"},
        {"type": "Delivering", "status": "False", "reason": "GloballyDisabled", "message": "Switched off."},
    ]
    switched_off = {
        "apiVersion": "harborhook.io/v1alpha1",
        "kind": "WebhookPolicy",
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "conditions": conditions},
    }
    status, message = ArgoCD(control_plane.admin.request("GET", CONFIG_MAP)["data"]).health(switched_off)
    assert message == "Switched off."
    return status


def test_argo_cd_sees_how_resources_are(argocd: ArgoCD, world: World) -> None:
    project = world.project_name()
    world.project(project)
    world.policy("fine", project)
    world.policy("waiting", project, targets=[http_target(authHeaderFrom=header_from("missing"))])
    world.policy("wrong", project, eventTypes=["NO_SUCH_EVENT"])
    world.policy("paused", project, suspend=True)
    expected = {
        ("HarborProject", project): ("Reconciled", "Healthy"),
        ("WebhookPolicy", "fine"): ("Reconciled", "Healthy"),
        ("WebhookPolicy", "waiting"): ("SecretNotFound", "Progressing"),
        ("WebhookPolicy", "wrong"): ("UnsupportedEventType", "Degraded"),
        ("WebhookPolicy", "paused"): ("Suspended", "Suspended"),
    }
    for (kind, name), (reason, _) in expected.items():
        world.reason(kind, name, reason)
    assert argocd.health(world.control_plane.admin.request("GET", _connection()))[0] == "Healthy"
    seen = {(kind, name): (reason, health(argocd, world, kind, name)) for (kind, name), (reason, _) in expected.items()}
    assert seen == expected


def test_reconcile_now_has_the_resource_visited(argocd: ArgoCD, world: World) -> None:
    project = world.project_name()
    world.project(project)
    world.ready("HarborProject", project)
    wanted = argocd.act(world.get("HarborProject", project), "reconcile")
    annotations: dict[str, Any] = wanted["metadata"]["annotations"]
    world.patch("HarborProject", project, {"metadata": {"annotations": annotations}})
    stamp = annotations["harborhook.io/reconcile-at"]
    world.until("HarborProject", project, lambda found: found["status"].get("lastHandledReconcileAt") == stamp)


def _connection() -> str:
    return "/apis/harborhook.io/v1alpha1/clusterharborconnections/default"
