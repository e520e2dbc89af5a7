"""The parts of Kubernetes that run on a node, in one program, built once per machine like the control plane."""

from __future__ import annotations

from pathlib import Path

from harness.control_plane.binaries import kubernetes_version, linker_flags
from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import GoProgram, Progress
from harness.node.requirements import NoNodeHere

SOURCE = Path(__file__).parent.parent / "node_program"


def build(progress: Progress) -> Path:
    """Returns the program; its first argument selects the part."""
    program = GoProgram(
        what="The node",
        source=SOURCE,
        package=".",
        shelf="node",
        name="node",
        links=(),
        linker_flags=linker_flags(),
        title=f"kubelet, kube-proxy and kube-scheduler {kubernetes_version()}, once, in about 4 minutes on 2 cores,",
        packages=2300,
    )
    try:
        return program.build(progress) / "node"
    except ControlPlaneError as error:
        raise NoNodeHere(str(error)) from None
