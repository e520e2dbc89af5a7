"""Where the programs of a control plane come from.

`KUBEBUILDER_ASSETS`, when set, names a directory that has them (the field's convention). Otherwise they are built from
the Go module beside this package: one binary that acts by the name it is started under. That takes minutes, so it
happens once: the result is kept outside the repository, in a directory named after everything that goes into it.

    ${HARBORHOOK_CACHE:-${XDG_CACHE_HOME:-~/.cache}/harborhook}/binaries/<hash>/{etcd,kube-apiserver,...}
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.processes import kill_group, leashed

Progress = Callable[[str], None]

SOURCE = Path(__file__).parent.parent / "binaries"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
OLDEST_GO = (1, 24)
_PACKAGES = 2600  # what a build with an empty cache compiles; only shown

_NO_GO = (
    "The control plane of the tests is built with Go {oldest} or newer, {problem}. "
    "Install it from the Go project's site or your system's packages (Debian: apt-get install golang), "
    "or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver, kube-controller-manager and kubectl."
)


@dataclass(frozen=True)
class Binaries:
    """The programs of a control plane; without controllers namespaces never finish deleting."""

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
    """The programs to use, built first if that is what it takes; the controller manager only if it is wanted."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        return _from_assets(Path(assets).absolute(), progress, controllers=controllers)
    directory = build(progress)
    return Binaries.in_directory(directory, directory / "kube-controller-manager" if controllers else None)


def _from_assets(directory: Path, progress: Progress, *, controllers: bool) -> Binaries:
    missing = [name for name in ("etcd", "kube-apiserver", "kubectl") if not (directory / name).exists()]
    if missing:
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS is {directory}, which has no {' and no '.join(missing)}. "
            "Put what is missing there, or unset KUBEBUILDER_ASSETS to have everything built with Go."
        )
    return Binaries.in_directory(directory, _controller_manager(directory, progress) if controllers else None)


def _controller_manager(assets: Path, progress: Progress) -> Path:
    """The usual asset directories lack this one, and without it namespaces cannot finish deleting."""
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
    """The directory with our own build of the programs; builds them unless that has been done before."""
    go = _Go.find()
    directory = cache_directory() / "binaries" / _fingerprint(go)
    if directory.exists():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(directory.parent, progress):
        if not directory.exists():  # another builder may have been faster
            _remove_abandoned(directory.parent)
            _build_into(directory, go, progress)
    return directory


def cache_directory() -> Path:
    if ours := os.environ.get("HARBORHOOK_CACHE"):
        return Path(ours).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "harborhook"


@dataclass(frozen=True)
class _Go:
    """The Go toolchain that builds our module."""

    program: str
    version: str
    platform: str

    @classmethod
    def find(cls) -> _Go:
        program = shutil.which("go")
        if program is None:
            raise ControlPlaneError(_no_go("and there is no go command on PATH"))
        # Asked in the module's directory: there a Go that may (GOTOOLCHAIN) becomes the version that the module needs.
        answer = subprocess.run(
            [program, "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
            cwd=SOURCE,
            env=_go_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            raise ControlPlaneError(_no_go(f"and {program} says: {answer.stderr.strip()}"))
        facts = json.loads(answer.stdout)
        found = re.match(r"go(\d+)\.(\d+)", facts["GOVERSION"])
        if found and (int(found[1]), int(found[2])) < OLDEST_GO:
            raise ControlPlaneError(_no_go(f"and {program} is {facts['GOVERSION']}"))
        return cls(program, facts["GOVERSION"], f"{facts['GOOS']}/{facts['GOARCH']}")


def _no_go(problem: str) -> str:
    return _NO_GO.format(oldest=".".join(map(str, OLDEST_GO)), problem=problem)


def _go_environment() -> dict[str, str]:
    """What could make two builds of the same sources differ is fixed here, whatever the developer has set."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


def _fingerprint(go: _Go) -> str:
    digest = hashlib.sha256(f"{go.version} {go.platform} {_linker_flags()}".encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCE / name).read_bytes())
    return digest.hexdigest()[:16]


def _kubernetes_version() -> str:
    required = re.search(r"^\s*(?:require )?k8s\.io/kubernetes (v\S+)", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if required is None:
        raise ControlPlaneError(f"{SOURCE / 'go.mod'} does not require k8s.io/kubernetes")
    return required[1]


def _linker_flags() -> str:
    """Strip the binary and stamp the version: unstamped, an API server takes itself for v0.0.0-master."""
    version = _kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    stamp = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s", "-w", *(f"-X {p}.{name}={value}" for p in packages for name, value in stamp.items())])


@contextmanager
def _only_builder(directory: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of the one who builds; the kernel frees it when the holder ends, however it ends."""
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Another process is building the control plane; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_abandoned(directory: Path) -> None:
    """Remove what builders that were killed have left."""
    for unfinished in directory.glob(".building-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _build_into(directory: Path, go: _Go, progress: Progress) -> None:
    """Build beside the final place, then move: whoever sees the directory sees it complete."""
    progress(
        f"Building Kubernetes {_kubernetes_version()} (etcd, kube-apiserver, kube-controller-manager, kubectl) "
        f"with {go.version} into {directory}. This happens once and takes about 6 minutes on 2 cores."
    )
    started = time.monotonic()
    unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=directory.parent))
    try:
        _compile(unfinished / "control-plane", go, progress)
        for name in NAMES:
            (unfinished / name).symlink_to("control-plane")
        unfinished.chmod(0o755)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    progress(f"Built in {_duration(time.monotonic() - started)}.")


def _compile(target: Path, go: _Go, progress: Progress) -> None:
    command = [go.program, "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    log = target.with_name("build.log")
    with log.open("wb") as output:
        process = leashed(
            [*command, f"-ldflags={_linker_flags()}", "-o", target, "."],
            output=output,
            directory=SOURCE,
            environment=_go_environment(),
        )
    try:
        _report_until_done(process, log, progress)
    finally:
        kill_group(process)
    if process.returncode != 0:
        said = [line for line in log.read_text(errors="replace").splitlines() if " " in line]
        raise ControlPlaneError("Building the control plane failed; go says:\n" + "\n".join(said[-15:]))


def _report_until_done(process: subprocess.Popen[bytes], log: Path, progress: Progress) -> None:
    """Say every 15 seconds how far it is: `go build -v` prints a line for each package and each download."""
    started = time.monotonic()
    while True:
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            lines = log.read_text(errors="replace").splitlines()
            downloads = sum(line.startswith("go: downloading") for line in lines)
            progress(
                f"  {_duration(time.monotonic() - started)}: {downloads} modules downloaded, "
                f"{len(lines) - downloads} of about {_PACKAGES} packages compiled"
            )
        else:
            return


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
