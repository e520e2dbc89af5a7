"""The layout of tests: unit tests mirror the packages, and a page names every folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.paths import REPOSITORY, TESTS

SOURCE = REPOSITORY / "operator/harborhook"
UNIT = TESTS / "unit"
PAGE = (TESTS / "README.md").read_text()
FOLDERS = sorted(path.name for path in TESTS.iterdir() if any(path.glob("test_*.py")) or path.name == "unit")


@pytest.mark.parametrize("path", sorted(UNIT.rglob("test_*.py")), ids=lambda path: str(path.relative_to(UNIT)))
def test_a_unit_test_is_in_the_folder_of_a_package_or_named_after_a_module_at_the_top(path: Path) -> None:
    folder = path.parent.relative_to(UNIT)
    if folder == Path():
        assert (SOURCE / path.name.removeprefix("test_")).is_file(), "which package is it a test of?"
    else:
        assert (SOURCE / folder / "__init__.py").is_file()


def test_every_test_is_in_a_folder_that_the_page_explains() -> None:
    assert sorted(set(re.findall(r"^\|.*\| `(\w+)/`", PAGE, re.MULTILINE))) == FOLDERS
    assert list(TESTS.glob("test_*.py")) == []


def test_the_page_names_only_what_exists() -> None:
    modules = re.findall(r"`([\w/]+\.py)`", PAGE)

    assert len(modules) > 10
    assert [name for name in modules if not (TESTS / "harness" / name).exists() and not (TESTS / name).exists()] == []


def test_every_fixture_of_the_page_is_defined() -> None:
    sources = "".join(path.read_text() for path in TESTS.rglob("*.py"))
    fixtures = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    named = [name for row in fixtures for name in re.findall(r"\w+", row)]

    assert len(named) > 8
    assert [name for name in named if not re.search(rf"@pytest\.fixture.*\ndef {name}\(", sources)] == []


@pytest.mark.parametrize("name", ["own", "own_27", "own_world"])
def test_a_harbor_of_the_tests_own_is_defined_once(name: str) -> None:
    definition = rf"@pytest\.fixture.*\ndef {name}\("

    assert [path.name for path in TESTS.rglob("*.py") if re.search(definition, path.read_text())] == ["conftest.py"]
