"""A scenario: runs of recordings, and what has to happen between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contract.player import Action, Player
from contract.recordings import Recording, between, directory_of


@dataclass(frozen=True)
class Scenario:
    """Recordings that are played in order on one Harbor."""

    name: str
    version: str
    steps: Sequence[str | Action]
    """A run such as `0001-0015`, several separated by blanks, or something to do."""
    loose: dict[str, str] = field(default_factory=dict)
    """By number, the parts that the scenario cannot reproduce: `total`, `body`, `cookies`, or keys of the body."""
    whole_harbor: bool = False
    """It changes settings of the whole Harbor, or waits for minutes: a real Harbor is only used to record it."""
    has_deliveries: bool = False
    """Harbor has to reach a receiver."""
    stand_in_only: bool = False
    """It breaks parts of Harbor, which tests can do only in the stand-in."""
    attempts: int = 1
    """Deliveries have a time-out in real time, which they may miss on a busy machine."""
    recorded_in: Path | None = None
    """The directory of its recordings, if not `tests/data`."""

    def recordings(self) -> list[Recording]:
        """All that are played."""
        return [recording for step in self.steps if isinstance(step, str) for recording in self._run(step)]

    def play(self, player: Player) -> None:
        """From the first step to the last."""
        for step in self.steps:
            if isinstance(step, str):
                for recording in self._run(step):
                    player.play(recording, frozenset(self.loose.get(recording.number, "").split()))
            else:
                step(player)

    def _run(self, step: str) -> list[Recording]:
        directory = self.recorded_in or directory_of(self.version)
        found = []
        for part in step.split():
            first, _, last = part.partition("-")
            found += between(directory, first, last or first)
        return found
