"""`make demo` succeeds, cleans up after itself, and prints the README's output."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness.control_plane import ControlPlane
from harness.demo.story import STEPS
from harness.paths import REPOSITORY
from harness.readme import blocks, commands

README = (REPOSITORY / "README.md").read_text()
LONGEST = 300.0
"""Seconds; it takes less than one minute on an idle machine."""


@dataclass(frozen=True)
class Run:
    """A demonstration that has ended."""

    code: int
    output: str
    errors: str
    temporary: Path
    mark: str
    """In the environment of the demonstration, and so of all its processes."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, control_plane: ControlPlane) -> Run:
    """Runs `make demo`. It has its own control plane; that of the tests ensures that the programs are built."""
    temporary, mark = tmp_path_factory.mktemp("demo"), secrets.token_hex(16)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("KEEP", "FORCE_COLOR")},
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "operator"), str(REPOSITORY / "tests")]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
        "DEMO_MARK": mark,
    }
    command = [sys.executable, "-m", "harness.demo"]
    done = subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, encoding="utf-8", timeout=LONGEST
    )
    return Run(done.returncode, done.stdout, done.stderr, temporary, mark)


def test_every_step_comes_true(demo: Run) -> None:
    assert (demo.code, demo.errors) == (0, ""), demo.output[-5000:]
    for number, step in enumerate(STEPS, start=1):
        assert f"\n{number}. {step.title}\n" in demo.output
    assert f"All {len(STEPS)} steps came true" in demo.output


@pytest.mark.parametrize(
    "promised",
    [
        "✓ Harbor has the project team-a with the webhook policies ci, events and Slack notifications",
        "POST /ci.example.com/harbor",
        "Authorization: Bearer fi…",
        '"specversion":"1.0"',
        '"status":"Succeeded","time":"20',
        "The newest event was not delivered: 127.0.0.1 answered with status 500",
        "DeliveryRecovered",
        "3 events are not delivered",
        "✓ all three arrive, oldest first",
        "3 notifications that Harbor could not deliver since",
        "✓ nobody was notified of the push",
        "DriftCorrected",
        "Recreated",
        "remove payloadFormat, or use type http",
        "Secret team-a/ci-token does not exist",
        "Secret team-a/ci-token has no key 'header'",
        "Authorization: Bearer se…",
        "✓ it wrote nothing to Kubernetes",
        "✓ no resource is left, so no finalizer is either",
    ],
)
def test_it_shows_what_it_promises(demo: Run, promised: str) -> None:
    assert promised in demo.output


def test_a_log_without_a_terminal_has_no_colour_and_no_token(demo: Run) -> None:
    assert "\x1b" not in demo.output
    assert "first-token" not in demo.output
    assert str(demo.temporary) not in demo.output


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux shows them")
def test_nothing_is_left_running(demo: Run) -> None:
    assert marked_processes(demo.mark) == []


def test_nothing_is_left_in_the_temporary_directory(demo: Run) -> None:
    assert list(demo.temporary.iterdir()) == []


# The README


def test_every_kubectl_command_of_the_readme_is_one_that_the_demonstration_runs(demo: Run) -> None:
    shown = {line.strip().removeprefix("$ ") for line in demo.output.splitlines() if line.startswith("   $ ")}
    assert [command for command in commands(README) if command.startswith("kubectl ") and command not in shown] == []


def test_the_output_in_the_readme_is_real(demo: Run) -> None:
    real = {without_what_varies(line) for line in demo.output.splitlines()}
    pasted = [line for block in blocks(README, "console") for line in block.splitlines() if line.strip()]
    assert pasted
    assert [line for line in pasted if without_what_varies(line) not in real] == []


def test_the_api_server_takes_the_yaml_of_the_readme(crds_installed: ControlPlane, namespace: str) -> None:
    for block in blocks(README, "yaml"):
        manifests = list(yaml.safe_load_all(block))
        for manifest in manifests:
            if "namespace" in manifest["metadata"]:
                manifest["metadata"]["namespace"] = namespace
        crds_installed.apply(yaml.safe_dump_all(manifests), "--dry-run=server", "--validate=strict")


def without_what_varies(line: str) -> str:
    """A line without its times, ports and spacing."""
    return re.sub(r"\d+", "#", " ".join(line.split()))


def marked_processes(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:  # ended, or another user's
            continue
        if mark.encode() in environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found
