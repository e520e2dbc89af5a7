"""The benchmark runs completely on a few resources, so that a broken one is noticed early."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.figures import Figure, Kind, Run
from bench.options import Options

REQUESTS = "requests to Harbor per new policy"
TO_HARBOR = "to its request to Harbor"


def test_it_measures_writes_down_and_finds_what_a_former_run_needed_less_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARBORHOOK_TEST_HARBOR_URL", raising=False)
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    less = Run(Options("tiny").wire(), [Figure("create", REQUESTS, 0.5, Kind.COUNT)], {}, {}, {})
    before.write_text(json.dumps(less.wire()))

    code = main(["--size", "tiny", "--scenarios", "create", "--json", str(now), "--compare", str(before)])

    run = json.loads(now.read_text())
    figures = {row["name"]: row["value"] for row in run["figures"]}
    assert figures["requests to Harbor per new project"] == 1
    assert figures[REQUESTS] == 1
    # A third one only if a policy's project is noticed seconds after the policy, as on a very busy machine.
    assert 2 <= figures["writes to Kubernetes per new resource"] <= 3
    assert figures["peak memory of the operator"] > 20
    assert run["tables"]["create"]["Requests to Harbor"]["POST /projects"] == 5
    assert "1 regressions." in capsys.readouterr().out
    assert code == 1


def test_the_cost_of_each_write_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARBORHOOK_TEST_HARBOR_URL", raising=False)
    now = tmp_path / "now.json"

    assert main(["--size", "tiny", "--scenarios", "writes", "--json", str(now)]) == 0

    figures = {row["name"]: row["value"] for row in json.loads(now.read_text())["figures"]}
    assert {name.partition(":")[0] for name in figures} == {
        "finalizer",
        "status",
        "Event",
        "the Event's share of a new resource's writes",
    }
    assert all(value > 0 for value in figures.values())


def test_the_scenarios_with_several_tenants_and_harbors_come_to_their_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARBORHOOK_TEST_HARBOR_URL", raising=False)
    now = tmp_path / "now.json"

    assert main(["--size", "tiny", "--scenarios", "neighbour shared", "--json", str(now)]) == 0

    run = json.loads(now.read_text())
    figures = {(row["scenario"], row["name"]): row["value"] for row in run["figures"]}
    assert figures["neighbour", f"from a spec change {TO_HARBOR}, undisturbed, p99"] > 0
    assert figures["neighbour", f"from a spec change {TO_HARBOR}, attacked, p99"] > 0
    attack = run["tables"]["neighbour"]["The attack"]
    assert attack["annotations changed"] > 0
    assert all(attack[f"requests to the Harbor '{name}'"] for name in ("tarpit", "throttled", "pages", "huge"))
    assert figures["shared", "until all 10 healthy ones are Ready"] > 0
    assert figures["shared", f"from a spec change meanwhile {TO_HARBOR}, p99"] > 0
    assert run["tables"]["shared"]["Requests to Harbor"]["POST /projects/{project}/webhook/policies"] == 8
