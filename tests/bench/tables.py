"""The figures for people, as tables on a terminal and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.figures import Comparison, Figure, Verdict, shown

_MET = {True: "met", False: "NOT MET", None: ""}
_STYLES = {Verdict.REGRESSION: "bold red", Verdict.BETTER: "green"}


def show_figures(console: Console, title: str, figures: Iterable[Figure]) -> None:
    table = Table(title=title, title_justify="left")
    for name, justify in (("what", "left"), ("measured", "right"), ("target", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    table.add_column("ratio to calibration", justify="right")
    for figure in figures:
        style = "bold red" if figure.met is False else None
        ratio = "" if figure.ratio is None else shown(figure.ratio)
        table.add_row(figure.name, _value(figure), figure.target, _MET[figure.met], ratio, style=style)
    console.print(table)


def show_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    """Counts by kind, the most frequent first."""
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(justify="right")
    table.add_column()
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(f"{count:,}", name)
    if not counts:
        table.add_row("0", "of any kind")
    console.print(table)


def show_comparison(console: Console, rows: Sequence[Comparison]) -> None:
    table = Table(title="Compared with the run before", title_justify="left")
    for name in ("scenario", "what", "before", "now", "change", "verdict"):
        table.add_column(name, justify="right" if name in ("before", "now", "change") else "left")
    for row in rows:
        change = "" if row.change is None else f"{row.change:+.0%}"
        style = _STYLES.get(row.verdict)
        table.add_row(
            row.scenario, row.name, shown(row.before), shown(row.after), change, row.verdict.value, style=style
        )
    console.print(table)


def markdown(figures: Iterable[Figure]) -> str:
    """Formats all figures as one table."""
    lines = ["| scenario | what | measured | target | |", "|---|---|---:|---:|---|"]
    lines += [f"| {f.scenario} | {f.name} | {_value(f)} | {f.target} | {_MET[f.met]} |" for f in figures]
    return "\n".join(lines) + "\n"


def _value(figure: Figure) -> str:
    return f"{shown(figure.value)} {figure.unit}".rstrip()
