"""The stand-in answers like the recorded Harbors; so does a real Harbor, for the recordings that one may play."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Callable

import httpx
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

_ANYWHERE = [scenario for scenario in SCENARIOS_2_16 if not (scenario.stand_in_only or scenario.whole_harbor)]


@pytest.fixture(scope="module")
def outcome_of() -> Callable[[Scenario, HarborUnderTest], Outcome]:
    """Plays a scenario once, on a separate stand-in or on the real Harbor."""
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
    if real_harbor() and (scenario.stand_in_only or scenario.whole_harbor or scenario.version != harbor.version):
        pytest.skip("this changes or breaks a whole Harbor, or is of another version")
    outcome = outcome_of(scenario, harbor)
    assert recording.number in outcome, outcome.get("failed")
    assert not outcome[recording.number]


@pytest.mark.parametrize(
    "scenario",
    [one for one in SCENARIOS_2_16 if not (one.stand_in_only or one.whole_harbor)],
    ids=lambda scenario: scenario.name,
)
def test_a_scenario_can_be_played_on_a_harbor_with_a_past(scenario: Scenario) -> None:
    """Simulates a real Harbor: other ids, some recorded ids taken, and no portal."""
    with StandIn.start() as stand_in, httpx.Client(base_url=stand_in.url, auth=stand_in.admin, trust_env=False) as past:
        stand_in.settings(portal="down")
        for number in (2, 5):
            _lives_on(past, "/projects", {"project_name": f"past-{number}"})
            target = {"type": "http", "address": "http://127.0.0.1:9/x"}
            body = {"name": f"w{number}", "event_types": ["PUSH_ARTIFACT"], "targets": [target], "id": 4240 + number}
            _lives_on(past, f"/projects/past-{number}/webhook/policies", body)
        before = _all_of(past)

        outcome = _play(scenario, dataclasses.replace(standing_in(stand_in, "2.16"), is_real=True))

        assert {number: found for number, found in outcome.items() if found} == {}
        assert _all_of(past) == before, "it is left as it was"


def _lives_on(past: httpx.Client, path: str, body: dict[str, object]) -> None:
    past.cookies.clear()
    assert past.post(f"/api/v2.0{path}", json=body).status_code == 201


def _all_of(past: httpx.Client) -> list[object]:
    paths = ("/projects", "/users", "/robots", *[f"/projects/past-{number}/webhook/policies" for number in (2, 5)])
    return [past.get(f"/api/v2.0{path}?page_size=100").json() for path in paths]


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
