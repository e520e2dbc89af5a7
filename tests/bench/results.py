"""The result of a scenario, and the figures that several scenarios report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.figures import Figure, Kind
from bench.processes import peak_rss, rss
from bench.stage import Stage, Window

LASTTRIGGER = "GET /projects/{project}/webhook/lasttrigger"


@dataclass
class Result:
    """The result of a scenario."""

    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, Mapping[str, int]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def resources_of(stage: Stage, name: str, window: Window, number: int) -> list[Figure]:
    return [
        Figure(name, "CPU seconds of the operator", window.cpu["operator"], Kind.CPU, "s"),
        per_resource(name, window.cpu["operator"], number),
        Figure(name, "CPU of all processes per resource", 1000 * sum(window.cpu.values()) / number, Kind.SHOWN, "ms"),
        *memory_of(stage, name),
        *(
            Figure(name, f"CPU seconds of {process}", seconds, Kind.SHOWN, "s")
            for process, seconds in window.cpu.items()
            if process != "operator"
        ),
    ]


def per_resource(name: str, cpu: float, number: int) -> Figure:
    return Figure(name, "CPU of the operator per resource", 1000 * cpu / number, Kind.CPU, "ms")


def memory_of(stage: Stage, name: str) -> list[Figure]:
    pid = stage.operator.pid
    return [
        Figure(name, "peak memory of the operator", peak_rss(pid), Kind.MEMORY, "MB"),
        Figure(name, "memory of the operator at the end", rss(pid), Kind.SHOWN, "MB"),
    ]


def tables_of(window: Window) -> dict[str, Mapping[str, int]]:
    return {"Requests to Harbor": dict(window.requests), "Writes to Kubernetes": dict(window.writes)}


def without_polls(window: Window) -> int:
    return window.requests.total() - window.requests[LASTTRIGGER]


def bottleneck(window: Window) -> list[str]:
    """Returns a remark on the CPU share of each process: one that uses nearly a whole core slows down all others."""
    shares = {process: seconds / window.seconds for process, seconds in window.cpu.items()}
    said = ", ".join(f"{process} {share:.0%}" for process, share in sorted(shares.items(), key=lambda one: -one[1]))
    busiest = max(shares, key=lambda process: shares[process])
    remark = f"Share of one core: {said}."
    if busiest == "Harbor stand-in" and shares[busiest] > 0.5:
        remark += " The stand-in, not the operator, was the slowest part."
    return [remark]
