"""Packs `kubectl harborhook` for Krew, kubectl's plugin manager: an archive for a release, and its manifest.

`make dist` writes both (harness.release). The plugin is one file of pure Python for any platform: the commands that use
the API server, and their imports. `doctor`, `export`, `crds` and `run` need compiled packages, and report that. The
same sources give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harborhook import __version__

REPOSITORY = Path(__file__).parents[2]
LIBRARIES = ("click", "rich", "yaml")
PROGRAM = "kubectl-harborhook"
_MAIN = "from harborhook.cli import kubectl\nkubectl()\n"
_TIME = (2026, 1, 1, 0, 0, 0)


def archive_name() -> str:
    return f"{PROGRAM}-{__version__}.tar.gz"


def archive(sources: Path = REPOSITORY) -> bytes:
    """Returns the program and the license, from this checkout or a copy of it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        _add(tar, PROGRAM, program(sources), 0o755)
        _add(tar, "LICENSE", (sources / "LICENSE").read_bytes(), 0o644)
    return _gzip(packed.getvalue())


def program(sources: Path) -> bytes:
    """Returns an executable zip file for Python."""
    packed = io.BytesIO()
    packed.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in sorted(_contents(sources)):
            zipped.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def manifest(url: str, homepage: str, content: bytes) -> dict[str, Any]:
    """Returns the manifest for Krew's index."""
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "harborhook"},
        "spec": {
            "version": f"v{__version__}",
            "homepage": homepage,
            "shortDescription": "Harbor projects and webhook notifications declared in Kubernetes",
            "description": (
                "Shows the state of everything that Harborhook manages, why a webhook notification did not arrive, "
                "and sends notifications again.\n"
            ),
            "caveats": (
                "Needs Python 3.11 or newer. doctor and export need the whole package: pipx install harborhook.\n"
            ),
            "platforms": [
                {
                    "selector": {"matchExpressions": [{"key": "os", "operator": "In", "values": ["linux", "darwin"]}]},
                    "uri": url.format(archive=archive_name(), version=__version__),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "bin": PROGRAM,
                }
            ],
        },
    }


def _contents(sources: Path) -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", _MAIN.encode()
    yield f"harborhook-{__version__}.dist-info/METADATA", f"Name: harborhook\nVersion: {__version__}\n".encode()
    roots = {"harborhook": sources / "operator/harborhook", **{name: _installed(name) for name in LIBRARIES}}
    for package, root in roots.items():
        for file in root.rglob("*.py"):
            yield f"{package}/{file.relative_to(root).as_posix()}", file.read_bytes()


def _installed(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
