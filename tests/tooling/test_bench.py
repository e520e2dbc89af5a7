"""The benchmark runs completely on a few resources, so that a broken one is noticed early."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.figures import Figure, Kind, Run
from bench.options import Options

REQUESTS = "requests to Harbor per new policy"


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
