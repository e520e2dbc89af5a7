"""Helm, the chart with its default values, and a control plane to install it in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import helm as helm_program
from harness.chart import Object, render
from harness.control_plane import ControlPlane
from harness.harbor.process import StandIn
from harness.harbor_fixtures import standing_in
from harness.helm import Helm
from harness.installed_chart import Cluster


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    return Helm(helm_program.find(print), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def default_objects(helm: Helm) -> list[Object]:
    """The chart rendered with default values."""
    return render(helm)


@pytest.fixture(scope="module")
def own_control_plane() -> Iterator[ControlPlane]:
    with ControlPlane.start(progress=print) as running:
        yield running


@pytest.fixture
def cluster(own_control_plane: ControlPlane, helm: Helm, stand_in: StandIn, tmp_path: Path) -> Iterator[Cluster]:
    """With a separate Harbor, since a release can switch off its notifications."""
    with ExitStack() as stack:
        at_home = Helm(helm.program, helm.home, own_control_plane.kubeconfig)
        found = Cluster(own_control_plane, at_home, standing_in(stand_in, "2.16"), tmp_path, stack)
        stack.callback(found.remove_everything)
        yield found
        stack.pop_all().close()
