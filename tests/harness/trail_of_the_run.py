"""pytest plugin: follows every operator of the run, and compares the shipped rights with those that all end-to-end
tests have used.

The comparison needs the whole of e2e/, so it is skipped if tests were selected. With pytest-xdist each worker sends its
used rights to the controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from harness import canaries
from harness.control_plane import ControlPlane
from harness.paths import REPOSITORY, TESTS
from harness.trail import Right, Trail, granted
from harness.world import OPERATOR_USER

ROLES = ("manifests/base/rbac-operator.yaml", "manifests/base/rbac-leader-election.yaml")


class Run:
    """The state of this process in the run."""

    def __init__(self) -> None:
        self.trail = Trail(canaries.OF_THE_RUN)
        self.used: set[Right] = set()
        self.files: set[str] = set()
        """Test files with at least one report."""

    @property
    def is_whole(self) -> bool:
        return {f"tests/e2e/{path.name}" for path in (TESTS / "e2e").glob("test_*.py")} <= self.files

    def unused(self) -> set[Right]:
        return shipped() - self.used


RUN = Run()


@pytest.fixture(scope="session")
def trail() -> Trail:
    return RUN.trail


def shipped() -> set[Right]:
    """Returns the rights of the operator, cluster-wide and in its namespace."""
    roles = [found for path in ROLES for found in yaml.safe_load_all((REPOSITORY / path).read_text())]
    return {right for role in roles for right in granted(role.get("rules", ()))}


def table(rights: set[Right], used: set[Right]) -> Iterator[str]:
    """Yields a line per resource with its verbs; unused verbs are in brackets."""
    for resource in sorted({right.resource for right in rights}):
        verbs = sorted(right for right in rights if right.resource == resource)
        yield f"{resource:35} " + ", ".join(right.verb if right in used else f"[{right.verb}]" for right in verbs)


def pytest_configure() -> None:
    ControlPlane.observer = RUN.trail


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    RUN.files.add(report.nodeid.partition("::")[0])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    RUN.used |= {right for _, right in RUN.trail.used.get(OPERATOR_USER, ())}
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["used rights"] = sorted(map(tuple, RUN.used))
    elif _is_compared(session.config) and RUN.unused():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes over the used rights of a worker that has ended."""
    RUN.used |= {Right(*pair) for pair in getattr(node, "workeroutput", {}).get("used rights", ())}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _is_compared(config):
        terminalreporter.section("rights of the operator; in brackets: never used")
        terminalreporter.write("\n".join([*table(shipped(), RUN.used), ""]))


def _is_compared(config: pytest.Config) -> bool:
    """Whether all end-to-end tests were selected and have run."""
    selected = config.getoption("keyword") or config.getoption("markexpr") or config.getoption("lf", False)
    return RUN.is_whole and not selected
