"""What a notification's payload says about its event, in the three formats that Harbor sends.

Default is Harbor's own JSON, CloudEvents wraps the same data, and a Slack message is a template with that data as
quoted JSON in it. Whatever the format, the event, and the repository and tag that it is about, are found out here;
nothing else leaves a payload.
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
"""What Harbor sends each format as (recorded from 2.7 and 2.16)."""

SUBJECT_LIMIT = 512
DIGEST_DIGITS = 12
"""As many digits of a digest as Harbor's UI and docker show."""


@dataclass(frozen=True)
class PayloadFacts:
    """What is known of a payload; `moment` (seconds since 1970) and `data` are the event's own."""

    format: PayloadFormat = "Default"
    moment: int | None = None
    data: Any = field(default=None, repr=False)

    def event(self, event_type: str, started: datetime) -> str:
        """A name for the event: the same for all its notifications. By its time alone if the payload says nothing."""
        is_known = self.moment is not None
        moment, data = (self.moment, self.data) if is_known else (int(started.timestamp()), None)
        text = json.dumps([event_type, moment, data], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def subject(self) -> str | None:
        """`team-a/app:v2`, or `team-a/app@<12 digits>` without a tag; of several artifacts the first, and how many."""
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
    """Reads a payload; one in no known format says nothing."""
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
    """The template as a whole is no JSON: there are line breaks in a string."""
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
    """The message that Harbor before 2.8 makes for Slack of the Default payload, which is all that it stores there.

    Byte for byte as recorded from Harbor 2.7. None for a payload that is not in the Default format.
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
    """As Go writes indented JSON: by tabs, and without the characters that mean something in HTML."""
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
