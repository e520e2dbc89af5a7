"""The plugin for Krew: one file that runs without the packages of this project, and a matching manifest."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harborhook import __version__
from harness import krew

URL = "https://example.com/{version}/{archive}"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Krew unpacks it."""
    directory = tmp_path_factory.mktemp("krew")
    with tarfile.open(fileobj=io.BytesIO(krew.archive())) as tar:
        tar.extractall(directory, filter="data")
    return directory / krew.PROGRAM


def run(plugin: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a Python without any packages."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(plugin.parent)}
    command = [sys.executable, "-I", "-S", str(plugin), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_it_runs_where_nothing_is_installed(plugin: Path) -> None:
    assert os.access(plugin, os.X_OK)
    assert run(plugin, "--version").stdout == f"harborhook, version {__version__}\n"
    assert run(plugin, "--help").stdout.startswith("Usage: kubectl harborhook ")
    ended = run(plugin, "status")
    assert (ended.returncode, ended.stderr.startswith("Error: There is no kubeconfig")) == (1, True), ended.stderr


def test_tables_for_terminals_need_nothing_else(plugin: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(plugin)!r})\n"
        "from rich.console import Console; from rich.live import Live\n"
        "from harborhook.commands.tables import Table, rendered\n"
        "from harborhook.commands.asking import ActionResult; import harborhook.commands.switch_map\n"
        "from harborhook.commands.unambiguous_yaml import manifest_yaml\n"
        "table = Table(('A', 'B')); table.add('a', 'b'); console = Console(force_terminal=True, width=60)\n"
        "[console.print(piece) for piece in rendered([table], console)]\n"
        "with Console(stderr=True).status('x'): pass\n"
    )
    ended = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_what_it_does_not_contain_is_said(plugin: Path) -> None:
    ended = run(plugin, "crds")
    assert ended.returncode == 1
    assert "pipx install harborhook" in ended.stderr


def test_the_manifest_names_the_archive_by_its_digest() -> None:
    content = krew.archive()
    assert content == krew.archive(), "the same sources give the same bytes"
    found = krew.manifest(URL, "https://example.com", content)
    (platform,) = found["spec"]["platforms"]
    assert found["metadata"]["name"] == "harborhook"
    assert found["spec"]["version"] == f"v{__version__}"
    assert platform["uri"] == f"https://example.com/{__version__}/kubectl-harborhook-{__version__}.tar.gz"
    assert platform["sha256"] == hashlib.sha256(content).hexdigest()
    assert platform["bin"] == krew.PROGRAM
    assert len(found["spec"]["shortDescription"]) <= 80
