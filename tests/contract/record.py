"""Records the answers of a Harbor: `make record`, described in docs/recording.md.

HARBORHOOK_TEST_HARBOR_URL, _USERNAME and _PASSWORD name the Harbor, _RECEIVER_URL the receiver for scenarios with
deliveries. The Harbor must be empty and unused by others: the recorder changes settings, and lists show all content.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from contract.player import Player
from contract.recorder import Recorder
from contract.scenarios import Scenario
from contract.scenarios_2_16 import SCENARIOS
from harness.harbor_fixtures import HarborUnderTest, real_harbor, real_harbor_under_test


def record(scenario: Scenario, harbor: HarborUnderTest, recorder: Recorder) -> str:
    """Plays one scenario and writes the recordings; returns why it ended early, or nothing."""
    # Names end in digits meanwhile, since a search for part of a name would find letters.
    player = Player(harbor, suffix=f"-{secrets.randbelow(10**6):06d}", listener=recorder.record)
    try:
        scenario.play(player)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        player.finish()
    return ""


def recordable(harbor: HarborUnderTest) -> list[Scenario]:
    """Returns the scenarios that need only a Harbor and, for deliveries, a route from it to this machine."""
    return [one for one in SCENARIOS if not one.stand_in_only and (harbor.receiver_url or not one.has_deliveries)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make record", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="directory for the recordings")
    parser.add_argument("--only", default="", help="part of the names of the scenarios to record")
    arguments = parser.parse_args()
    if not real_harbor():
        print("Set HARBORHOOK_TEST_HARBOR_URL, _USERNAME and _PASSWORD to the Harbor to record.", file=sys.stderr)
        return 2
    harbor = real_harbor_under_test()
    recorder = Recorder(arguments.output)
    wanted = [one for one in recordable(harbor) if arguments.only in one.name]
    failures = []
    for scenario in wanted:
        print(f"{scenario.name} ...", flush=True)
        reason = record(scenario, harbor, recorder)
        failures += [f"{scenario.name}: {reason}"] if reason else []
    _report(harbor, recorder, failures, [one.name for one in SCENARIOS if one not in wanted])
    return 1 if failures else 0


def _report(harbor: HarborUnderTest, recorder: Recorder, failures: list[str], left_out: list[str]) -> None:
    for name, found in recorder.differences.items():
        for difference in found:
            print(f"differs  {name}: {difference}")
    for name in left_out:
        print(f"left out {name}")
    for failure in failures:
        print(f"failed   {failure}")
    differing = sum(1 for found in recorder.differences.values() if found)
    print(f"Harbor {harbor.version}: {len(recorder.written)} recordings written, {differing} answers differ.")


if __name__ == "__main__":
    sys.exit(main())
