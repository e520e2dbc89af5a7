"""`python -m harness.demo`: runs all steps, then ends; with KEEP=1 everything is left running until Ctrl-C.

CLUSTER=current uses the cluster of the current kubeconfig.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.control_plane import ControlPlaneError
from harness.demo.examples import EXAMPLES
from harness.demo.screen import Screen
from harness.demo.stage import Stage, set_up
from harness.demo.story import STEPS, Step, delete
from harness.paths import TESTS

_KEPT = """\
Everything is still running. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH={programs}:$PATH:{scripts}
  kubectl get chconn,hproj,whp -A
  kubectl harborhook status -A

Harbor     {harbor} (user {username}, password {password}), a stand-in: API and registry, no UI
Receiver   {receiver}; what it got: curl {receiver}/_received
Push       an image to a project:
  PYTHONPATH={tests} {python} -m harness.push {harbor} {username} {password} team-a/app
Examples   {examples} (with the placeholders filled in)
Operator   its log is {log}

Ctrl-C ends everything and removes it."""


def main(steps: Sequence[Step] = STEPS) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end in order, as with Ctrl-C
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a log's encoding may lack the check mark
    keep = os.environ.get("KEEP", "") not in ("", "0")
    screen = Screen()
    cluster = os.environ.get("CLUSTER", "")
    if cluster not in ("", "current"):
        screen.failure(f"CLUSTER is {cluster}: it can be current, the cluster of your kubeconfig, or absent.")
        return 1
    try:
        with set_up(screen, current=cluster == "current") as stage:
            return perform(stage, [step for step in steps if not (keep and step.act is delete)], keep=keep)
    except ControlPlaneError as error:
        screen.failure(f"The demonstration could not begin: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("Stopped.")
        return 130


def perform(stage: Stage, steps: Sequence[Step], *, keep: bool = False) -> int:
    """Runs the steps; the exit code reports whether all of them succeeded."""
    started = time.monotonic()
    for number, step in enumerate(steps, start=1):
        stage.screen.step(number, step.title, step.sentence)
        try:
            step.act(stage)
        except Exception as error:
            _report_failure(stage, number, step, error)
            return 1
    stage.screen.title("")
    stage.screen.title(f"All {len(steps)} steps came true, in {time.monotonic() - started:.0f} s.")
    if keep:
        _wait_for_the_user(stage)
    return 0


def _report_failure(stage: Stage, number: int, step: Step, error: Exception) -> None:
    stage.screen.failure(f'Step {number}, "{step.title}", failed: {type(error).__name__}: {error}')
    tail = stage.log_tail()
    if tail:
        stage.screen.say("The operator's log ends with:")
        stage.screen.output(tail)


def _wait_for_the_user(stage: Stage) -> None:
    username, password = stage.harbor.admin
    stage.screen.lines(
        _KEPT.format(
            kubeconfig=stage.control_plane.kubeconfig,
            programs=stage.control_plane.programs,
            scripts=Path(sys.executable).parent,
            tests=TESTS,
            python=sys.executable,
            harbor=stage.harbor.url,
            username=username,
            password=password,
            receiver=stage.receiver.url,
            examples=stage.directory / EXAMPLES,
            log=stage.operator.log if stage.operator else "not there",
        )
    )
    with suppress(KeyboardInterrupt):
        signal.pause()
    stage.screen.say("Stopping ...")


if __name__ == "__main__":
    sys.exit(main())
