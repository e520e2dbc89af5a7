"""Getting started without containers: the page's commands work with the output of `make demo KEEP=1`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.control_plane import ControlPlane
from harness.paths import REPOSITORY
from harness.readme import blocks, commands
from harness.world import eventually

PAGE = (REPOSITORY / "docs/getting-started.md").read_text().partition("\n## Without containers\n")[2]
PLACEHOLDER = "http://127.0.0.1:12345"
STEPS = 7
"""Number of the demonstration's steps that run: up to redelivery, which the page uses. test_demo.py tests all of
them."""
DEMONSTRATION = f"""
import sys
from harness.demo.__main__ import main
from harness.demo.story import STEPS
sys.exit(main(STEPS[:{STEPS}]))
"""


@dataclass(frozen=True)
class Kept:
    """A demonstration that was left running, and a shell in a second terminal."""

    printed: str
    directory: Path

    @property
    def receiver(self) -> str:
        found = re.search(r"^ *Receiver +(\S+);", self.printed, re.MULTILINE)
        assert found is not None, self.printed
        return found[1]

    @property
    def push(self) -> str:
        """The printed command for a push."""
        (found,) = re.findall(r"^ *(PYTHONPATH=.* -m harness\.push .*)$", self.printed, re.MULTILINE)
        return str(found)

    def enter(self, command: str) -> str:
        """Runs a command after the printed `export` lines. Returns its output."""
        exports = re.findall(r"^ *(export .*)$", self.printed, re.MULTILINE)
        assert len(exports) == 2
        done = subprocess.run(
            ["sh", "-c", "\n".join([*exports, command])],
            cwd=self.directory,
            env={name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "PYTHONPATH")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, control_plane: ControlPlane) -> Iterator[Kept]:
    """Runs `make demo KEEP=1`. It has its own control plane; that of the tests ensures that the programs are built."""
    directory = tmp_path_factory.mktemp("second-terminal")
    output = directory / "printed"
    environment = {
        **os.environ,
        "KEEP": "1",
        "CLUSTER": "",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "operator"), str(REPOSITORY / "tests")]),
        "PYTHONUNBUFFERED": "1",
    }
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", DEMONSTRATION], cwd=REPOSITORY, env=environment, stdout=file, stderr=file
        )
    try:
        eventually(
            lambda: process.poll() is not None or "Ctrl-C ends everything" in output.read_text(),
            output.read_text,
            deadline=180,
        )
        assert process.poll() is None, output.read_text()
        yield Kept(output.read_text(), directory)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_the_page_works_as_it_stands(kept: Kept) -> None:
    """Runs the page's commands, with the placeholder filled in and the printed command for each push."""
    (manifests,) = blocks(PAGE, "yaml")
    assert PLACEHOLDER in manifests
    (kept.directory / "team-b.yaml").write_text(manifests.replace(PLACEHOLDER, kept.receiver))
    start, look, apply, wait, delivering, patch, reason, status, restore, redeliver = commands(PAGE)
    assert start == "make demo KEEP=1"
    assert "team-a" in kept.enter(look)
    kept.enter(apply)
    kept.enter(wait)
    push_to_own_project(kept)
    until_shown(kept, delivering, "true True True")
    kept.enter(patch.replace(PLACEHOLDER, kept.receiver))
    kept.enter(wait)
    push_to_own_project(kept)
    until_shown(kept, delivering, "true True False")
    assert kept.enter(reason).startswith("127.0.0.1 answered with status 503")
    assert "answered with status 503" in " ".join(kept.enter(status).split())
    kept.enter(restore)
    assert "1 delivered, 0 failed" in kept.enter(redeliver)
    until_shown(kept, delivering, "true True True")


def push_to_own_project(kept: Kept) -> None:
    assert "team-a/app" in kept.push
    kept.enter(kept.push.replace("team-a/app", "team-b/app"))


def until_shown(kept: Kept, command: str, wanted: str) -> None:
    """Waits until the row has these values of ENABLED, READY and DELIVERING."""

    def shown() -> bool:
        return wanted in " ".join(kept.enter(command).split())

    eventually(shown, lambda: f"{wanted} is not shown: {kept.enter(command)}")
