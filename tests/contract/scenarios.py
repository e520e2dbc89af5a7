"""A scenario: runs of recordings, and what has to happen between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from contract.player import Action, Player
from contract.recordings import Recording, between


@dataclass(frozen=True)
class Scenario:
    """Recordings that are played in order on one Harbor."""

    name: str
    version: str
    steps: Sequence[str | Action]
    """A run such as `0001-0015`, several separated by blanks, or something to do."""
    loose: dict[str, str] = field(default_factory=dict)
    """By number, what the scenario cannot reproduce: `total`, `body`, `cookies`, or keys of the body."""
    stand_in_only: bool = False
    """It changes the whole Harbor, or breaks it."""
    attempts: int = 1
    """Deliveries have a time-out in real time: on a machine that is busy with something else one may miss it."""

    def recordings(self) -> list[Recording]:
        """All that are played."""
        return [recording for step in self.steps if isinstance(step, str) for recording in _run(self.version, step)]

    def play(self, player: Player) -> None:
        """From the first step to the last."""
        for step in self.steps:
            if isinstance(step, str):
                for recording in _run(self.version, step):
                    player.play(recording, frozenset(self.loose.get(recording.number, "").split()))
            else:
                step(player)


def _run(version: str, step: str) -> list[Recording]:
    found = []
    for part in step.split():
        first, _, last = part.partition("-")
        found += between(version, first, last or first)
    return found
