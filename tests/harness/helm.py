"""Helm for the tests of the chart: built once from the Go module beside this file, isolated from the user's Helm.

If `KUBEBUILDER_ASSETS` names a directory with a `helm`, that one is used instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import GoProgram, Progress

SOURCE = Path(__file__).parent / "helm_program"


class HelmError(subprocess.CalledProcessError):
    """A failed helm command; unlike its parent it shows helm's output."""

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.stderr}"


@dataclass(frozen=True)
class Helm:
    """The program, with a directory for its cache and configuration, and optionally a cluster."""

    program: Path
    home: Path
    kubeconfig: Path | None = None

    def __call__(
        self, *args: str | Path, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command; raises HelmError if it fails."""
        command = [str(self.program), *map(str, args)]
        done = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
            env=self.environment(),
        )
        if check and done.returncode != 0:
            raise HelmError(done.returncode, command, done.stdout, done.stderr)
        return done

    def environment(self) -> dict[str, str]:
        """Returns an environment without the user's Helm settings, and with only the tests' cluster."""
        foreign = ("HELM_", "KUBE", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        homes = {f"HELM_{part}_HOME": str(self.home / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
        cluster = {"KUBECONFIG": self.kubeconfig or self.home / "no-cluster", "KUBECACHEDIR": self.home / "kubernetes"}
        return {**kept, **homes, **{name: str(path) for name, path in cluster.items()}}


def find(progress: Progress) -> Path:
    """Returns the program, built if necessary."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (there := Path(assets).absolute() / "helm").exists():
        return there
    version = _required("helm.sh/helm/v3")
    program = GoProgram(
        what="Helm",
        source=SOURCE,
        package="helm.sh/helm/v3/cmd/helm",
        shelf="helm",
        name="helm",
        links=(),
        linker_flags=_linker_flags(version),
        title=f"Helm {version}, once, in about 3 minutes on 2 cores,",
        packages=950,
    )
    return program.build(progress) / "helm"


def _linker_flags(version: str) -> str:
    """Strips the binary and stamps it like Helm's own makefile: without a stamp it renders for Kubernetes 1.20."""
    _, minor, _ = _required("k8s.io/client-go").split(".")
    stamp = {"internal/version.version": version}
    for package in ("pkg/lint/rules", "pkg/chartutil"):
        stamp |= {f"{package}.k8sVersionMajor": "1", f"{package}.k8sVersionMinor": minor}
    return " ".join(["-s", "-w", *(f"-X helm.sh/helm/v3/{name}={value}" for name, value in stamp.items())])


def _required(module: str) -> str:
    required = re.search(rf"^\s*{re.escape(module)} (v\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if required is None:
        raise ControlPlaneError(f"{SOURCE / 'go.mod'} does not require {module}")
    return required[1]


def main() -> int:
    """`python -m harness.helm` builds it."""
    try:
        print(f"Helm is {find(lambda line: print(line, file=sys.stderr, flush=True))}")
    except ControlPlaneError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
