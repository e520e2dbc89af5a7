"""The benchmark with the operator of another checkout: the parts that it uses from there, and the scenarios that it
skips."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.__main__ import chosen, main
from bench.checkout import Checkout, NoCheckoutError
from harness.paths import REPOSITORY

CRD = """
kind: CustomResourceDefinition
spec:
  names: {plural: webhookpolicies}
  versions:
  - schema: {openAPIV3Schema: {properties: {spec: {properties: {targets: {type: array}}}}}}
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Returns a checkout of an operator with few fields."""
    for folder in ("operator/harborhook", "manifests/base", "crds"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "operator/harborhook/__main__.py").touch()
    (tmp_path / "manifests/base/kustomization.yaml").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.0.9"\n')
    (tmp_path / "crds/webhookpolicies.yaml").write_text(CRD)
    (tmp_path / "crds/kustomization.yaml").write_text("kind: Kustomization\n")
    return tmp_path


def test_code_roles_and_version_are_those_of_the_other_checkout(old: Path) -> None:
    found = Checkout.at(old)

    assert (found.package, found.base) == (old / "operator", old / "manifests/base")
    assert found.version == "0.0.9"
    assert found.python == sys.executable


def test_a_checkout_with_a_virtual_environment_runs_in_it(old: Path) -> None:
    own = old / ".venv/bin/python"
    own.parent.mkdir(parents=True)
    own.touch()

    assert Checkout.at(old).python == str(own)


@pytest.mark.parametrize("missing", ["operator/harborhook/__main__.py", "manifests/base/kustomization.yaml"])
def test_a_folder_without_an_operator_is_refused(
    old: Path, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / missing).unlink()
    with pytest.raises(NoCheckoutError):
        Checkout.at(old)

    monkeypatch.setattr("bench.__main__.check_platform", lambda: None)
    assert main(["--operator", str(old)]) == 1
    said = " ".join(capsys.readouterr().out.split())  # the console breaks lines
    assert "does not hold the sources of an operator" in said


def test_fields_are_looked_up_in_its_crds(old: Path) -> None:
    fields = ["webhookpolicies.spec.targets", "webhookpolicies.spec.redelivery.maxAge", "harborprojects.spec"]

    assert Checkout.at(old).lacks(fields) == fields[1:]


def test_a_scenario_that_the_older_operator_cannot_have_is_skipped_with_a_sentence(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HARBORHOOK_TEST_HARBOR_URL", raising=False)

    assert [scenario.name for scenario in chosen("create undelivered", Checkout.at(old))] == ["create"]
    assert "Scenario undelivered is skipped: the operator 0.0.9 has no webhookpolicies.status." in (
        capsys.readouterr().out
    )


def test_the_present_operator_has_what_all_scenarios_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARBORHOOK_TEST_HARBOR_URL", raising=False)

    assert "undelivered" in [scenario.name for scenario in chosen("", Checkout.at(REPOSITORY))]
    assert chosen("", Checkout.at(REPOSITORY)) == chosen("", Checkout())
