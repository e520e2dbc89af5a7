"""Builds a program of the tests from a Go module of this repository, once per machine.

A build takes minutes, so its result is kept outside the repository, in a directory named after all that goes into it:

    ${HARBORHOOK_CACHE:-${XDG_CACHE_HOME:-~/.cache}/harborhook}/<shelf>/<hash>/<program>
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

OLDEST_GO = (1, 24)

_NO_GO = (
    "{what} of the tests is built with Go {oldest} or newer, {problem}. "
    "Install it from the Go project's site or your system's packages (Debian: apt-get install golang), "
    "or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver, kube-controller-manager, kubectl and helm."
)


@dataclass(frozen=True)
class GoProgram:
    """A program that one of the repository's Go modules builds."""

    what: str
    """The name in messages such as "Building ...", without a version."""
    source: Path
    """Directory of the module; its content decides whether a build is up to date."""
    package: str
    shelf: str
    """Directory in the cache for its builds."""
    name: str
    links: tuple[str, ...]
    """Further names for a program that acts by the name it is started under."""
    linker_flags: str
    title: str
    """Name, version and usual duration of the build."""
    packages: int
    """Approximate number of packages that a build with an empty cache compiles, for the progress."""

    def built(self) -> Path | None:
        """Returns the directory with the program if it has been built before; None without Go, which the check
        needs."""
        try:
            directory = self._directory(_Go.find(self.what, self.source))
        except ControlPlaneError:
            return None
        return directory if directory.exists() else None

    def build(self, progress: Progress) -> Path:
        """Returns the directory with the program; builds it if necessary."""
        go = _Go.find(self.what, self.source)
        directory = self._directory(go)
        if directory.exists():
            return directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        with only_builder(directory.parent, self.what.lower(), progress):
            if not directory.exists():  # another process may have finished first
                _remove_abandoned(directory.parent)
                self._build_into(directory, go, progress)
        return directory

    def _directory(self, go: _Go) -> Path:
        return cache_directory() / self.shelf / self._fingerprint(go)

    def _fingerprint(self, go: _Go) -> str:
        digest = hashlib.sha256(f"{go.version} {go.platform} {self.linker_flags}".encode())
        for path in (self.source / "go.mod", self.source / "go.sum", *sorted(self.source.glob("*.go"))):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _build_into(self, directory: Path, go: _Go, progress: Progress) -> None:
        """Builds beside the final place, then moves: a process that sees the directory sees it complete."""
        progress(f"Building {self.title} with {go.version} into {directory}.")
        started = time.monotonic()
        unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=directory.parent))
        try:
            self._compile(unfinished / self.name, go, progress)
            for link in self.links:
                (unfinished / link).symlink_to(self.name)
            unfinished.chmod(0o755)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        progress(f"Built in {_duration(time.monotonic() - started)}.")

    def _compile(self, target: Path, go: _Go, progress: Progress) -> None:
        command = [go.program, "build", "-v", "-trimpath", "-buildvcs=false", "-mod=readonly"]
        log = target.with_name("build.log")
        with log.open("wb") as output:
            process = leashed(
                [*command, f"-ldflags={self.linker_flags}", "-o", target, self.package],
                output=output,
                directory=self.source,
                environment=_go_environment(),
            )
        try:
            self._report_until_done(process, log, progress)
        finally:
            kill_group(process)
        if process.returncode != 0:
            said = [line for line in log.read_text(errors="replace").splitlines() if " " in line]
            raise ControlPlaneError(f"Building {self.what.lower()} failed; go says:\n" + "\n".join(said[-15:]))

    def _report_until_done(self, process: subprocess.Popen[bytes], log: Path, progress: Progress) -> None:
        """Reports the progress every 15 seconds: `go build -v` prints a line for each package and each download."""
        started = time.monotonic()
        while True:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                lines = log.read_text(errors="replace").splitlines()
                downloads = sum(line.startswith("go: downloading") for line in lines)
                progress(
                    f"  {_duration(time.monotonic() - started)}: {downloads} modules downloaded, "
                    f"{len(lines) - downloads} of about {self.packages} packages compiled"
                )
            else:
                return


def cache_directory() -> Path:
    if ours := os.environ.get("HARBORHOOK_CACHE"):
        return Path(ours).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "harborhook"


@dataclass(frozen=True)
class _Go:
    """The Go toolchain that builds a module."""

    program: str
    version: str
    platform: str

    @classmethod
    def find(cls, what: str, module: Path) -> _Go:
        program = shutil.which("go")
        if program is None:
            raise ControlPlaneError(_no_go(what, "and there is no go command on PATH"))
        # Run in the module's directory, where Go may switch to the version that the module requires (GOTOOLCHAIN).
        answer = subprocess.run(
            [program, "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
            cwd=module,
            env=_go_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            raise ControlPlaneError(_no_go(what, f"and {program} says: {answer.stderr.strip()}"))
        facts = json.loads(answer.stdout)
        found = re.match(r"go(\d+)\.(\d+)", facts["GOVERSION"])
        if found and (int(found[1]), int(found[2])) < OLDEST_GO:
            raise ControlPlaneError(_no_go(what, f"and {program} is {facts['GOVERSION']}"))
        return cls(program, facts["GOVERSION"], f"{facts['GOOS']}/{facts['GOARCH']}")


def _no_go(what: str, problem: str) -> str:
    return _NO_GO.format(what=what, oldest=".".join(map(str, OLDEST_GO)), problem=problem)


def _go_environment() -> dict[str, str]:
    """Returns an environment that fixes everything that could make two builds of the same sources differ."""
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}


@contextmanager
def only_builder(directory: Path, what: str, progress: Progress) -> Iterator[None]:
    """Holds the lock of the directory's only builder; the kernel releases it when the process ends."""
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"Another process is building {what}; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_abandoned(directory: Path) -> None:
    """Removes the remains of killed builds."""
    for unfinished in directory.glob(".building-*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
