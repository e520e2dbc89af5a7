"""Runs a program whose wall clock is off: `python stepping_clock.py FILE MODULE [ARGUMENT ...]`.

It is off by as many seconds as FILE says at the moment, 0 if there is no such file: as a clock that is set by hand, or
by a time service after long sleep. The monotonic clock goes on as if nothing had happened.
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
    """Before anything else has taken its clock from where it is replaced."""
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
