"""Wire models of notifications: executions and their tasks (2.8 and later), jobs (before).

An event creates one execution for each target. Harbor does not say which executions share an event, but they carry the
same event data, in one of three formats (payloads.py). Payloads are not kept: they may be confidential, and thousands
of them take megabytes. A redelivery reads the payload right before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from harborhook.harbor.models import mapping, number, parse_time, word
from harborhook.harbor.payloads import PayloadFormat, facts_of

TargetType = Literal["http", "slack"]


SLACK = "SLACK"


@dataclass(frozen=True)
class Execution:
    """One event's notification to one target. Its status lags behind its task's by up to half a minute."""

    id: int
    kind: str
    """WEBHOOK or SLACK."""
    event_type: str
    event: str
    """Identifies the event: equal for all its executions, different for other events."""
    status: str
    started: datetime
    ended: datetime | None
    format: PayloadFormat = "Default"
    subject: str | None = None
    """The repository and tag of the event."""

    @property
    def target_type(self) -> TargetType:
        return "slack" if self.kind == SLACK else "http"

    @classmethod
    def parse(cls, body: Any) -> Execution | None:
        fields = mapping(body)
        attributes = mapping(fields.get("extra_attrs"))
        execution_id, started = number(fields.get("id")), parse_time(fields.get("start_time"))
        event_type = attributes.get("event_type")
        if execution_id is None or started is None or not isinstance(event_type, str):
            return None
        facts = facts_of(attributes.get("payload"))
        return cls(
            id=execution_id,
            kind=word(fields.get("vendor_type")),
            event_type=word(event_type),
            event=facts.event(event_type, started),
            status=word(fields.get("status")),
            started=started,
            ended=parse_time(fields.get("end_time")),
            format=facts.format,
            subject=facts.subject,
        )


@dataclass(frozen=True)
class Task:
    """The work of the job service for an execution: one task, run once or several times."""

    id: int
    status: str
    """Pending, Scheduled, Running, Success, Error or Stopped. Error is not final."""
    run_count: int
    ended: datetime | None

    @classmethod
    def parse(cls, body: Any) -> Task | None:
        fields = mapping(body)
        task_id = number(fields.get("id"))
        if task_id is None:
            return None
        return cls(
            id=task_id,
            status=word(fields.get("status")),
            run_count=number(fields.get("run_count")) or 0,
            ended=parse_time(fields.get("end_time")),
        )


@dataclass(frozen=True)
class Job:
    """The notification before Harbor 2.8, which reports neither attempts nor a reason."""

    id: int
    event_type: str
    event: str
    status: str
    """pending, scheduled, running, finished, error or stopped. error is not final."""
    created: datetime
    updated: datetime | None
    target_type: TargetType = "http"
    subject: str | None = None

    @classmethod
    def parse(cls, body: Any) -> Job | None:
        fields = mapping(body)
        job_id, created = number(fields.get("id")), parse_time(fields.get("creation_time"))
        event_type = fields.get("event_type")
        if job_id is None or created is None or not isinstance(event_type, str):
            return None
        facts = facts_of(fields.get("job_detail"))
        return cls(
            id=job_id,
            event_type=word(event_type),
            event=facts.event(event_type, created),
            status=word(fields.get("status")).lower(),
            created=created,
            updated=parse_time(fields.get("update_time")),
            target_type="slack" if fields.get("notify_type") == "slack" else "http",
            subject=facts.subject,
        )


@dataclass(frozen=True)
class Stored:
    """A notification with the body that Harbor sent, or would have sent; no repr shows the body."""

    notification: Execution | Job
    body: bytes = field(repr=False)
