"""Parses the API server's audit log into writes: user, verb, object and result.

Leases, reads and questions (access reviews, token reviews) are not counted, dry runs are left out; Events are writes
like any other. A position in the log is a number of bytes. By POLICY nothing but writes is logged; by WHOLE_POLICY the
log also has every request of a ServiceAccount, and the bodies of its writes and of what holds secrets.
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

WHOLE_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: None
  resources:
  - {group: authorization.k8s.io}
  - {group: authentication.k8s.io}
- level: Request
  userGroups: [system:serviceaccounts]
- level: Request
  verbs: [create, update, patch]
  resources:
  - {group: "", resources: [secrets]}
  - {group: harborhook.io, resources: [webhookpolicies]}
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
"""

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


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
    """The writes logged from a position on."""
    for line in read_lines(log, since):
        entry = parse(line)
        if entry is not None:
            yield entry


def read_lines(log: Path, since: int) -> Iterator[bytes]:
    """The lines from a position on; one that is still being written is left for the next time."""
    if not log.exists():
        return
    with log.open("rb") as lines:
        lines.seek(since)
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield line


def parse(line: bytes) -> AuditEntry | None:
    """Parses one line of the log. Returns None for a dry run and for requests that are not writes."""
    event: dict[str, Any] = json.loads(line)
    target: dict[str, str] = event.get("objectRef", {})
    if "dryRun=" in event["requestURI"] or event["verb"] not in WRITES or target.get("resource") == "leases":
        return None
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
