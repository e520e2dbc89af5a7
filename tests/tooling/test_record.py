"""The recorder: its files can be replayed on a Harbor of that version, and contain no secrets."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract.player import Player
from contract.record import record, recordable
from contract.recorder import Recorder
from contract.recordings import directory_of, load
from contract.scenarios import Scenario
from contract.scenarios_2_16 import SCENARIOS
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest, standing_in
from harness.paths import TESTS

PASSWORD = "Canary7Passw0rd"


def as_if_real(stand_in: StandIn) -> HarborUnderTest:
    return dataclasses.replace(standing_in(stand_in, "2.16"), is_real=True)


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if not one.stand_in_only], ids=lambda scenario: scenario.name
)
def test_what_was_recorded_plays(scenario: Scenario, tmp_path: Path) -> None:
    for _ in range(scenario.attempts):
        differences = played_again(scenario, tmp_path)
        if not differences:
            break
    assert differences == {}
    assert {path.name for path in tmp_path.iterdir()} == {f"{one.id}.json" for one in scenario.recordings()}


def played_again(scenario: Scenario, directory: Path) -> dict[str, list[str]]:
    """Records a scenario on one used Harbor, and plays the result on another."""
    recorder = Recorder(directory)
    with StandIn.start(admin_password=PASSWORD) as stand_in:
        use(stand_in)
        assert record(scenario, as_if_real(stand_in), recorder) == ""
        check_secrets(stand_in, recorder)
    load.cache_clear()
    with StandIn.start() as stand_in:
        player = Player(standing_in(stand_in, "2.16"), suffix="")
        dataclasses.replace(scenario, recorded_in=directory).play(player)
        player.finish()
    return {number: found for number, found in player.differences.items() if found}


def use(stand_in: StandIn) -> None:
    """Makes ids differ from those of the recordings, and leaves no objects."""
    player = Player(standing_in(stand_in, "2.16"), suffix="")
    player.policy("library", name="used")
    player.project("used")
    player.harbor = as_if_real(stand_in)
    player.finish()


def check_secrets(stand_in: StandIn, recorder: Recorder) -> None:
    basic = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    for file in recorder.written:
        text = file.read_text()
        assert PASSWORD not in text
        assert basic not in text
        assert stand_in.url.removeprefix("http://") not in text


def test_a_recording_has_the_format_of_the_present_ones_and_their_names_and_ids(tmp_path: Path) -> None:
    (scenario,) = [one for one in SCENARIOS if one.name == "projects and policies"]
    recorder = Recorder(tmp_path)
    with StandIn.start() as stand_in:
        use(stand_in)
        record(scenario, as_if_real(stand_in), recorder)

    present = load(directory_of("2.16"))
    for file in recorder.written:
        there = present[file.name[:4]]
        ours = json.loads(file.read_text())
        assert list(ours) == list(there.exchange)
        assert ours["request"] == there.exchange["request"], there.id
        assert set(ours["response"]) == {"status", "headers", "sets_cookies", "body", "seconds"}
        location = {name.lower(): value for name, value in ours["response"]["headers"].items()}.get("location")
        assert location == there.headers.get("location"), there.id


def test_an_answer_that_holds_a_secret_is_not_written(tmp_path: Path) -> None:
    scenario = dataclasses.replace(SCENARIOS[0], steps=["0004"])
    recorder = Recorder(tmp_path)
    with StandIn.start(admin_password=PASSWORD) as stand_in:
        stand_in.set_fault({"path": "/systeminfo"}, status=200, body=json.dumps({"banner_message": f"x{PASSWORD}x"}))
        reason = record(scenario, as_if_real(stand_in), recorder)
    assert reason.startswith("LeakError: ")
    assert PASSWORD not in reason
    assert list(tmp_path.iterdir()) == []


def test_what_needs_a_receiver_is_left_out_where_harbor_reaches_none(stand_in: StandIn) -> None:
    reached = as_if_real(stand_in)
    alone = dataclasses.replace(reached, receiver_url=None)

    left_out = {one.name for one in recordable(reached)} - {one.name for one in recordable(alone)}

    assert left_out == {"deliveries", "deliveries in all formats", "more deliveries"}


def test_the_command_records_the_harbor_that_the_environment_names(stand_in: StandIn, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "contract.record", f"--output={tmp_path}", "--only=session that is over"]
    name, password = stand_in.admin
    named = {
        "HARBORHOOK_TEST_HARBOR_URL": stand_in.url,
        "HARBORHOOK_TEST_HARBOR_USERNAME": name,
        "HARBORHOOK_TEST_HARBOR_PASSWORD": password,
    }
    without = {key: value for key, value in os.environ.items() if not key.startswith("HARBORHOOK_TEST_HARBOR_")}

    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=TESTS, env=without)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=TESTS, env=without | named)

    assert (refused.returncode, refused.stderr[:30]) == (2, "Set HARBORHOOK_TEST_HARBOR_URL")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Harbor 2.16: 8 recordings written, 0 answers differ."
    assert "left out deliveries" in done.stdout
    assert len(list(tmp_path.iterdir())) == 8


def test_the_report_names_what_differs(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.set_fault({"path": "/users/current"}, status=418)
    scenario = dataclasses.replace(SCENARIOS[0], steps=["0006"])
    recorder = Recorder(tmp_path)

    record(scenario, as_if_real(stand_in), recorder)

    (found,) = recorder.differences["0006-users-current-admin"][:1]
    assert found.startswith("status 418, recorded 200")
    (file,) = recorder.written
    assert json.loads(file.read_text())["response"]["status"] == 418
