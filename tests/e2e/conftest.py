"""The operator, its cluster and its Harbor, shared by the end-to-end tests: each test has its own namespace."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from harness.control_plane import ControlPlane
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest
from harness.operator_process import OperatorProcess
from harness.own import own_harbor
from harness.trail import Trail
from harness.world import Object, World

QUICK: dict[str, Any] = {
    "log_level": "DEBUG",
    "poll_interval": 1,
    "open_poll_interval": 0.5,
    "status_interval": 2,
    "stuck_after": 4,
    "drift_interval": 2,
    "prune_after": 6,
    "redelivery_pause": 1,
    "redelivery_longest_pause": 2,
    "connection_interval": 5,
}
"""Short intervals, so that tests need not wait long."""


@pytest.fixture(scope="module", autouse=True)
def nothing_secret_is_shown_and_no_right_is_missing(trail: Trail, request: pytest.FixtureRequest) -> Iterator[None]:
    """Checked when a module's last test is over: log, metrics, and what the operators have written to the API server.

    A module that makes the API server refuse something has REFUSED: the rights, each with the reason."""
    trail.new_refusals()  # of tests of other folders, which take roles away on purpose
    yield
    assert trail.leaks() == []
    provoked = getattr(request.module, "REFUSED", {})
    assert [found for found in trail.new_refusals() if found.right not in provoked] == []


@pytest.fixture(scope="session")
def operator(crds_installed: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The one operator of the session, under its shipped roles."""
    with OperatorProcess.start(crds_installed, tmp_path_factory.mktemp("operator"), **QUICK) as running:
        yield running


@pytest.fixture(scope="session")
def default_connection(operator: OperatorProcess, crds_installed: ControlPlane, harbor: HarborUnderTest) -> None:
    """The ClusterHarborConnection `default`, ready."""
    world = World(crds_installed, harbor, operator, "harborhook")
    world.connect("default")
    world.ready("ClusterHarborConnection", "default")
    world.api.close()


@pytest.fixture
def world(
    crds_installed: ControlPlane,
    harbor: HarborUnderTest,
    operator: OperatorProcess,
    default_connection: None,
    namespace: str,
) -> Iterator[World]:
    """A namespace and project names for one test, whose remains are removed."""
    found = World(crds_installed, harbor, operator, namespace)
    yield found
    found.clean_up()


@pytest.fixture
def connection_fields() -> Object:
    """Additional fields for the connection of `own`; a module may override them."""
    return {}


@pytest.fixture
def own(world: World, stand_in: StandIn, connection_fields: Object) -> Iterator[World]:
    """A world around a Harbor for one test, which it may break, and a connection to it."""
    with own_harbor(world, stand_in, **connection_fields) as found:
        yield found


@pytest.fixture
def own_27(world: World, stand_in_27: StandIn) -> Iterator[World]:
    with own_harbor(world, stand_in_27, "2.7") as found:
        yield found


@pytest.fixture
def own_world(
    own_cluster: ControlPlane,
    own_operator: OperatorProcess | None,
    stand_in: StandIn,
    request: pytest.FixtureRequest,
) -> Iterator[World]:
    """A namespace in the module's own cluster, with a connection of the same name to a Harbor that the test may break.
    The operator is the module's fixture `own_operator`; None if the tests start operators themselves."""
    name = f"own-{zlib.crc32(request.node.name.encode())}"
    own_cluster.create_namespace(name)
    harbor = HarborUnderTest(stand_in.url, *stand_in.admin, "2.16", False, stand_in, None)
    found = World(own_cluster, harbor, own_operator, name, connection=name)  # type: ignore[arg-type]
    found.connect(name)
    if own_operator is not None:
        found.ready("ClusterHarborConnection", name)
    yield found
    stand_in.clear_faults()
    found.clean_up()
    if found.exists("ClusterHarborConnection", name):
        found.annotate("ClusterHarborConnection", name, release="true")
    found.delete("ClusterHarborConnection", name, wait=False)


@pytest.fixture
def operator_log(operator: OperatorProcess) -> Iterator[None]:
    """Prints the operator's log of a failing test."""
    start = operator.log.stat().st_size
    yield
    print(operator.log.read_text()[start:])
