"""Finds or downloads the control plane's programs that kubernetes-sigs/controller-tools publishes for envtest.

The archive has etcd, kube-apiserver and kubectl, but no kube-controller-manager. Version and checksums are those of
`envtest.sha512` beside this file, copied from envtest-releases.yaml of that project. Downloads are resumed, and enter
the cache only with the right checksum. Every failure raises `UnavailableError` with a sentence.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import Progress, cache_directory, only_builder

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
RELEASES = "https://github.com/kubernetes-sigs/controller-tools/releases/download"
OLDEST_MINOR = 29
"""The oldest Kubernetes that the operator supports."""

_ATTEMPTS = 3
_MEGABYTE = 1_000_000


class UnavailableError(ControlPlaneError):
    """The published programs are not available; the text says why."""


@dataclass(frozen=True)
class Envtest:
    """The published programs for one platform, and their possible locations."""

    cache: Path
    """Directory for downloads."""
    others: Path
    """Directory of setup-envtest, the tool of controller-runtime."""
    releases: str = RELEASES
    platform: str = ""
    """The platform in the archives' names, such as linux-amd64."""
    silence: float = 20.0
    """Seconds without a byte after which a server counts as unresponsive."""
    checksums: dict[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> Envtest:
        """Returns the programs for this machine. `ENVTEST_RELEASES` names a mirror of the releases."""
        sums = Path(__file__).with_name("envtest.sha512").read_text().split()
        return cls(
            cache=cache_directory() / "envtest",
            others=_data_directory() / "k8s",
            releases=os.environ.get("ENVTEST_RELEASES") or RELEASES,
            platform=_platform(),
            checksums=dict(zip(sums[1::2], sums[::2], strict=True)),
        )

    def at_hand(self) -> Path | None:
        """Returns a directory with the programs without a download: from our own cache, then setup-envtest's."""
        own = self.cache / self._name.removesuffix(".tar.gz") if self._published else None
        return next(filter(_is_complete, [*([own] if own else []), *self._of_setup_envtest()]), None)

    def download(self, progress: Progress) -> Path:
        """Returns the directory with the programs, downloaded if necessary. Raises UnavailableError."""
        if not self._published:
            raise UnavailableError(f"there is no archive for {self.platform}")
        directory = self.cache / self._name.removesuffix(".tar.gz")
        self.cache.mkdir(parents=True, exist_ok=True)
        with only_builder(self.cache, "the published programs", progress):
            if not _is_complete(directory):
                archive = self._fetched(progress)
                _unpack(archive, directory)
                archive.unlink()
        return directory

    @property
    def _published(self) -> bool:
        return any(name.endswith(f"-{self.platform}.tar.gz") for name in self.checksums)

    @property
    def _name(self) -> str:
        return next(name for name in self.checksums if name.endswith(f"-{self.platform}.tar.gz"))

    @property
    def _url(self) -> str:
        tag = self._name.removesuffix(f"-{self.platform}.tar.gz")
        return f"{self.releases}/{tag}/{self._name}"

    def _of_setup_envtest(self) -> Iterable[Path]:
        """Yields its directories for this platform, the newest Kubernetes first."""
        found = {}
        for directory in self.others.glob(f"*-{self.platform}"):
            version = re.fullmatch(rf"(\d+)\.(\d+)\.(\d+)-{re.escape(self.platform)}", directory.name)
            if version and (numbers := tuple(map(int, version.groups()))) >= (1, OLDEST_MINOR):
                found[numbers] = directory
        return [found[numbers] for numbers in sorted(found, reverse=True)]

    def _fetched(self, progress: Progress) -> Path:
        """Returns the whole archive with the right checksum; continues a partial download."""
        part = self.cache / f"{self._name}.part"
        progress(f"Downloading {self._url} ...")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._fetch_rest(part, progress)
                break
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS:
                    raise UnavailableError(f"{httpx.URL(self._url).host}: {_sentence(error)}") from None
                progress(f"  broken off ({_sentence(error)}), going on at {part_size(part) // _MEGABYTE} MB ...")
        if _sha512(part) != self.checksums[self._name]:
            part.unlink()
            raise UnavailableError(f"{self._url} does not have the checksum that is in the repository")
        return part

    def _fetch_rest(self, part: Path, progress: Progress) -> None:
        begin = part_size(part)
        headers = {"Range": f"bytes={begin}-", "Accept-Encoding": "identity"} if begin else {}
        timeout = httpx.Timeout(self.silence)
        with httpx.stream("GET", self._url, headers=headers, timeout=timeout, follow_redirects=True) as answer:
            if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # it was complete: the checksum decides
            if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
                raise UnavailableError(f"{answer.url.host} answered with status {answer.status_code}")
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            total = int(answer.headers.get("Content-Length", 0)) + (begin if resumed else 0)
            with part.open("ab" if resumed else "wb") as file:
                reported = time.monotonic()
                for chunk in answer.iter_bytes():
                    file.write(chunk)
                    if time.monotonic() - reported > 3:
                        reported = time.monotonic()
                        progress(f"  {file.tell() // _MEGABYTE} of {total // _MEGABYTE} MB")


def part_size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _sentence(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__


def _sha512(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _unpack(archive: Path, directory: Path) -> None:
    """Unpacks beside the final place, then moves: a directory of that name is complete."""
    unfinished = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=directory.parent))
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                name = Path(member.name).name
                content = packed.extractfile(member) if member.isfile() and name in PROGRAMS else None
                if content is not None:
                    with (unfinished / name).open("wb") as program:
                        shutil.copyfileobj(content, program)
                    (unfinished / name).chmod(0o755)
        if not _is_complete(unfinished):
            raise UnavailableError(f"{archive.name} lacks one of {', '.join(PROGRAMS)}")
        unfinished.chmod(0o755)
        shutil.rmtree(directory, ignore_errors=True)
        unfinished.rename(directory)
    except (tarfile.TarError, EOFError, OSError) as error:
        with suppress(OSError):
            archive.unlink()
        raise UnavailableError(f"{archive.name} cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_complete(directory: Path) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in PROGRAMS)


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _data_directory() -> Path:
    """Returns the directory in which setup-envtest keeps its downloads."""
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/io.kubebuilder.envtest"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "kubebuilder-envtest"
