"""A cluster with the operator, a Harbor, and real receivers. `make test-receivers` builds the receivers; `make test`
skips these tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.control_plane import ControlPlane
from harness.harbor.process import StandIn
from harness.harbor_fixtures import standing_in
from harness.operator_process import OperatorProcess
from harness.own import own_harbor
from harness.receiver_programs import FLUX, TEKTON
from harness.world import World

NOT_HERE = "the receivers are not built: make test-receivers builds them and runs these tests"
QUICK = {"poll_interval": 1, "open_poll_interval": 0.5, "status_interval": 2}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not {FLUX.variable, TEKTON.variable} <= set(os.environ):
        for item in items:
            if "tests/receivers/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=NOT_HERE))


@pytest.fixture(scope="session")
def operator(crds_installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    with OperatorProcess.start(crds_installed, tmp_path_factory.mktemp("operator"), **QUICK) as running:
        yield running


@pytest.fixture
def team(crds_installed: ControlPlane, operator: OperatorProcess, stand_in: StandIn, namespace: str) -> Iterator[World]:
    """A team whose HarborProject has the name of its namespace, which replaces the pages' `team-a`."""
    around = World(crds_installed, standing_in(stand_in, "2.16"), operator, namespace)
    with own_harbor(around, stand_in, allowedTargetHosts=["127.0.0.1"]) as found:
        found.project(namespace)
        found.ready("HarborProject", namespace)
        yield found
    around.api.close()


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the receivers' logs."""
    return tmp_path_factory.mktemp("receivers")
