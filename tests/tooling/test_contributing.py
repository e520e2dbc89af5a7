"""The pages for contributors are true: commands exist, paths are valid, GitHub accepts the forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from harborhook import __version__
from harness.chart_files import REPOSITORY, project_metadata
from harness.readme import commands

CONTRIBUTING = (REPOSITORY / "CONTRIBUTING.md").read_text()
SECURITY = (REPOSITORY / "SECURITY.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()
FORMS = sorted((REPOSITORY / ".github/ISSUE_TEMPLATE").glob("*.yml"))
ADDRESS = project_metadata()["urls"]["Repository"]


@pytest.mark.parametrize("text", [CONTRIBUTING, SECURITY], ids=["contributing", "security"])
def test_every_target_of_make_exists_and_reads_the_variables(text: str) -> None:
    named = re.findall(r"`?\bmake ([a-z][a-z-]+)((?: [A-Z_]+=[^\s`]+)*)", "\n".join([*commands(text), *quoted(text)]))
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert named
    assert {target for target, _ in named} - targets == set()
    variables = {name for _, stated in named for name in re.findall(r"([A-Z_]+)=", stated)}
    assert {name for name in variables if f"$({name})" not in MAKEFILE} == set()


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def test_every_path_leads_somewhere() -> None:
    paths = [text for text in quoted(CONTRIBUTING) if re.fullmatch(r"\.?[\w.-]+(/[\w.-]+)+", text)]
    assert len(paths) > 15
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_supported_version_is_this_one() -> None:
    minor = __version__.rpartition(".")[0]
    assert f"| {minor} | yes |" in SECURITY


def test_the_addresses_are_those_of_the_package() -> None:
    config = (REPOSITORY / ".github/ISSUE_TEMPLATE/config.yml").read_text()
    for text in (SECURITY, config):
        assert f"{ADDRESS}/security/advisories/new" in text
    assert all(url.startswith(ADDRESS) for url in project_metadata()["urls"].values())
    chart = yaml.safe_load((REPOSITORY / "helm-chart/Chart.yaml").read_text())
    assert (chart["home"], chart["sources"]) == (project_metadata()["urls"]["Homepage"], [ADDRESS])


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.stem)
def test_a_form_is_one_that_github_takes(form: Path) -> None:
    found: dict[str, Any] = yaml.safe_load(form.read_text())
    assert found.keys() >= {"name", "description", "body"}
    assert {part["type"] for part in found["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    fields = [part for part in found["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)
    assert any(part.get("validations", {}).get("required") for part in fields)


def test_the_hooks_run_what_make_installs() -> None:
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    programs = {hook["entry"].removeprefix("env PYTHONPATH=operator:tests ").split()[0] for hook in repository["hooks"]}
    assert programs == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python", "make"}


def test_the_editor_keeps_the_line_length_of_the_linter() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    length = re.search(r"^line-length = (\d+)", pyproject, re.MULTILINE)
    assert length is not None
    assert f"max_line_length = {length[1]}\n" in (REPOSITORY / ".editorconfig").read_text()
