"""Checks the workflows of GitHub Actions: for errors (actionlint) and for security (zizmor).

    python -m harness.workflows

actionlint is the one on PATH, or is built once per machine like the other Go programs of the tests. Without Go it is
skipped with a message, except in CI.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from harness.chart_files import REPOSITORY
from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import GoProgram, Progress

SOURCE = Path(__file__).parent / "actionlint_program"
WORKFLOWS = REPOSITORY / ".github"


def actionlint(progress: Progress) -> Path:
    """Returns the program, built if necessary."""
    if on_path := shutil.which("actionlint"):
        return Path(on_path)
    program = GoProgram(
        what="The linter of workflows",
        source=SOURCE,
        package="github.com/rhysd/actionlint/cmd/actionlint",
        shelf="actionlint",
        name="actionlint",
        links=(),
        linker_flags="-s -w",
        title="actionlint, once, in less than a minute,",
        packages=150,
    )
    return program.build(progress) / "actionlint"


def zizmor() -> Path:
    """Returns the program that the lock file installs beside Python."""
    return Path(sysconfig.get_path("scripts")) / "zizmor"


def main() -> int:
    # Both run offline, and without programs that another machine may lack (shellcheck, pyflakes).
    checks = [[str(zizmor()), "--offline", "--quiet", "--no-progress", str(WORKFLOWS)]]
    try:
        checks.append([str(actionlint(_say)), "-shellcheck=", "-pyflakes="])
    except ControlPlaneError as error:
        if shutil.which("go") or os.environ.get("CI"):
            _say(str(error))
            return 1
        _say("The workflows are not checked by actionlint: it is built with Go, which is not on PATH.")
    codes = [subprocess.run(check, cwd=REPOSITORY, check=False).returncode for check in checks]
    return max(codes)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
