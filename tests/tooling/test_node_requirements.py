"""If no node can run here, a sentence gives the reason."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from harness.node import __main__ as starter
from harness.node import requirements


@pytest.fixture
def wanting(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A complete machine, from which tests remove something; the kernel is not checked."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(requirements, "CNI_PLUGINS", Path("/"))
    monkeypatch.setattr(requirements, "_refused_by_kernel", lambda: None)
    return monkeypatch


def test_another_system_than_linux_is_named(wanting: pytest.MonkeyPatch) -> None:
    wanting.setattr(sys, "platform", "darwin")
    assert "needs Linux" in str(requirements.lacking())


def test_that_root_is_needed_is_said(wanting: pytest.MonkeyPatch) -> None:
    wanting.setattr(os, "geteuid", lambda: 1000)
    assert "needs root" in str(requirements.lacking())


def test_missing_programs_are_named_by_the_packages_that_have_them(wanting: pytest.MonkeyPatch) -> None:
    wanting.setattr(shutil, "which", lambda name: None if name in ("containerd", "ip") else name)
    said = "apt-get install containerd iproute2 containernetworking-plugins"
    assert str(requirements.lacking()).endswith(said)


@pytest.mark.parametrize(("node", "code"), [("", 1), ("optional", 0)])
def test_a_missing_node_fails_the_command_unless_it_is_optional(
    wanting: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], node: str, code: int
) -> None:
    wanting.setattr(sys, "platform", "darwin")
    wanting.setenv("NODE", node)
    assert starter.main(["false"]) == code
    assert "No tests on a node. A node needs Linux" in capsys.readouterr().err
