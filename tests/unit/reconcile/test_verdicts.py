"""The condition of a resource after an error of Harbor."""

from __future__ import annotations

import pytest

from harborhook.api.conditions import Reason
from harborhook.harbor.errors import ProjectNameError
from harborhook.reconcile.verdicts import verdict_of


@pytest.mark.parametrize("name", ["", ".", "none/../victim", "x" * 300, "\x1b[31mred\n"])
def test_what_cannot_name_a_project_is_a_mistake_of_the_resource(name: str) -> None:
    verdict = verdict_of(ProjectNameError(name))

    assert verdict.reason is Reason.INVALID_SPEC
    assert "cannot be the name of a Harbor project: it has to begin with a letter or digit" in verdict.message
    assert verdict.message.isprintable()
    assert len(verdict.message) < 300
