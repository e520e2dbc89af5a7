"""The receivers that `make test-receivers` builds: the versions on the page, and the message without Go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.paths import REPOSITORY
from harness.receiver_programs import FLUX, TEKTON, ReceiverProgram

PAGE = (REPOSITORY / "docs/receivers/index.md").read_text()


@pytest.mark.parametrize(("receiver", "name"), [(FLUX, "notification-controller"), (TEKTON, "Tekton Triggers")])
def test_the_page_names_the_version_that_is_pinned(receiver: ReceiverProgram, name: str) -> None:
    pinned = re.search(rf"\b{re.escape(receiver.module)} v(\S+)", (receiver.program.source / "go.mod").read_text())
    assert pinned is not None
    assert f"{name} {pinned[1]}" in " ".join(PAGE.split())


def test_without_go_nothing_is_run_and_a_sentence_says_why(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "harness.receiver_programs", "touch", str(mark)],
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Flux's notification-controller of the tests is built with Go" in done.stderr
    assert not mark.exists()
