"""docs/resilience.md makes no promise without a test."""

from __future__ import annotations

import re

from harness.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/resilience.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
PROOFS = [row[-1].strip("`") for row in ROWS if row[0] != "what happens"]


def test_each_line_names_a_test_or_a_command_that_exists() -> None:
    sources = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"^(?:async )?def (test_\w+)", sources, re.MULTILINE))
    targets = {f"make {name}" for name in re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)}

    assert len(PROOFS) > 30
    assert [proof for proof in PROOFS if proof not in tests | targets] == []


def test_no_two_lines_lean_on_the_same_test() -> None:
    assert len(set(PROOFS)) == len(PROOFS)
