"""`python -m bench`: runs the scenarios, prints and stores their results, and compares them with an earlier run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.calibration import calibrate
from bench.checkout import Checkout, NoCheckoutError
from bench.figures import Calibration, Figure, Run, Verdict, calibrated, compare, incomparable
from bench.options import SIZES, Options
from bench.processes import NotLinuxError, check_platform
from bench.results import Result
from bench.scenarios import SCENARIOS, Scenario
from bench.stage import BenchError, Stage, set_up
from bench.tables import markdown, show_comparison, show_counts, show_figures
from harness.control_plane import ControlPlaneError
from harness.harbor_fixtures import real_harbor
from harness.paths import REPOSITORY

WHILE_POPULATING = {"status_interval": 2}
"""Settings of the operator until the first scenario, so that no scenario waits a minute for a project's counts."""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)
    options = Options(parsed.size, parsed.latency_ms, parsed.hash_cost_ms, parsed.concurrent, parsed.per_second)
    try:
        check_platform()
        before = _read(parsed.compare) if parsed.compare else None
        checkout = Checkout.at(parsed.operator)
        run = perform(options, chosen(parsed.scenarios, checkout), console, checkout)
    except (BenchError, ControlPlaneError, NoCheckoutError, NotLinuxError) as error:
        console.print(f"The benchmark ended early: {error}", style="bold red")
        return 1
    except KeyboardInterrupt:
        return 130
    _write(parsed.json, run, console)
    if parsed.markdown:
        parsed.markdown.write_text(markdown(run.figures))
    return _judge(console, before, run)


def perform(options: Options, scenarios: Sequence[Scenario], console: Console, checkout: Checkout) -> Run:
    """Runs all scenarios; those with the same population share it."""
    run = Run(options.wire(), [], {}, {}, {}, checkout.version)
    figures: list[Figure] = []
    for group in _grouped(scenarios, options):
        with _stage_for(group[0], options, _saying(console), checkout) as stage:
            for scenario in group:
                calibration, result = _run(scenario, stage)
                measured = [calibrated(figure, calibration) for figure in result.figures]
                figures += measured
                run.tables[scenario.name] = result.tables
                run.remarks[scenario.name] = result.remarks
                run.calibrations[scenario.name] = calibration
                _show(console, scenario, result, measured)
    return replace(run, figures=figures)


def _run(scenario: Scenario, stage: Stage) -> tuple[Calibration, Result]:
    stage.say(f"Calibrating, then {scenario.name}: {scenario.title} ...")
    calibration = calibrate(stage.control_plane)
    return calibration, scenario.run(stage, scenario.name)


def _grouped(scenarios: Sequence[Scenario], options: Options) -> Iterator[list[Scenario]]:
    group: list[Scenario] = []
    for scenario in scenarios:
        if group and not _share(group[0], scenario, options):
            yield group
            group = []
        group.append(scenario)
    if group:
        yield group


def _share(one: Scenario, other: Scenario, options: Options) -> bool:
    alone = one.alone or other.alone
    return not alone and one.projects(options.numbers) == other.projects(options.numbers)


@contextmanager
def _stage_for(scenario: Scenario, options: Options, say: Callable[[str], None], checkout: Checkout) -> Iterator[Stage]:
    projects = scenario.projects(options.numbers)
    with set_up(options, say, checkout, **(WHILE_POPULATING if projects else {})) as stage:
        if projects:
            stage.populate(projects)
        yield stage


def _show(console: Console, scenario: Scenario, result: Result, figures: Sequence[Figure]) -> None:
    console.print()
    show_figures(console, f"{scenario.name}: {scenario.title}", figures)
    for title, counts in result.tables.items():
        show_counts(console, title, counts)
    for remark in result.remarks:
        console.print(remark)


def _judge(console: Console, before: Run | None, run: Run) -> int:
    """Prints the missed targets. The exit code reports regressions only, since targets assume a quiet machine."""
    missed = [figure for figure in run.figures if figure.met is False]
    console.print()
    console.print("All targets are met." if not missed else f"{len(missed)} targets are not met:")
    for figure in missed:
        console.print(f"  {figure.scenario}: {figure.name}: {figure.value:.3g} {figure.unit}, target {figure.target}")
    if before is None:
        return 0
    differences = incomparable(before, run)
    if differences:
        console.print(f"The former run is of no use here, it had other options: {', '.join(differences)}.")
        return 1
    if before.version != run.version:
        console.print(f"The run before was of version {before.version or 'unknown'}, this one of {run.version}.")
    rows = compare(before.figures, run.figures)
    show_comparison(console, rows)
    regressions = sum(row.verdict is Verdict.REGRESSION for row in rows)
    console.print(f"{regressions} regressions." if regressions else "No regression.")
    return 1 if regressions else 0


def _saying(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, style="dim")


def chosen(names: str, checkout: Checkout) -> list[Scenario]:
    """Returns the named scenarios without those that a real Harbor or the checkout's operator does not support."""
    return [scenario for scenario in _named(names) if _can_run(scenario, checkout)]


def _named(names: str) -> list[Scenario]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    wanted = [name for name in names.replace(",", " ").split() if name]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise BenchError(f"there is no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    return [scenario for scenario in SCENARIOS if not wanted or scenario.name in wanted]


def _can_run(scenario: Scenario, checkout: Checkout) -> bool:
    if scenario.needs_stand_in and real_harbor():
        print(f"Scenario {scenario.name} is skipped with a real Harbor: {scenario.needs_stand_in}.")
        return False
    missing = checkout.lacks(scenario.needs_fields)
    if missing:
        print(f"Scenario {scenario.name} is skipped: the operator {checkout.version} has no {', '.join(missing)}.")
    return not missing


def _read(file: Path) -> Run:
    try:
        return Run.parse(json.loads(file.read_text()))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BenchError(f"{file} holds no former run: {error}") from None


def _write(file: Path, run: Run, console: Console) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run.wire(), indent=1) + "\n")
    console.print(f"Written: {file}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="How fast is the operator, and what does it cost?")
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--scenarios", default="", help=f"some of {', '.join(one.name for one in SCENARIOS)}")
    parser.add_argument("--latency-ms", type=float, default=Options.latency_ms, help="of each request to the stand-in")
    parser.add_argument("--hash-cost-ms", type=float, default=Options.hash_cost_ms, help="of checking a password there")
    parser.add_argument(
        "--concurrent", type=int, default=Options.max_concurrent_requests, help="the connection's limit"
    )
    parser.add_argument("--per-second", type=int, default=Options.requests_per_second, help="as in limits")
    parser.add_argument("--operator", type=Path, default=REPOSITORY, help="another checkout, whose operator to measure")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where to write what was found")
    parser.add_argument("--markdown", type=Path, default=None, help="where to write the figures as a table")
    parser.add_argument("--compare", type=Path, default=None, help="a file written by a former run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
