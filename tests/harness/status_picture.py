"""Writes docs/images/status.svg, the picture of `kubectl harborhook status` in the README.

    python -m harness.status_picture [--check]

It is drawn by the command's own code, from resources as the API server would have them. With `--check` nothing is
written; it fails when the picture is out of step.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from harborhook.commands.overview import overview
from harborhook.commands.tables import rendered

PICTURE = Path(__file__).parents[2] / "docs/images/status.svg"
COLUMNS = 116
_WEB_FONT = re.compile(r"\s*@font-face \{[^}]*\}")
"""Browsers do not load it for a picture in a page; the reader's fonts are used."""
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def picture() -> str:
    """Returns the same picture each time."""
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, force_terminal=True, color_system="truecolor", highlight=False
    )
    console.print(Text("$ kubectl harborhook status -n team-a", "bold"))
    for piece in rendered(overview(_resources()).blocks(with_namespace=False, wide=False, now=NOW), console):
        console.print(piece)
    drawn = console.export_svg(title="kubectl harborhook status", unique_id="status")
    return _WEB_FONT.sub("", drawn)


def _resources() -> list[dict[str, Any]]:
    return [
        _resource("ClusterHarborConnection", "default", "4d", ready="Connected to Harbor v2.16.0."),
        _resource("HarborProject", "team-a", "4d", ready="Project team-a matches the spec."),
        _resource("WebhookPolicy", "ci", "4d", delivering="The newest event was delivered to every target."),
        _resource(
            "WebhookPolicy",
            "slack",
            "3h",
            refused=("SecretNotFound", "Secret team-a/slack-hook does not exist: create it, or name another one."),
        ),
        _resource(
            "WebhookPolicy",
            "events",
            "12m",
            failing="The newest event was not delivered: events.example.com answered with status 503",
        ),
        _resource(
            "WebhookPolicy",
            "scans",
            "2d",
            suspended="Nothing is written to Harbor while suspend is true.",
        ),
    ]


def _resource(kind: str, name: str, age: str, **said: Any) -> dict[str, Any]:
    since = (NOW - timedelta(**{_UNITS[age[-1]]: int(age[:-1])})).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = _conditions(said)
    namespace = {} if kind == "ClusterHarborConnection" else {"namespace": "team-a"}
    return {
        "kind": kind,
        "metadata": {"name": name, "generation": 1, **namespace},
        "spec": {"suspend": "suspended" in said},
        "status": {
            "observedGeneration": 1,
            "conditions": [{**one, "lastTransitionTime": since} for one in conditions],
        },
    }


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _conditions(said: Mapping[str, Any]) -> list[dict[str, str]]:
    if "refused" in said:
        reason, message = said["refused"]
        return [{"type": "Ready", "status": "False", "reason": reason, "message": message}]
    message = said.get("ready") or said.get("suspended") or ""
    found = [{"type": "Ready", "status": "True", "reason": "Reconciled", "message": message}]
    for key, status, reason in (
        ("delivering", "True", "LastDeliverySucceeded"),
        ("failing", "False", "LastDeliveryFailed"),
    ):
        if key in said:
            found.append({"type": "Delivering", "status": status, "reason": reason, "message": said[key]})
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.status_picture", description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the picture is out of step")
    options = parser.parse_args(arguments)
    drawn = picture()
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn:
        return 0
    if options.check:
        print("docs/images/status.svg is out of step: run make generate", file=sys.stderr)
        return 1
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(drawn, encoding="utf-8")
    print("docs/images/status.svg written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
