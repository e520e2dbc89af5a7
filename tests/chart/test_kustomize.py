"""`kubectl apply -k` and the chart install the same objects: manifests/base equals the chart with default values."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from harness.chart import HELM_LABELS, Object, grants, is_hook, render
from harness.chart_files import REPOSITORY
from harness.control_plane import binaries
from harness.helm import Helm

MONITORING = {name: {"create": True} for name in ("service", "serviceMonitor", "prometheusRule", "dashboard")}


def kustomize(directory: Path) -> list[Object]:
    """Returns the output of `kubectl kustomize` for a directory; needs no cluster."""
    kubectl = binaries.find(print).kubectl
    done = subprocess.run([kubectl, "kustomize", directory], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def base() -> list[Object]:
    return kustomize(REPOSITORY / "manifests/base")


def by_place(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """Returns objects by kind, namespace and name, without what only Helm or kustomize adds; rights are compared
    separately."""
    return {_place(found): _bare(found) for found in objects if not is_hook(found)}


def _place(found: Object) -> tuple[str, str, str]:
    return found["kind"], found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _bare(found: Object) -> Object:
    metadata = dict(found["metadata"])
    foreign = {*HELM_LABELS, "app.kubernetes.io/instance"}  # the release's name: kustomize has none, save in selectors
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in foreign}
    metadata["annotations"] = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if key != "helm.sh/resource-policy"
    }
    return {key: value for key, value in {**found, "metadata": metadata}.items() if key != "rules"}


def test_the_base_is_the_chart_with_its_default_values(base: list[Object], default_objects: list[Object]) -> None:
    of_base = by_place(base)
    namespace = of_base.pop(("Namespace", "", "harborhook"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert of_base == by_place(default_objects)


def test_the_operator_has_the_same_rights_either_way(base: list[Object], default_objects: list[Object]) -> None:
    assert grants(base) == grants(default_objects)
    assert len(grants(base)) > 20


def test_people_have_the_same_rights_either_way(base: list[Object], default_objects: list[Object]) -> None:
    def rules(objects: list[Object]) -> dict[str, object]:
        roles = [found for found in objects if found["kind"] == "ClusterRole"]
        named = {found["metadata"]["name"]: found["rules"] for found in roles}
        named.pop("harborhook")
        return named

    assert rules(base) == rules(default_objects)
    assert set(rules(base)) == {"harborhook-view", "harborhook-edit", "harborhook-admin"}


def test_monitoring_is_the_same_either_way(helm: Helm, default_objects: list[Object]) -> None:
    added = by_place(render(helm, MONITORING)).items()
    of_chart = {place: found for place, found in added if place not in by_place(default_objects)}
    of_kustomize = by_place(kustomize(REPOSITORY / "manifests/monitoring"))
    for objects in (of_chart, of_kustomize):  # selectors: of all, or of this release
        for found in objects.values():
            selector = found.get("spec", {}).get("selector", {})
            selector.get("matchLabels", selector).pop("app.kubernetes.io/instance", None)
    assert of_kustomize == of_chart
