"""Runs a program with a wrong wall clock: `python stepping_clock.py FILE MODULE [ARGUMENT ...]`.

FILE has the present error in seconds, 0 if it does not exist. It simulates a clock that is set by hand, or by a time
service after a long sleep. The monotonic clock is not affected.
"""

from __future__ import annotations

import datetime
import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path


def off_by(file: Path) -> float:
    try:
        return float(file.read_text())
    except FileNotFoundError:
        return 0.0


def step(off: Callable[[], float]) -> None:
    """Replaces the clock before other modules import it."""
    real = time.time

    class Datetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Datetime:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + off()
    datetime.datetime = Datetime  # type: ignore[misc]


if __name__ == "__main__":
    _, file, module, *arguments = sys.argv
    step(lambda: off_by(Path(file)))
    sys.argv = [module, *arguments]
    sys.path.pop(0)  # this directory
    runpy.run_module(module, run_name="__main__", alter_sys=True)
