"""A control plane with a node, for the tests that `make test-node` runs; `make test` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.control_plane import ControlPlane
from harness.node.cluster import Node, lay_out_network

NOT_HERE = "there is no node: make test-node starts one and runs these tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "HARBORHOOK_NODE_PROGRAM" not in os.environ:
        for item in items:
            if "tests/node/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=NOT_HERE))


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    lay_out_network()
    with ControlPlane.start(nodes=True) as running:
        yield running


@pytest.fixture(scope="session")
def node(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node.start(cluster, tmp_path_factory.mktemp("node")) as running:
        yield running
