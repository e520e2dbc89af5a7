"""Changes specs one after the other. The stand-in's log shows how long each change takes to reach Harbor."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from bench.stage import BenchError, Follower, Stage, wait
from harness.control_plane.audit import AuditEntry
from harness.harbor.process import RequestRecord
from harness.world import OPERATOR_USER


def spec_changes(stage: Stage, numbers: Iterable[int], per_second: float, *, public: bool) -> dict[str, float]:
    """Sets `public` of these projects one after the other, and waits until each status shows it. Returns the time of
    each change by project name."""
    follower = stage.follow()
    made: dict[str, float] = {}
    for number in numbers:
        project = f"{stage.prefix}-{number}"
        made[project] = time.time()
        stage.world.patch("HarborProject", project, {"spec": {"public": public}})
        time.sleep(max(0.0, made[project] + 1 / per_second - time.time()))
    wait(lambda: _all_written(follower, made), "every change has been dealt with", pause=0.2)
    return made


def _all_written(follower: Follower, made: Mapping[str, float]) -> bool:
    return {name for kind, name in follower.first_status() if kind == "harborprojects"} >= made.keys()


def delays(made: Mapping[str, float], log: Sequence[RequestRecord]) -> list[float]:
    """Returns the seconds from each change to the first request to Harbor with it. Raises BenchError if there is
    none."""
    asked: dict[str, float] = {}
    for request in log:
        project = request.path.removeprefix("/api/v2.0/projects/")
        if request.method == "PUT" and request.time >= made.get(project, float("inf")):
            asked.setdefault(project, request.time)
    if len(asked) < len(made):
        raise BenchError(f"only {len(asked)} of {len(made)} changes have reached Harbor")
    return [asked[project] - made[project] for project in made]


def shares_of_operator(
    made: Mapping[str, float], delayed: Sequence[float], written: Iterable[AuditEntry]
) -> list[float]:
    """Returns the part of each delay after the API server had stored the change: its watch event, the operator's queue
    and the visit. `written` are all writes; the rest of the delay is the API server's and the benchmark's own."""
    stored = {
        entry.name: entry.answered
        for entry in written
        if (entry.verb, entry.resource, entry.subresource) == ("patch", "harborprojects", "")
        and entry.user != OPERATOR_USER
    }
    asked = dict(zip(made, delayed, strict=True))
    return [max(0.0, made[project] + asked[project] - stored[project]) for project in made]
