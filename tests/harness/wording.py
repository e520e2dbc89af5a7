"""`python -m harness.wording`: finds the words of wording.txt in every text file of the repository (`make lint`)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
WORDS = Path(__file__).with_name("wording.txt")
CHECKED = ("*.md", "*.py", "*.yaml", "*.sh", "*.toml", "*.lua", "Makefile", "Dockerfile")
EXCLUDED = ("tests/data/", "tests/tooling/test_wording.py")
"""Recordings of other programs, and the test that has to contain such words."""


class Word(NamedTuple):
    pattern: re.Pattern[str]
    instead: str


class Hit(NamedTuple):
    line: int
    found: str
    instead: str


def words(text: str) -> list[Word]:
    """Returns the list in wording.txt. A blank in a pattern also matches a line break with its indentation and comment
    sign."""
    lines = [line.split(" -> ") for line in text.splitlines() if line and not line.startswith("#")]
    return [
        Word(re.compile(rf"\b{pattern.replace(' ', _BLANK)}\b", re.IGNORECASE), instead) for pattern, instead in lines
    ]


_BLANK = r"(?:[ ]|\s*\n\s*(?:#\s*)?)"


def hits(text: str, listed: list[Word]) -> Iterator[Hit]:
    for word in listed:
        for match in word.pattern.finditer(text):
            yield Hit(text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), word.instead)


def files() -> list[Path]:
    """Returns the text files that Git tracks, or would track once they are added."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *CHECKED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [path for path in listed.stdout.splitlines() if not path.startswith(EXCLUDED)]
    return [REPOSITORY / path for path in paths if (REPOSITORY / path).is_file()]


def main() -> int:
    listed = words(WORDS.read_text())
    complaints = [
        f"{path.relative_to(REPOSITORY)}:{hit.line}: {hit.found!r}: write {hit.instead}"
        for path in files()
        for hit in sorted(hits(path.read_text(), listed))
    ]
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
