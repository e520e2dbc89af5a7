"""The README is true: tests run its commands, and its links work.

tests/tooling/test_demo.py runs the demo, and so tests that its kubectl commands work and its output is real.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harborhook import __version__
from harborhook.api.kinds import KINDS
from harness.paths import REPOSITORY
from harness.readme import blocks, commands

README = (REPOSITORY / "README.md").read_text()
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()

RUN_BY_TESTS = {
    "make demo": "tests/tooling/test_demo.py",
    "make demo KEEP=1": "Makefile",
    "make test": ".ci/run",
    "helm upgrade --install harborhook helm-chart --namespace harborhook --create-namespace": (
        "tests/chart/test_installation.py"
    ),
    "make test-node": ".ci/run",
    "make image": "tests/shipped/test_image.py",
}
"""Besides kubectl: the file that proves that the command is run."""


@pytest.mark.parametrize("command", commands(README))
def test_a_command_is_one_that_tests_run(command: str) -> None:
    if not command.startswith("kubectl "):
        assert command in RUN_BY_TESTS
        assert (REPOSITORY / RUN_BY_TESTS[command]).exists()


def test_the_two_commands_are_there() -> None:
    assert {"make demo", "make test"} <= set(commands(README))


def test_make_demo_runs_what_the_test_of_the_demonstration_runs() -> None:
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    assert recipe[1].strip() == "$(BIN)/python -m harness.demo"


def test_make_test_is_what_ci_runs() -> None:
    assert "\n\tmake test\n" in (REPOSITORY / ".ci/run").read_text()


def test_every_code_block_says_its_language() -> None:
    assert len(blocks(README, "sh", "console", "yaml")) == len(blocks(README))


PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "helm-chart/README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text())
    targets = [(page.parent / file if file else page, anchor) for file, anchor in links if "://" not in file]
    assert [str(file) for file, _ in targets if not file.exists()] == []
    assert [(str(file), anchor) for file, anchor in targets if anchor and anchor not in anchors(file)] == []


def anchors(page: Path) -> set[str]:
    """Returns the anchors of the headings, as GitHub generates them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_operator_reads_the_yaml_of_the_readme() -> None:
    manifests = [manifest for block in blocks(README, "yaml") for manifest in yaml.safe_load_all(block)]
    assert {manifest["kind"] for manifest in manifests} >= {"HarborProject", "WebhookPolicy"}
    for manifest in manifests:
        if manifest["kind"] in KINDS:
            KINDS[manifest["kind"]].model.model_validate(manifest)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_named_and_has_its_reference_page(kind: str) -> None:
    assert f"(docs/reference/{kind.lower()}.md)" in README


def test_readme_and_changelog_speak_of_this_version() -> None:
    assert f"Version {__version__}" in README
    assert f"## [{__version__}]" in CHANGELOG
