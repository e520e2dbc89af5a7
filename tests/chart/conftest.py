"""Helm, and the chart with its default values."""

from __future__ import annotations

import pytest

from harness import helm as helm_program
from harness.chart import Object, render
from harness.helm import Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm without a cluster."""
    return Helm(helm_program.find(print), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def default_objects(helm: Helm) -> list[Object]:
    """What the chart renders when nobody sets a value."""
    return render(helm)
