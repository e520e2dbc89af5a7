"""The scene of the soak: a cluster behind a proxy, a Harbor, a receiver, the operator, and the model of their state."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import rss
from bench.soak.memory import Sample
from bench.soak.model import Model
from harness.api_proxy import ApiProxy
from harness.control_plane import ControlPlane
from harness.crd_fixtures import install_crds
from harness.harbor.process import StandIn
from harness.harbor_fixtures import standing_in
from harness.operator_process import OperatorProcess
from harness.receiver import Receiver
from harness.world import World

Say = Callable[[str], None]

NAMESPACE = "soak"
QUICK = {
    "poll_interval": 2,
    "open_poll_interval": 1,
    "status_interval": 2,
    "stuck_after": 5,
    "drift_interval": 3,
    "connection_interval": 5,
}
"""Intervals at which faults show within seconds."""
SAMPLE_EVERY = 60.0


@dataclass
class Life:
    """One operator process, from its start to its end."""

    pid: int
    started: float
    samples: list[Sample] = field(default_factory=list)


@dataclass
class Scene:
    say: Say
    rng: random.Random
    control_plane: ControlPlane
    proxy: ApiProxy
    stand_in: StandIn
    receiver: Receiver
    operator: OperatorProcess
    world: World
    model: Model = field(default_factory=Model)
    lives: list[Life] = field(default_factory=list)
    number: int = 0
    """Counter for names that are never used twice."""
    edits: int = 0
    deleted: set[str] = field(default_factory=set)
    """Names in Harbor of resources that were deleted during the present fault."""
    may_be_late: bool = False
    """Whether Harbor may carry out requests of this fault after the operator has stopped waiting."""

    def next_name(self, base: str) -> str:
        self.number += 1
        return f"{base}-{self.number}"

    # The operator

    def begin_life(self) -> None:
        self.operator.restart()
        self.lives.append(Life(self.operator.pid, time.monotonic()))

    def end_life(self, number: signal.Signals) -> None:
        self.operator.end(number)

    def sample(self) -> None:
        """Records the operator's memory once a minute."""
        life, now = self.lives[-1], time.monotonic()
        age = now - life.started
        if not life.samples or age - life.samples[-1].age >= SAMPLE_EVERY:
            life.samples.append(Sample(age, rss(life.pid)))

    # Harbor's state

    @property
    def state_file(self) -> Path:
        return self.stand_in.directory / "state.jsonl"


@contextmanager
def set_scene(seed: int, say: Say) -> Iterator[Scene]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="harborhook-soak-")))
        control_plane = stack.enter_context(ControlPlane.start(progress=say))
        install_crds(control_plane)
        control_plane.create_namespace(NAMESPACE)
        proxy = stack.enter_context(ApiProxy(control_plane))
        stand_in = stack.enter_context(StandIn.start())
        receiver = stack.enter_context(Receiver.start())
        settings: dict[str, object] = {**QUICK}
        operator = stack.enter_context(OperatorProcess(control_plane, directory, settings, proxy.url, clock_steps=True))
        world = World(control_plane, standing_in(stand_in, "2.16"), operator, NAMESPACE)
        stack.callback(world.api.close)
        scene = Scene(say, random.Random(seed), control_plane, proxy, stand_in, receiver, operator, world)
        scene.begin_life()
        world.connect("default", limits={"requestsPerSecond": 500})
        world.ready("ClusterHarborConnection", "default")
        yield scene


def log_of_trouble(scene: Scene, lines: int = 30) -> list[str]:
    """Returns the last lines of the operator's log, and its last errors."""
    found = []
    written = scene.operator.log.read_text(errors="replace").splitlines()
    for line in written:
        try:
            is_error = json.loads(line)["level"] in ("ERROR", "CRITICAL")
        except (ValueError, LookupError, TypeError):
            is_error = False
        if is_error:
            found.append(line)
    return [*found[-lines:], "...", *written[-lines:]]
