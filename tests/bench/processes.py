"""CPU seconds and memory of processes, as Linux reports them in /proc."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_MEGABYTE = 1024.0 * 1024.0


class NotLinuxError(Exception):
    """The CPU use of other processes is unavailable."""

    def __init__(self) -> None:
        super().__init__("make bench and make soak read /proc, which only Linux has.")


def check_platform() -> None:
    if sys.platform != "linux":
        raise NotLinuxError


def cpu_seconds(pid: int | None) -> float:
    """User and system time since the process started; 0 for one that does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss(pid: int | None) -> float:
    """Returns the present resident memory in MB (of 2^20 bytes)."""
    return _memory(pid, "VmRSS")


def peak_rss(pid: int | None) -> float:
    """Returns the peak resident memory of the process in MB."""
    return _memory(pid, "VmHWM")


def _memory(pid: int | None, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    found = next((line for line in lines if line.startswith(f"{name}:")), "0 0 kB")
    return int(found.split()[1]) * 1024 / _MEGABYTE


@dataclass(frozen=True)
class CpuClock:
    """CPU seconds of several processes since a moment."""

    pids: Mapping[str, int]
    start: Mapping[str, float]

    @classmethod
    def begin(cls, pids: Mapping[str, int]) -> CpuClock:
        return cls(pids, {name: cpu_seconds(pid) for name, pid in pids.items()})

    def used(self) -> dict[str, float]:
        return {name: max(0.0, cpu_seconds(pid) - self.start[name]) for name, pid in self.pids.items()}
