"""docs/architecture.md names only existing modules, and all modules of reconcile/."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/architecture.md").read_text()
SOURCE = REPOSITORY / "operator/harborhook"
NAMED = set(re.findall(r"(?:\w+/)*\w+\.py\b", PAGE))
PACKAGES = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
GLOSSARY = PAGE.partition("## Glossary")[2].partition("\n## ")[0]


def modules(directory: Path) -> set[str]:
    return {str(path.relative_to(SOURCE)) for path in directory.glob("*.py") if path.name != "__init__.py"}


def test_every_module_that_it_names_exists() -> None:
    assert sorted(name for name in NAMED if not (SOURCE / name).is_file()) == []


def test_every_package_that_it_names_exists_and_none_is_missing() -> None:
    assert set(re.findall(r"`(\w+)/`", PAGE)) == PACKAGES


def test_every_module_of_reconciling_and_at_the_top_of_the_package_has_its_room() -> None:
    rooms = PAGE.partition("## Where things are")[2].partition("\n## ")[0]

    missing = modules(SOURCE) | modules(SOURCE / "reconcile")
    assert sorted(name for name in missing if f"`{name}`" not in rooms) == []


def test_every_term_of_the_glossary_says_where_it_is_defined() -> None:
    rows = [line.strip("| ").split(" | ") for line in GLOSSARY.splitlines() if line.startswith("| ")][1:]

    assert len(rows) > 20
    assert [row[0] for row in rows if not re.search(r"\w+\.py", row[2])] == []
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), key=str.lower)


@pytest.mark.parametrize("word", ["visit", "link", "claim", "news", "foreign", "shard", "lane", "candidate", "backlog"])
def test_a_word_of_the_code_is_in_the_glossary(word: str) -> None:
    assert f"\n| {word} |" in GLOSSARY
