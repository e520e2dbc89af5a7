"""Copies the tracked files of the repository, without the effects of a checkout: modes, times and untracked files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from harness.chart_files import REPOSITORY


class ReleaseError(Exception):
    """The files of a release cannot be built; the text says why."""


def source_date() -> int:
    """Returns seconds since 1970: `SOURCE_DATE_EPOCH` if set, as in reproducible builds, or the last commit's time."""
    if stated := os.environ.get("SOURCE_DATE_EPOCH"):
        if not stated.isdecimal():
            raise ReleaseError(f"SOURCE_DATE_EPOCH is {stated}, which is not a number of seconds since 1970.")
        return int(stated)
    return int(_git("log", "-1", "--format=%ct"))


def differs_from_commit() -> bool:
    """Whether a tracked file has been changed since the last commit."""
    return _git("status", "--porcelain", "--untracked-files=no") != ""


def copy_tracked(target: Path, date: int) -> None:
    """Copies the files that git tracks, with modes 0644 and 0755 and one time for all."""
    for name in _git("ls-files", "-z").split("\0"):
        original, copy = REPOSITORY / name, target / name
        if not name or not original.is_file():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, copy)
        copy.chmod(0o755 if original.stat().st_mode & 0o100 else 0o644)
        os.utime(copy, (date, date))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ReleaseError(f"A release is made in a git checkout: git {arguments[0]} failed ({error}).") from error
