"""Finds or builds the programs of a control plane.

`KUBEBUILDER_ASSETS`, if set, names a directory with the programs, as in other projects. Otherwise the need for a
controller manager, which no published archive contains, requires the build of the Go module beside this package: one
binary that acts by the name it is started under. Without a controller manager the order is: our own build if it exists;
the programs published for envtest, downloaded earlier by us or by setup-envtest, or downloaded now; the build.
`CONTROL_PLANE=build` requires the build.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from harness.control_plane.envtest import Envtest, UnavailableError
from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import GoProgram, Progress

SOURCE = Path(__file__).parent.parent / "binaries"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


@dataclass(frozen=True)
class Binaries:
    """The programs of a control plane; without controllers the deletion of namespaces never finishes."""

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    kube_controller_manager: Path | None

    @classmethod
    def in_directory(cls, directory: Path, controller_manager: Path | None = None) -> Binaries:
        return cls(
            etcd=directory / "etcd",
            kube_apiserver=directory / "kube-apiserver",
            kubectl=directory / "kubectl",
            kube_controller_manager=controller_manager,
        )


def find(progress: Progress, *, controllers: bool = True) -> Binaries:
    """Returns the programs, built if necessary; the controller manager only if it is wanted."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return _from_assets(Path(assets).absolute(), progress, controllers=controllers)
    if not controllers:
        return Binaries.in_directory(_without_controllers(progress))
    directory = build(progress)
    return Binaries.in_directory(directory, directory / "kube-controller-manager")


def _without_controllers(progress: Progress) -> Path:
    """Returns a directory with the programs except the controller manager, from the fastest source."""
    if os.environ.get("CONTROL_PLANE") == "build":
        return build(progress)
    envtest = Envtest.here()
    if at_hand := _program().built() or envtest.at_hand():
        return at_hand
    try:
        return envtest.download(progress)
    except UnavailableError as error:
        progress(f"The published control plane cannot be used: {error}. Building it from source instead.")
        return build(progress)


def _from_assets(directory: Path, progress: Progress, *, controllers: bool) -> Binaries:
    missing = [name for name in ("etcd", "kube-apiserver", "kubectl") if not (directory / name).exists()]
    if missing:
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS is {directory}, which has no {' and no '.join(missing)}. "
            "Put what is missing there, or unset KUBEBUILDER_ASSETS to have everything built with Go."
        )
    return Binaries.in_directory(directory, _controller_manager(directory, progress) if controllers else None)


def _controller_manager(assets: Path, progress: Progress) -> Path:
    """The usual asset directories lack this program, and without it the deletion of namespaces never finishes."""
    if (there := assets / "kube-controller-manager").exists():
        return there
    if on_path := shutil.which("kube-controller-manager"):
        return Path(on_path)
    progress(
        f"No kube-controller-manager in {assets} or on PATH, and without it namespaces never finish deleting: "
        "using our own build of it."
    )
    return build(progress) / "kube-controller-manager"


def build(progress: Progress) -> Path:
    """Returns the directory with our own build of the programs; builds them if necessary."""
    return _program().build(progress)


def _program() -> GoProgram:
    title = f"Kubernetes {kubernetes_version()} ({', '.join(NAMES)}), once, in about 6 minutes on 2 cores,"
    return GoProgram(
        what="The control plane",
        source=SOURCE,
        package=".",
        shelf="binaries",
        name="control-plane",
        links=NAMES,
        linker_flags=linker_flags(),
        title=title,
        packages=2600,
    )


def kubernetes_version() -> str:
    required = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if required is None:
        raise ControlPlaneError(f"{SOURCE / 'go.mod'} does not require k8s.io/kubernetes")
    return required[1]


def linker_flags() -> str:
    """Strips the binary and stamps the version: without a stamp an API server reports v0.0.0-master."""
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {p}.{name}={value}" for p in packages for name, value in stamp.items())])
