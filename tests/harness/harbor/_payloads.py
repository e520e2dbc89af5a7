"""The payloads of notifications in three formats, byte for byte as Harbor's Go code writes them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CLOUD_EVENT_TYPES = {
    "DELETE_ARTIFACT": "harbor.artifact.deleted",
    "PULL_ARTIFACT": "harbor.artifact.pulled",
    "PUSH_ARTIFACT": "harbor.artifact.pushed",
    "QUOTA_EXCEED": "harbor.quota.exceeded",
    "QUOTA_WARNING": "harbor.quota.warned",
    "REPLICATION": "harbor.replication.status.changed",
    "SCANNING_FAILED": "harbor.scan.failed",
    "SCANNING_COMPLETED": "harbor.scan.completed",
    "SCANNING_STOPPED": "harbor.scan.stopped",
    "TAG_RETENTION": "harbor.tag_retention.finished",
}

_SLACK = """{
\t"blocks": [
\t\t{
            "type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*Harbor webhook events*"
\t\t\t}
        },
        {
            "type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*event_type:* @TYPE@"
\t\t\t}
        },
        {
            "type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*occur_at:* <!date^@TIME@^{date} at {time}|February 18th, 2014 at 6:39 AM PST>"
\t\t\t}
        },
        {\t"type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*operator:* @OPERATOR@"
\t\t\t}
\t\t},
        {\t"type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*event_data:*"
\t\t\t}
\t\t},
\t\t{\t"type": "section",
\t\t\t"text": {
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "```@DATA@```"
\t\t\t}
\t\t}
    ]}"""


@dataclass(frozen=True)
class Event:
    """An event in a project.

    ``repository`` is the full name (``project/path``); a name without the project is completed. ``data`` replaces the
    whole ``event_data``, for event types whose data has another shape (REPLICATION, TAG_RETENTION); ``scan_overview``
    is added to the resource of SCANNING_* events.
    """

    type: str
    project_id: int
    project_name: str
    operator: str
    repository: str = ""
    tag: str = ""
    digest: str = ""
    public: bool = False
    repository_created: int = 0
    details: str = ""
    occur_at: int = field(default_factory=lambda: int(time.time()))
    scan_overview: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None

    @property
    def short_repository(self) -> str:
        """The repository's name inside its project, slashes included."""
        return self.repository.removeprefix(self.project_name + "/")

    @property
    def full_repository(self) -> str:
        return f"{self.project_name}/{self.short_repository}"


def go_json(value: Any, indent: str | None = None) -> str:
    """Returns JSON as Go's encoding/json prints it: compact, UTF-8, and ``<``, ``>``, ``&`` escaped for HTML."""
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _resource(event: Event, host: str) -> dict[str, Any]:
    """Returns one resource; an event without a tag has the digest as its tag."""
    reference = event.tag or event.digest
    separator = "@" if reference.startswith("sha256:") else ":"
    resource: dict[str, Any] = {"digest": event.digest, "tag": reference}
    if not event.type.startswith("QUOTA_"):
        resource["resource_url"] = f"{host}/{event.full_repository}{separator}{reference}"
    if event.scan_overview is not None:
        resource["scan_overview"] = dict(event.scan_overview)
    return {key: value for key, value in resource.items() if value}


def _repository(event: Event) -> dict[str, Any]:
    """Returns the repository part; a deleted repository has no ``date_created``."""
    created = {"date_created": event.repository_created} if event.repository_created else {}
    return created | {
        "name": event.short_repository,
        "namespace": event.project_name,
        "repo_full_name": event.full_repository,
        "repo_type": "public" if event.public else "private",
    }


def event_data(event: Event, host: str) -> dict[str, Any]:
    if event.data is not None:
        return dict(event.data)
    data: dict[str, Any] = {}
    if event.digest:
        data["resources"] = [_resource(event, host)]
    if event.repository:
        data["repository"] = _repository(event)
    if event.details:
        data["custom_attributes"] = {"Details": event.details}
    return data


def default_payload(event: Event, host: str) -> str:
    body = {"type": event.type, "occur_at": event.occur_at, "operator": event.operator}
    return go_json(body | {"event_data": event_data(event, host)})


def cloud_event(event: Event, host: str, policy_id: int) -> str:
    """CloudEvents 1.0 in structured mode."""
    body = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"/projects/{event.project_id}/webhook/policies/{policy_id}",
        "type": CLOUD_EVENT_TYPES.get(event.type, ""),
        "datacontenttype": "application/json",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.occur_at)),
        "data": event_data(event, host),
        "operator": event.operator,
        "requestid": str(uuid.uuid4()),
    }
    return go_json(body)


def slack_payload(event: Event, host: str) -> str:
    """Returns Slack's blocks; the tabs and line breaks inside the last string are Harbor's own, so it is not valid
    JSON."""
    data = go_json(event_data(event, host), indent="\t").replace('"', '\\"')
    text = _SLACK.replace("@TYPE@", event.type).replace("@TIME@", str(event.occur_at))
    return text.replace("@OPERATOR@", event.operator).replace("@DATA@", data)
