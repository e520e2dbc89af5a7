"""The Dockerfile, and `make image`. tests/node tests on a node that the image runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harborhook import __version__
from harness.node import images
from harness.paths import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
IGNORED = (REPOSITORY / ".dockerignore").read_text().splitlines()
BUILD, FINAL = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]

NEEDED = ("make", "sh", "awk", "sed", "git")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory for PATH, with everything that `make image` needs except a tool that builds images."""
    directory = tmp_path / "programs"
    directory.mkdir()
    for name in NEEDED:
        if found := shutil.which(name):
            (directory / name).symlink_to(found)
    return directory


def add(programs: Path, name: str, script: str) -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


def make_image(programs: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    command = [str(programs / "make"), "image", *variables]
    return subprocess.run(command, cwd=REPOSITORY, env={"PATH": str(programs)}, capture_output=True, text=True)


@pytest.mark.parametrize("stage", [BUILD, FINAL])
def test_both_stages_are_of_the_base_that_one_may_choose(stage: str) -> None:
    assert stage.startswith("${BASE_IMAGE}")
    assert re.search(r"^ARG BASE_IMAGE=docker\.io/library/python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)


def test_pods_of_the_tests_have_the_python_of_the_image() -> None:
    stated = re.search(r"^ARG BASE_IMAGE=docker\.io/library/python:(.*)-slim$", DOCKERFILE, re.MULTILINE)
    assert stated is not None
    assert stated[1] == images.PYTHON


def test_all_that_the_image_adds_to_its_base_is_audited() -> None:
    """The package itself, and one lock file, which `make audit` looks up; no package of an operating system."""
    assert re.search(r"\b(apt|apt-get|apk|dnf|yum|microdnf)\b", DOCKERFILE) is None
    assert re.findall(r"-r (\S+)", BUILD.partition("build.lock")[0]) == ["requirements.lock"]
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/harborhook /opt/harborhook"]

    # Without making .venv again, and without running anything.
    dry = [str(shutil.which("make")), "--dry-run", "--old-file=.venv/.made-from-lock", "audit"]
    printed = subprocess.run(dry, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    (audited,) = [line for line in printed.splitlines() if "--requirement requirements.lock" in line]
    assert "pip-audit --strict" in audited


def test_nothing_is_installed_whose_hash_is_not_known() -> None:
    steps = re.split(r"&&|\n", DOCKERFILE.replace("\\\n", " "))
    installations = [step for step in steps if re.search(r"bin/pip .*\b(install|wheel)\b", step)]
    assert len(installations) == 4
    assert [step for step in installations if "--require-hashes" not in step and "--no-index" not in step] == []


def test_the_container_is_of_a_user_that_kubernetes_can_tell_is_not_root() -> None:
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", FINAL, re.MULTILINE)


def test_the_final_stage_gets_nothing_but_what_was_installed() -> None:
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/harborhook /opt/harborhook"]


def test_what_is_copied_from_the_repository_is_all_that_builders_are_sent() -> None:
    copied = {name for line in re.findall(r"^COPY (.*) \S+$", BUILD, re.MULTILINE) for name in line.split()}
    assert IGNORED[1] == "*"
    assert {line[1:] for line in IGNORED if line.startswith("!")} == copied
    assert all((REPOSITORY / name).exists() for name in copied)


def test_without_a_tool_make_image_says_which_there_are(programs: Path) -> None:
    done = make_image(programs)
    assert done.returncode != 0
    assert "docker (and its daemon running), podman or buildah" in done.stderr


@pytest.mark.parametrize("tool", ["docker", "podman", "buildah"])
def test_make_image_uses_the_tool_that_is_there(programs: Path, tool: str) -> None:
    add(programs, tool, 'echo "called with $*"')
    done = make_image(programs, "BASE_IMAGE=registry.example.com/python:3")
    assert done.returncode == 0
    assert f"Building harborhook:{__version__} with {tool}" in done.stdout
    (called,) = re.findall(r"^called with (build .*)$", done.stdout, re.MULTILINE)
    assert f"--tag harborhook:{__version__} " in called
    assert f"--build-arg VERSION={__version__} " in called
    assert "--build-arg BASE_IMAGE=registry.example.com/python:3 " in called


def test_a_docker_without_its_daemon_is_passed_over(programs: Path) -> None:
    add(programs, "docker", "exit 1")
    add(programs, "buildah", 'echo "called with $*"')
    assert "with buildah" in make_image(programs).stdout
