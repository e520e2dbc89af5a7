"""Builds the images of the tests: the operator's, by the repository's Dockerfile, on a base image of Debian packages.

It pulls from no registry. The base is built once per machine; it also serves as the pause image of pods.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import Progress, cache_directory
from harness.node.requirements import NoNodeHere

REPOSITORY = Path(__file__).parents[3]
_SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""The release of Debian that has a Python version."""


def _python_of_dockerfile() -> str:
    """Returns the default Python version of the image, which the tests use."""
    stated = re.search(r"^ARG BASE_IMAGE=\S*/python:(\d+\.\d+)-", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert stated is not None, "the Dockerfile names no image of Python"
    return stated[1]


PYTHON = _python_of_dockerfile()
SUITE = _SUITES[PYTHON]
BASE = f"localhost/harborhook-base:{PYTHON}-1"
"""A change of `_make_base` needs another number at the end of this tag, so that machines rebuild the base."""
_PACKAGES = ("python3", "python3-venv", "ca-certificates")


OPERATOR = "docker.io/library/harborhook"
TAGS = ("one", "two")
"""Two names of one image: the installed version, and the one to upgrade to."""


def build(progress: Progress) -> Path:
    """Returns a directory with archives of the base and of the operator's image, the latter under the first tag.

    Raises NoNodeHere if this machine cannot build images, and ControlPlaneError if the Dockerfile does not build.
    """
    directory = cache_directory() / "node-images"
    directory.mkdir(parents=True, exist_ok=True)
    store = _Store(directory)
    image = f"{OPERATOR}:{TAGS[0]}"
    with tempfile.TemporaryDirectory() as wheels:
        try:
            if not store.has(BASE):
                progress(f"Making a base image of Debian's {', '.join(_PACKAGES)}, once, in about half a minute.")
                _make_base(store)
            _download_wheels(Path(wheels))
        except ControlPlaneError as error:
            raise NoNodeHere(str(error)) from None
        progress("Building the operator's image by the Dockerfile, in about half a minute.")
        _build_operator(store, image, Path(wheels))
    store.archive(BASE, directory / "base.tar")
    store.archive(image, directory / "operator.tar")
    return directory


class _Store:
    """Buildah with a separate image store."""

    def __init__(self, directory: Path) -> None:
        self._options = [f"--root={directory / 'store'}", f"--runroot={directory / 'run'}"]

    def __call__(self, *arguments: str | Path) -> str:
        return _run(["buildah", *self._options, *map(str, arguments)])

    def has(self, image: str) -> bool:
        return image in self("images", "--format={{.Name}}:{{.Tag}}").split()

    def archive(self, image: str, file: Path) -> None:
        file.unlink(missing_ok=True)
        self("push", image, f"docker-archive:{file}:{image}")


def _make_base(store: _Store) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root.tar"
        _run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, str(root)])
        container = store("from", "scratch").strip()
        store("add", container, root, "/")
        store("config", "--env=PATH=/usr/local/bin:/usr/bin:/bin", '--cmd=["sleep", "infinity"]', container)
        version = store("run", "--isolation=chroot", container, "python3", "--version")
        assert version.startswith(f"Python {PYTHON}."), f"Debian's {SUITE} has {version}"
        store("commit", "--rm", container, BASE)


def _download_wheels(directory: Path) -> None:
    """Downloads the Dockerfile's packages with this machine's pip, which is configured for its index."""
    pinned = re.search(r"^setuptools==.*\n(?: .*\n)+", (REPOSITORY / "requirements-dev.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    setuptools = directory / "setuptools.lock"
    setuptools.write_text(pinned[0])
    for lock in (REPOSITORY / "requirements.lock", setuptools):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        _run([*pip, f"--python-version={PYTHON}", "--only-binary=:all:", "-d", str(directory), "-r", str(lock)])


def _build_operator(store: _Store, name: str, wheels: Path) -> None:
    pip = wheels / "pip.conf"
    pip.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    store(
        "bud",
        "--isolation=chroot",
        f"--build-arg=BASE_IMAGE={BASE}",
        f"--secret=id=pip.conf,src={pip}",
        f"--volume={wheels}:/wheels:ro",
        f"--tag={name}",
        REPOSITORY,
    )


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ))
    if done.returncode != 0:
        raise ControlPlaneError(f"{' '.join(command[:2])} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
