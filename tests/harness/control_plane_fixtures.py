"""pytest plugin: one control plane for the session, and a separate namespace for each test."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator

import pytest

from harness.control_plane import ControlPlane


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """A running control plane, shared by all tests of the session: each test keeps to its own namespaces."""
    with ControlPlane.start(progress=_say_on_terminal(request.config)) as running:
        yield running


@pytest.fixture
def namespace(request: pytest.FixtureRequest, control_plane: ControlPlane) -> str:
    """The name of a new namespace. It is not deleted, which takes the API server longer than most tests: it ends with
    the control plane."""
    name = _namespace_name(request.node.name)
    control_plane.create_namespace(name)
    return name


def _namespace_name(test: str) -> str:
    """Returns a name that shows the test: `test_rbac_denies[x]` becomes `rbac-denies-x-3f9a1c`."""
    words = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_")).strip("-")
    return f"{words[:40].strip('-')}-{secrets.token_hex(3)}"


def _say_on_terminal(config: pytest.Config) -> Callable[[str], None]:
    """Returns a function that prints despite pytest's capturing: building the programs takes minutes."""
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")

    def say(line: str) -> None:
        if capture is None or terminal is None:  # a worker of pytest-xdist has no terminal
            return
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(line)

    return say
