"""Installs the operator's objects in a cluster: its CRDs, namespace, ServiceAccount and roles, as shipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.control_plane import ControlPlane
from harness.control_plane.waiting import poll_until

BASE = Path(__file__).parents[2] / "manifests/base"


@pytest.fixture(scope="session")
def crds_installed(control_plane: ControlPlane) -> ControlPlane:
    """The session's control plane, serving our kinds."""
    install_crds(control_plane)
    return control_plane


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[ControlPlane]:
    """A separate control plane for the module that serves our kinds: for tests that break it, or that run their own
    operators there."""
    with ControlPlane.start() as running:
        install_crds(running)
        yield running


def install_crds(control_plane: ControlPlane, base: Path = BASE) -> None:
    """Apply manifests/base without the Deployment: the tests run the operator themselves."""
    rendered = control_plane.kubectl("kustomize", str(base)).stdout
    manifests = [manifest for manifest in yaml.safe_load_all(rendered) if manifest["kind"] != "Deployment"]
    control_plane.apply(yaml.safe_dump_all(manifests), "--validate=strict")
    crds = [f"crd/{m['metadata']['name']}" for m in manifests if _is_crd(m)]
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    # For a moment the API server still answers that their storage is being initialised.
    paths = [f"/apis/{m['spec']['group']}/v1alpha1/{m['spec']['names']['plural']}" for m in manifests if _is_crd(m)]
    assert poll_until(lambda: all(map(control_plane.admin.answers, paths)), timeout=30, interval=0.1)


def _is_crd(manifest: dict[str, Any]) -> bool:
    return bool(manifest["kind"] == "CustomResourceDefinition")
