"""The benchmark's own arithmetic: percentiles, targets, and distinguishing a regression from noise."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from bench.__main__ import main
from bench.figures import (
    TOLERANCE,
    Calibration,
    Figure,
    Kind,
    Run,
    Verdict,
    calibrated,
    compare,
    incomparable,
    percentile,
    percentiles,
    shown,
)
from bench.stage import kind_of_request, kind_of_write
from bench.tables import markdown, show_comparison, show_figures
from harness.control_plane.audit import AuditEntry


def figure(value: float, kind: Kind = Kind.COUNT, name: str = "writes", **fields: float) -> Figure:
    return Figure("scenario", name, value, kind, **fields)  # type: ignore[arg-type]


def verdict(before: Figure, after: Figure) -> Verdict:
    (row,) = compare([before], [after])
    return row.verdict


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([7.0], 0.99, 7.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99), (list(range(1, 101)), 1.0, 100)],
)
def test_a_percentile_is_one_of_the_values_that_so_many_do_not_exceed(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


def test_no_values_have_no_percentiles() -> None:
    assert math.isnan(percentile([], 0.5))
    assert percentiles("scenario", "delay", []) == []


def test_the_target_of_percentiles_is_that_of_p99() -> None:
    p50, p90, p99 = percentiles("scenario", "delay", [0.1, 2.0], p99_most=1.0)
    assert (p50.met, p90.met, p99.met) == (None, None, False)


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (figure(1.0, most=1), True),
        (figure(1.001, most=1), False),
        (figure(150.0, Kind.RATE, least=150), True),
        (figure(149.0, Kind.RATE, least=150), False),
        (figure(5.0), None),
    ],
)
def test_a_target_is_met_up_to_its_bound(found: Figure, met: bool | None) -> None:
    assert found.met is met


def test_one_write_more_is_a_regression_and_one_less_is_better() -> None:
    assert verdict(figure(5000), figure(5001)) is Verdict.REGRESSION
    assert verdict(figure(0), figure(1)) is Verdict.REGRESSION
    assert verdict(figure(5000), figure(5000)) is Verdict.SAME
    assert verdict(figure(5000), figure(4999)) is Verdict.BETTER


def test_a_slower_machine_is_no_regression() -> None:
    quick, slow = Calibration(cpu=0.1, wall=1.0), Calibration(cpu=0.2, wall=2.0)
    for kind, before, after in ((Kind.CPU, 5.0, 10.0), (Kind.TIME, 10.0, 20.0), (Kind.RATE, 200.0, 100.0)):
        rows = compare([calibrated(figure(before, kind), quick)], [calibrated(figure(after, kind), slow)])
        assert [row.verdict for row in rows] == [Verdict.SAME]


def test_cpu_of_one_resource_in_milliseconds_has_the_ratio_of_the_same_time_in_seconds() -> None:
    calibration = Calibration(cpu=0.4, wall=1.0)
    seconds = calibrated(figure(0.004, Kind.CPU), calibration)
    milliseconds = calibrated(Figure("scenario", "CPU per resource", 4.0, Kind.CPU, "ms"), calibration)

    assert milliseconds.ratio == pytest.approx(0.01)
    assert seconds.ratio == pytest.approx(milliseconds.ratio)


@pytest.mark.parametrize("kind", [Kind.CPU, Kind.TIME, Kind.RATE, Kind.MEMORY, Kind.PACED])
def test_within_its_tolerance_a_figure_is_noise_and_beyond_it_a_regression(kind: Kind) -> None:
    calibration = Calibration(cpu=0.1, wall=1.0)
    tolerance = TOLERANCE[kind]
    worse = -1 if kind is Kind.RATE else 1

    def after(share: float) -> Verdict:
        return verdict(calibrated(figure(100.0, kind), calibration), calibrated(figure(share, kind), calibration))

    assert after(100 * (1 + worse * tolerance * 0.9)) is Verdict.NOISE
    assert after(100 * (1 + worse * tolerance * 1.1)) is Verdict.REGRESSION
    assert after(100 * (1 - worse * tolerance * 1.1)) is Verdict.BETTER


def test_what_only_one_run_measured_is_said_and_what_is_only_shown_is_left_out() -> None:
    before = [figure(1, name="old"), figure(1, Kind.SHOWN, name="shown")]
    after = [figure(1, name="new"), figure(9, Kind.SHOWN, name="shown")]
    rows = [(row.name, row.verdict) for row in compare(before, after) if row.name != "shown"]
    assert rows == [("new", Verdict.NEW), ("old", Verdict.GONE)]


def test_a_run_comes_back_from_its_file_as_it_was() -> None:
    found = calibrated(figure(2.5, Kind.CPU, most=3), Calibration(0.1, 1.0))
    run = Run({"size": "tiny"}, [found], {"s": {"Writes": {"patch": 1}}}, {"s": ["said"]}, {"s": Calibration(0.1, 1.0)})
    assert Run.parse(run.wire()) == run


def test_a_run_written_before_versions_were_kept_is_read() -> None:
    wire = Run({"size": "tiny"}, [], {}, {}, {}, "0.2.0").wire()
    del wire["version"]
    assert Run.parse(wire).version == ""


def test_runs_with_other_options_are_not_compared() -> None:
    small, large = (Run({"size": size, "latency_ms": 5}, [], {}, {}, {}) for size in ("small", "full"))
    assert incomparable(small, large) == ["size"]
    assert incomparable(small, small) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (1234.0, "1,234"), (0.12345, "0.123"), (1234.5, "1,234"), (3.14159, "3.14")],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert shown(value) == text


def test_the_table_says_what_is_missed() -> None:
    rows = [figure(3, name="good", most=3), figure(4, name="bad", most=3), figure(5, name="plain")]
    screen = io.StringIO()
    show_figures(Console(file=screen, width=120), "title", rows)
    lines = {name: line for line in screen.getvalue().splitlines() for name in ("good", "bad", "plain") if name in line}
    assert "NOT MET" in lines["bad"]
    assert "NOT MET" not in lines["good"]
    assert "met" in lines["good"]
    assert "met" not in lines["plain"]
    assert "| scenario | bad | 4 | ≤ 3 | NOT MET |" in markdown(rows)


def test_a_comparison_names_the_regression() -> None:
    screen = io.StringIO()
    show_comparison(Console(file=screen, width=120), compare([figure(1)], [figure(2)]))
    assert "REGRESSION" in screen.getvalue()
    assert "+100%" in screen.getvalue()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v2.0/projects", "GET /projects"),
        ("PUT", "/api/v2.0/projects/team-a", "PUT /projects/{project}"),
        ("GET", "/api/v2.0/projects/team-a/summary", "GET /projects/{project}/summary"),
        ("GET", "/api/v2.0/projects/team-a/webhook/lasttrigger", "GET /projects/{project}/webhook/lasttrigger"),
        ("POST", "/api/v2.0/projects/team-a/webhook/policies", "POST /projects/{project}/webhook/policies"),
        ("PUT", "/api/v2.0/projects/a/webhook/policies/7", "PUT /projects/{project}/webhook/policies/{policy}"),
        (
            "GET",
            "/api/v2.0/projects/a/webhook/policies/7/executions/3/tasks",
            "GET /projects/{project}/webhook/policies/{policy}/executions",
        ),
        ("POST", "/c/login", "POST /c/login"),
    ],
)
def test_requests_are_counted_by_method_and_endpoint(method: str, path: str, expected: str) -> None:
    assert kind_of_request(method, path) == expected


def test_refused_writes_are_counted_apart() -> None:
    entry = AuditEntry("patch", "webhookpolicies", "status", "bench", "a", "operator", 200, "", 0.0)
    refused = AuditEntry("create", "events", "", "bench", "", "operator", 403, "", 0.0)
    assert kind_of_write(entry) == "patch webhookpolicies/status"
    assert kind_of_write(refused) == "create events (403)"


def test_an_unknown_scenario_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenarios", "nonsense"]) == 1
    assert "restart-many" in capsys.readouterr().out
