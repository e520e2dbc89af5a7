"""`python -m harness.receiver_programs COMMAND...`: builds receivers of other projects, then runs the command.

Both are built from their projects' public modules, which the modules beside this file pin. Flux's
notification-controller is built unchanged. For Tekton Triggers, a small program of ours runs its sink and core
interceptors, since Tekton's own program would listen on every address of the machine. The command finds the programs in
the variables that `FLUX` and `TEKTON` name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.control_plane.errors import ControlPlaneError
from harness.control_plane.go_build import GoProgram

HARNESS = Path(__file__).parent


@dataclass(frozen=True)
class ReceiverProgram:
    """A receiver that is built here, and the location that the tests read."""

    variable: str
    module: str
    """The public module that it is built from."""
    program: GoProgram

    def build(self) -> Path:
        """Returns the program, and builds it if it does not exist yet."""
        return self.program.build(say) / self.program.name

    def sources(self, module: str | None = None) -> Path:
        """Returns the directory in which Go keeps the pinned version of its module or of a dependency; tests read CRDs
        and roles there."""
        command = ["go", "mod", "download", "-json", module or self.module]
        done = subprocess.run(command, cwd=self.program.source, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ControlPlaneError(f"{command[-1]} cannot be downloaded: {done.stdout}{done.stderr}")
        return Path(json.loads(done.stdout)["Dir"])


FLUX = ReceiverProgram(
    "HARBORHOOK_FLUX",
    "github.com/fluxcd/notification-controller",
    GoProgram(
        what="Flux's notification-controller",
        source=HARNESS / "flux_program",
        package="github.com/fluxcd/notification-controller",
        shelf="flux",
        name="notification-controller",
        links=(),
        linker_flags="-s -w",
        title="Flux's notification-controller, once, in about 5 minutes on 2 cores,",
        packages=1580,
    ),
)
TEKTON = ReceiverProgram(
    "HARBORHOOK_TEKTON",
    "github.com/tektoncd/triggers",
    GoProgram(
        what="Tekton's EventListener",
        source=HARNESS / "tekton_program",
        package=".",
        shelf="tekton",
        name="tekton",
        links=(),
        linker_flags="-s -w",
        title="Tekton's EventListener, once, in about 3 minutes on 2 cores,",
        packages=1000,
    ),
)


def main(command: list[str]) -> int:
    try:
        variables = {receiver.variable: str(receiver.build()) for receiver in (FLUX, TEKTON)}
    except ControlPlaneError as error:
        say(str(error))
        return 1
    return subprocess.run(command, env={**os.environ, **variables}).returncode if command else 0


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
