"""The soak, scaled down: edits and each fault once, except those covered by test_faults.py and test_crashes.py."""

from __future__ import annotations

import pytest

from bench.soak.__main__ import soak
from bench.soak.faults import FAULTS
from bench.soak.memory import WARM_UP, Growth, Sample, growth
from bench.soak.scene import set_scene

SEED = 2026
ELSEWHERE = (
    "the API server answers 503",
    "the API server answers 401",
    "patches are refused with 500",
    "deletions in a gap, then 410",
    "Harbor is down",
    "the operator is killed",
)


def test_edits_and_faults_in_turn_leave_everything_as_declared_and_nothing_of_others_touched(
    capfd: pytest.CaptureFixture[str],
) -> None:
    faults = [fault for fault in FAULTS if fault.name not in ELSEWHERE]
    assert len(faults) == len(FAULTS) - len(ELSEWHERE)

    with set_scene(SEED, print) as scene:
        assert soak(scene, 0, faults, brief=True), "what broke is said above"


def samples(*values: float) -> list[Sample]:
    return [Sample(WARM_UP + 60 * minute, value) for minute, value in enumerate(values)]


def test_a_leak_is_told_from_a_process_that_gets_to_know_its_work() -> None:
    warm = [Sample(0, 60), Sample(60, 90)]
    assert growth([*warm, *samples(100, 101, 99, 102, 100, 101)]) == Growth(100.5, 100.5, 5 / 60)
    leaking = growth([*warm, *samples(100, 105, 110, 115, 120, 125)])
    assert leaking is not None
    assert not leaking.flat


def test_of_a_short_life_nothing_is_concluded() -> None:
    assert growth(samples(100, 200, 300)) is None
