"""The stand-in answers as the recorded Harbors did; and so, where it may be asked, does a real one."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest

from contract.player import Player
from contract.recordings import Recording
from contract.scenarios import Scenario
from contract.scenarios_2_7 import SCENARIOS as SCENARIOS_2_7
from contract.scenarios_2_16 import SCENARIOS as SCENARIOS_2_16
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest, real_harbor, standing_in

Outcome = dict[str, list[str]]

_CASES = [
    pytest.param(scenario, recording, id=f"{scenario.version}-{recording.id}")
    for scenario in SCENARIOS_2_16 + SCENARIOS_2_7
    for recording in scenario.recordings()
]


@pytest.fixture(scope="module")
def outcome_of() -> Callable[[Scenario, HarborUnderTest], Outcome]:
    """Plays a scenario once, on a Harbor of its own or on the real one."""
    outcomes: dict[str, Outcome] = {}

    def outcome(scenario: Scenario, harbor: HarborUnderTest) -> Outcome:
        if scenario.name not in outcomes:
            outcomes[scenario.name] = _play(scenario, harbor)
        return outcomes[scenario.name]

    return outcome


@pytest.mark.parametrize(("scenario", "recording"), _CASES)
def test_an_answer_is_as_it_was_recorded(
    scenario: Scenario,
    recording: Recording,
    harbor: HarborUnderTest,
    outcome_of: Callable[[Scenario, HarborUnderTest], Outcome],
) -> None:
    if real_harbor() and (scenario.stand_in_only or scenario.version != harbor.version):
        pytest.skip("this changes or breaks a whole Harbor, or is of another version")
    outcome = outcome_of(scenario, harbor)
    assert recording.number in outcome, outcome.get("failed")
    assert not outcome[recording.number]


def _play(scenario: Scenario, harbor: HarborUnderTest) -> Outcome:
    if harbor.is_real:
        return _play_on(scenario, harbor, suffix=f"-{secrets.token_hex(3)}")
    outcome: Outcome = {}
    for _ in range(scenario.attempts):
        with StandIn.start(version=scenario.version) as stand_in:
            outcome = _play_on(scenario, standing_in(stand_in, scenario.version), suffix="")
        if not any(outcome.values()):
            break
    return outcome


def _play_on(scenario: Scenario, harbor: HarborUnderTest, suffix: str) -> Outcome:
    player = Player(harbor, suffix)
    try:
        scenario.play(player)
    except Exception as error:
        player.differences["failed"] = [f"{type(error).__name__}: {error}"]
    finally:
        player.finish()
    return player.differences
