"""Parses the API server's audit log into writes: user, verb, object and result.

Reads, leases and reviews (of access and tokens) are not logged, dry runs are left out; Events count as writes. A
position in the log is a number of bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: authorization.k8s.io}
  - {group: authentication.k8s.io}
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""


@dataclass(frozen=True)
class AuditEntry:
    """One write that the API server has answered, including refused ones (`code` is the HTTP status)."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    code: int
    agent: str
    """The User-Agent."""
    answered: float
    """Time of the answer, in seconds since the epoch."""


def read_entries(log: Path, since: int) -> Iterator[AuditEntry]:
    """Yields the writes logged from a position on; an incomplete line is left for the next call."""
    if not log.exists():
        return
    with log.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            entry = parse(line)
            if entry is not None:
                yield entry


def parse(line: bytes) -> AuditEntry | None:
    """Parses one line of the log; None for a dry run."""
    event: dict[str, Any] = json.loads(line)
    if "dryRun=" in event["requestURI"]:
        return None
    target: dict[str, str] = event.get("objectRef", {})
    return AuditEntry(
        verb=event["verb"],
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        user=event["user"]["username"],
        code=event.get("responseStatus", {}).get("code", 0),
        agent=event.get("userAgent", ""),
        answered=datetime.fromisoformat(event["stageTimestamp"]).timestamp(),
    )
