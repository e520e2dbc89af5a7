"""A control plane with a node, for the tests that `make test-node` runs; `make test` leaves them out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import CalledProcessError
from urllib.parse import urlsplit

import pytest

from harness import helm as helm_program
from harness.control_plane import ControlPlane, ControlPlaneError
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.helm import Helm
from harness.node.cluster import Node, lay_out

NOT_HERE = "there is no node: make test-node starts one and runs these tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "HARBORHOOK_NODE_PROGRAM" not in os.environ:
        for item in items:
            if "tests/node/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=NOT_HERE))


@contextmanager
def skipping() -> Iterator[None]:
    """If no node can be started, the tests fail or, with NODE=optional, are skipped."""
    try:
        yield
    except (ControlPlaneError, CalledProcessError) as error:
        if os.environ.get("NODE") != "optional":
            raise
        pytest.skip(f"no node runs on this machine: {error}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    with skipping():
        lay_out()
    with ControlPlane.start(nodes=True) as running:
        yield running


@pytest.fixture(scope="session")
def node(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on which a pod has run."""
    with ExitStack() as stack:
        with skipping():
            running = stack.enter_context(Node.start(cluster, tmp_path_factory.mktemp("node")))
        yield running


@pytest.fixture(scope="session")
def harbor(node: Node) -> Iterator[HarborUnderTest]:
    """A stand-in, at an address that pods can reach."""
    with StandIn.start() as stand_in:
        port = urlsplit(stand_in.url).port
        assert port is not None
        yield HarborUnderTest(f"http://{node.publish(port)}", *stand_in.admin, "2.16", False, stand_in, None)


@pytest.fixture(scope="session")
def helm(cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(helm_program.find(print), tmp_path_factory.mktemp("helm"), cluster.kubeconfig)
