"""Extracts event, repository and tag from a notification's payload, in the three formats that Harbor sends.

Default is Harbor's own JSON, CloudEvents wraps the same data, and a Slack message is a template that contains the data
as quoted JSON. All formats are parsed here; nothing else of a payload is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from harborhook.foreign_text import clip
from harborhook.harbor import wire_json
from harborhook.harbor.models import mapping, parse_time, whole_number

PayloadFormat = Literal["Default", "CloudEvents", "Slack"]

CONTENT_TYPES: dict[PayloadFormat, str] = {
    "Default": "application/json",
    "CloudEvents": "application/cloudevents+json",
    "Slack": "application/json",
}
"""The Content-Type of each format (recorded from 2.7 and 2.16)."""

SUBJECT_LIMIT = 512
DIGEST_DIGITS = 12
"""Digits of a digest, as many as Harbor's UI and docker show."""


@dataclass(frozen=True)
class PayloadFacts:
    """The facts extracted from a payload; `moment` (seconds since 1970) and `data` are the event's."""

    format: PayloadFormat = "Default"
    moment: int | None = None
    data: Any = field(default=None, repr=False)

    def event(self, event_type: str, started: datetime) -> str:
        """Returns an identifier of the event, equal for all its notifications. It consists of the time alone if the
        payload has no data."""
        is_known = self.moment is not None
        moment, data = (self.moment, self.data) if is_known else (int(started.timestamp()), None)
        text = json.dumps([event_type, moment, data], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def subject(self) -> str | None:
        """`team-a/app:v2`, or `team-a/app@<12 digits>` without a tag; for several artifacts the first one and their
        number."""
        data = mapping(self.data)
        repository = mapping(data.get("repository")).get("repo_full_name")
        if not isinstance(repository, str) or not repository:
            return None
        resources = data.get("resources")
        artifacts = [mapping(one) for one in resources] if isinstance(resources, list) else []
        subject = repository + (_reference(artifacts[0]) if artifacts else "")
        more = len(artifacts) - 1
        return clip(f"{subject} and {more} more" if more > 0 else subject, SUBJECT_LIMIT)


def _reference(artifact: Any) -> str:
    tag, digest = artifact.get("tag"), artifact.get("digest")
    if isinstance(tag, str) and tag and tag != digest:
        return f":{tag}"
    if isinstance(digest, str) and digest:
        return f"@{digest.rpartition(':')[2][:DIGEST_DIGITS]}"
    return ""


def facts_of(payload: Any) -> PayloadFacts:
    """Parses a payload; an unknown format yields no facts."""
    if not isinstance(payload, str):
        return PayloadFacts()
    try:
        body = wire_json.parse(payload)
    except ValueError:
        return _facts_of_slack(payload)
    if not isinstance(body, dict):
        return PayloadFacts()
    if isinstance(body.get("occur_at"), int):
        return PayloadFacts("Default", body["occur_at"], body.get("event_data"))
    if "specversion" in body:
        moment = parse_time(body.get("time"))
        return PayloadFacts("CloudEvents", int(moment.timestamp()) if moment else None, body.get("data"))
    return _facts_of_slack(payload)


def _facts_of_slack(payload: str) -> PayloadFacts:
    """The whole template is not valid JSON: a string in it has line breaks."""
    date = re.search(r"<!date\^(\d+)\^", payload)
    data = re.search(r"```(.*?)```", payload, re.DOTALL)
    moment = whole_number(date[1]) if date is not None else None
    if moment is None or data is None:
        return PayloadFacts()
    try:
        return PayloadFacts("Slack", moment, wire_json.parse(data[1].replace("\\n", "\n").replace('\\"', '"')))
    except ValueError:
        return PayloadFacts("Slack", moment, data[1])


# Slack's message before Harbor 2.8


def slack_message(payload: str) -> str | None:
    """Returns the message that Harbor before 2.8 sends to Slack, built from the stored Default payload.

    It equals the recorded message of Harbor 2.7 byte for byte. None for a payload that is not in the Default format.
    """
    facts = facts_of(payload)
    if facts.format != "Default" or facts.moment is None:
        return None
    body = wire_json.parse(payload)
    return _SLACK_TEMPLATE.format(
        event_type=body.get("type", ""),
        moment=facts.moment,
        operator=body.get("operator", ""),
        data=_go_json(facts.data).replace('"', '\\"'),
    )


def _go_json(value: Any) -> str:
    """Formats JSON as Go indents it: with tabs, and with HTML's special characters escaped."""
    text = json.dumps(value, indent="\t", ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


_SLACK_TEMPLATE = """{{
\t"blocks": [
\t\t{{
            "type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*Harbor webhook events*"
\t\t\t}}
        }},
        {{
            "type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*event_type:* {event_type}"
\t\t\t}}
        }},
        {{
            "type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*occur_at:* <!date^{moment}^{{date}} at {{time}}|February 18th, 2014 at 6:39 AM PST>"
\t\t\t}}
        }},
        {{\t"type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*operator:* {operator}"
\t\t\t}}
\t\t}},
        {{\t"type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "*event_data:*"
\t\t\t}}
\t\t}},
\t\t{{\t"type": "section",
\t\t\t"text": {{
\t\t\t\t"type": "mrkdwn",
\t\t\t\t"text": "```{data}```"
\t\t\t}}
\t\t}}
    ]}}"""
