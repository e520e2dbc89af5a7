"""Fuzzes the targets in turns for some minutes; a text that breaks one is kept in the corpus."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, settings

from harness.fuzz.corpus import keep, texts
from harness.fuzz.targets import TARGETS

ROUND = 100
"""Texts of a target in one turn: so few that all targets have several within a minute. Each has one at least."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one (repeatable)")
    stated = parser.parse_args(arguments)
    names = stated.target or list(TARGETS)
    end = time.monotonic() + 60 * stated.minutes
    tried: Counter[str] = Counter()
    broken: dict[str, str] = {}
    while len(broken) < len(names) and (not tried or time.monotonic() < end):
        for name in names:
            if name not in broken and (name not in tried or time.monotonic() < end):
                failure = _turn(name, TARGETS[name], tried)
                if failure is not None:
                    broken[name] = failure
    print(f"{sum(tried.values())} texts: " + ", ".join(f"{name} {count}" for name, count in sorted(tried.items())))
    for name, failure in broken.items():
        print(f"BROKEN {name}: {failure}", file=sys.stderr)
    return 1 if broken else 0


def _turn(name: str, target: Callable[[str], None], tried: Counter[str]) -> str | None:
    """Returns the shortest text that broke the target; None if none did. The last failing text is the shortest one
    found."""
    last = ""

    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(texts(name))
    def run(text: str) -> None:
        nonlocal last
        tried[name] += 1
        try:
            target(text)
        except BaseException:
            last = text
            raise

    try:
        run()
    except Exception as error:
        keep(name, last)
        return f"{type(error).__name__}: {error} by {last!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
