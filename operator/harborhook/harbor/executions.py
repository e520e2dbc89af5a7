"""What Harbor tells of notifications: executions and their tasks (2.8 and later), jobs (before).

An event makes one execution for each target. Harbor does not say which ones are the same event's, but they carry the
same event data, in one of three formats. Payloads are not kept: they hold what nobody asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harborhook.harbor.models import mapping, number, parse_time, whole_number


@dataclass(frozen=True)
class Execution:
    """One event's notification to one target. Its status lags that of its task by up to half a minute."""

    id: int
    kind: str
    """WEBHOOK or SLACK."""
    event_type: str
    event: str
    """The same for all executions of one event, and different for different events."""
    status: str
    started: datetime
    ended: datetime | None

    @classmethod
    def parse(cls, body: Any) -> Execution | None:
        fields = mapping(body)
        attributes = mapping(fields.get("extra_attrs"))
        execution_id, started = number(fields.get("id")), parse_time(fields.get("start_time"))
        event_type = attributes.get("event_type")
        if execution_id is None or started is None or not isinstance(event_type, str):
            return None
        return cls(
            id=execution_id,
            kind=str(fields.get("vendor_type") or ""),
            event_type=event_type,
            event=event_of(event_type, attributes.get("payload"), started),
            status=str(fields.get("status") or ""),
            started=started,
            ended=parse_time(fields.get("end_time")),
        )


@dataclass(frozen=True)
class Task:
    """What the job service does for an execution: one task, run once or several times."""

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
            status=str(fields.get("status") or ""),
            run_count=number(fields.get("run_count")) or 0,
            ended=parse_time(fields.get("end_time")),
        )


@dataclass(frozen=True)
class Job:
    """The same before Harbor 2.8: no attempts and no reason are told."""

    id: int
    event_type: str
    event: str
    status: str
    """pending, scheduled, running, finished, error or stopped. error is not final."""
    created: datetime
    updated: datetime | None

    @classmethod
    def parse(cls, body: Any) -> Job | None:
        fields = mapping(body)
        job_id, created = number(fields.get("id")), parse_time(fields.get("creation_time"))
        event_type = fields.get("event_type")
        if job_id is None or created is None or not isinstance(event_type, str):
            return None
        return cls(
            id=job_id,
            event_type=event_type,
            event=event_of(event_type, fields.get("job_detail"), created),
            status=str(fields.get("status") or "").lower(),
            created=created,
            updated=parse_time(fields.get("update_time")),
        )


def event_of(event_type: str, payload: Any, started: datetime) -> str:
    """A name for the event that a payload tells of, whatever the format; by its time alone if it tells nothing."""
    told = _told(payload) if isinstance(payload, str) else None
    moment, data = told if told is not None else (int(started.timestamp()), None)
    text = json.dumps([event_type, moment, data], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _told(payload: str) -> tuple[int, Any] | None:
    """Time and data of the event; None if the payload is in no known format."""
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return _told_to_slack(payload)
    if not isinstance(body, dict):
        return None
    if isinstance(body.get("occur_at"), int):
        return body["occur_at"], body.get("event_data")
    moment = parse_time(body.get("time"))
    if moment is not None:
        return int(moment.timestamp()), body.get("data")
    return _told_to_slack(payload)


def _told_to_slack(payload: str) -> tuple[int, Any] | None:
    """Harbor's Slack message is a template with the event's data as quoted JSON in it; as a whole it is no JSON."""
    date = re.search(r"<!date\^(\d+)\^", payload)
    data = re.search(r"```(.*?)```", payload, re.DOTALL)
    moment = whole_number(date[1]) if date is not None else None
    if moment is None or data is None:
        return None
    try:
        return moment, json.loads(data[1].replace("\\n", "\n").replace('\\"', '"'))
    except (ValueError, RecursionError):
        return moment, data[1]
