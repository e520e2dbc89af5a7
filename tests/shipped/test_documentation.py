"""Every YAML block and every command of docs/ works: the operator parses it, a test runs it, or NOT_RUN states why not.

tests/e2e/test_schema.py tests that the API server accepts the YAML.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from harborhook.api.kinds import KINDS
from harborhook.cli import main
from harness.paths import REPOSITORY
from harness.readme import blocks, commands, manifests_of

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))


@each_page
def test_the_operator_reads_every_field_of_a_manifest(page: Path) -> None:
    for manifest in manifests_of(page.read_text()):
        read = KINDS[manifest["kind"]].model.model_validate(manifest).wire()["spec"]
        assert set(manifest["spec"]) <= set(read)


@each_page
def test_every_yaml_block_can_be_read(page: Path) -> None:
    for block in blocks(page.read_text(), "yaml"):
        assert [found for found in yaml.safe_load_all(block) if found]


RUN_BY_TESTS = {
    "install.md": "tests/chart/test_installation.py",
    "gitops.md": "tests/e2e/test_argocd.py",
    "benchmarks.md": "tests/tooling/test_bench.py",
}
"""Pages whose commands another test runs unchanged."""

NOT_RUN = {
    "kind": "needs docker",
    "helm": "Harbor's own chart; the chart of this repository is installed by tests/chart/test_installation.py",
    "make": "builds an image or runs the tests themselves",
    "pipx": "installs into the user's home",
    "source": "changes the user's shell",
    "export": "needs a real Harbor",
    "git": "compares recordings of a real Harbor",
}
"""Programs whose commands are not run, and the reason."""

KUBECTL = {
    "annotate", "apply", "create", "delete", "describe", "exec", "get", "kustomize", "patch", "rollout", "run", "wait",
}  # fmt: skip
"""Subcommands of kubectl on the pages; the test checks only that kubectl has them."""


def typed(page: Path) -> list[str]:
    """The commands of a page, those after a pipe too."""
    return [part.strip() for command in commands(page.read_text()) for part in re.split(r" [|] ", command)]


@each_page
def test_every_command_is_one_that_exists(page: Path) -> None:
    for command in typed(page):
        program, *arguments = shlex.split(command.partition(" > ")[0])
        if program == "kubectl" and arguments[0] == "harborhook":
            check_ours(arguments[1:])
        elif program == "harborhook":
            check_ours(arguments)
        elif program == "kubectl":
            assert arguments[0] in KUBECTL, command
        else:
            assert program in NOT_RUN or program == "sed" or page.name in RUN_BY_TESTS, command


def check_ours(arguments: list[str]) -> None:
    """Checks that the command has these options and accepts these arguments, without running it."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, arguments
        command, arguments = found, arguments[1:]
    if "--help" not in arguments:
        command.make_context(command.name, list(arguments), resilient_parsing=False)


@pytest.mark.parametrize("file", sorted(set(RUN_BY_TESTS.values())))
def test_a_test_that_runs_commands_exists(file: str) -> None:
    assert (REPOSITORY / file).exists()


def test_every_reason_why_something_is_not_run_is_needed() -> None:
    programs = {shlex.split(command)[0] for page in PAGES for command in typed(page)}
    assert set(NOT_RUN) - programs == set()


def test_the_navigation_of_the_site_has_every_page_once() -> None:
    """`make docs` refuses a page that is missing there, but is not part of `make test`."""
    listed = re.findall(r"^ *- .*: (\S+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)
