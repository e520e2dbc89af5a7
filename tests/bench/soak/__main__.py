"""`python -m bench.soak`: runs faults one after the other until the time is up, and checks the invariants after
each."""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from collections.abc import Sequence

from bench.processes import NotLinuxError, check_platform
from bench.soak import edits
from bench.soak.faults import FAULTS, Fault
from bench.soak.invariants import BrokenInvariantError, check, check_quiet, clear_late
from bench.soak.memory import growth
from bench.soak.scene import Scene, log_of_trouble, set_scene
from harness.control_plane import ControlPlaneError

PATIENCE = 240.0
"""Seconds within which all invariants must hold again after a fault; retry pauses grow to a minute or two in a long
one."""
QUIET = 8.0
"""Seconds without a write that prove that the operator is idle: more than two drift checks."""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seed = parsed.seed if parsed.seed is not None else secrets.randbelow(1_000_000)
    started = time.monotonic()

    def say(line: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        print(f"{minutes:3}:{seconds:02}  {line}", flush=True)

    say(f"Seed {seed}: the same edits and faults, in the same order, by --seed {seed}.")
    try:
        check_platform()
        with set_scene(seed, say) as scene:
            soaked = soak(scene, parsed.minutes * 60, _chosen(parsed.faults), brief=parsed.brief)
    except (ControlPlaneError, NotLinuxError) as error:
        say(f"The soak could not begin: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    return 0 if soaked else 1


def soak(scene: Scene, seconds: float, faults: Sequence[Fault], *, brief: bool = False) -> bool:
    """Runs for at least this many seconds, with each fault at least once. Returns whether all invariants held."""
    end = time.monotonic() + seconds
    count = 0
    try:
        edits.begin(scene)
        check(scene, PATIENCE)
        while True:
            for fault in _in_some_order(scene, faults):
                count += 1
                _suffer(scene, fault, count, brief=brief)
                if count >= len(faults) and time.monotonic() > end:
                    check_quiet(scene, PATIENCE, QUIET)
                    return _conclude(scene, count)
    except BrokenInvariantError as error:
        scene.say(f"BROKEN: {error}")
        for line in log_of_trouble(scene):
            print(line)
        return False


def _in_some_order(scene: Scene, faults: Sequence[Fault]) -> list[Fault]:
    """Returns the faults shuffled, with those that end the operator at the end."""
    mixed = [fault for fault in faults if not fault.name.startswith("the operator")]
    scene.rng.shuffle(mixed)
    return mixed + [fault for fault in faults if fault not in mixed]


def _suffer(scene: Scene, fault: Fault, count: int, *, brief: bool) -> None:
    seconds = fault.brief if brief else fault.seconds
    before, began = scene.edits, time.monotonic()
    scene.deleted.clear()
    scene.may_be_late = False
    scene.say(f"{count}. {fault.name}, {seconds:.0f} s ...")
    with fault.broken(scene, seconds):
        pause = (0.1, 0.5) if brief else (0.3, 2.5)
        _edit(scene, began + seconds, fault, pause)
    edits.act(scene)
    took = check(scene, PATIENCE)
    if not brief:
        check_quiet(scene, PATIENCE, QUIET)
    late = clear_late(scene) if scene.may_be_late else []
    if late:
        scene.say(f"   carried out by Harbor when nobody waited for it any more: {', '.join(late)}")
    scene.say(
        f"   as declared {took:.1f} s later; {scene.edits - before} edits, {len(scene.model.projects)} "
        f"projects, {len(scene.model.policies)} policies, {_memory(scene)}"
    )


def _edit(scene: Scene, end: float, fault: Fault, pause: tuple[float, float]) -> None:
    while time.monotonic() < end:
        edits.act(scene, harbor_works=fault.harbor_works, cluster_works=fault.cluster_works)
        scene.sample()
        time.sleep(min(scene.rng.uniform(*pause), max(0.0, end - time.monotonic())))


def _memory(scene: Scene) -> str:
    samples = scene.lives[-1].samples
    return f"{samples[-1].rss:.0f} MB" if samples else "memory not sampled yet"


def _conclude(scene: Scene, count: int) -> bool:
    scene.say(f"{count} faults, {scene.edits} edits, {len(scene.lives)} operator processes: all invariants held.")
    flat = True
    for number, life in enumerate(scene.lives, start=1):
        found = growth(life.samples)
        if found is not None:
            scene.say(f"Memory of process {number}: {found}: {'flat' if found.flat else 'IT GROWS'}.")
            flat = flat and found.flat
        if len(life.samples) > 1:
            shown = " ".join(f"{sample.rss:.0f}" for sample in life.samples)
            scene.say(f"  process {number}, a sample a minute, in MB: {shown}")
    return flat


def _chosen(words: str) -> list[Fault]:
    """Returns the faults whose names contain one of the words; all if there are none."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    return [fault for fault in FAULTS if not wanted or any(word in fault.name for word in wanted)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench.soak", description="Random edits and faults, and what has to hold.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--faults", default="", help="words of the faults to suffer, separated by commas")
    parser.add_argument(
        "--brief", action="store_true", help="short faults; needless writes are looked for at the end only"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
