"""The facts of a payload about its event, by recordings of both versions of Harbor."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.harbor.payloads import SUBJECT_LIMIT, facts_of, slack_message
from harness.paths import DATA

RECORDINGS = DATA / "deliveries"


def recorded(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text())


def text_of(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def test_each_format_is_known_and_names_repository_and_tag() -> None:
    found = [facts_of(text_of(one["body"])) for one in recorded("deliveries-formats")]
    assert {one.format for one in found} == {"Default", "CloudEvents", "Slack"}
    assert {one.subject for one in found} == {"demo/app:v1"}


def test_an_event_of_a_quota_is_about_its_repository() -> None:
    exceeded = next(one for one in recorded("deliveries-quota") if one["body"]["type"] == "QUOTA_EXCEED")
    assert facts_of(text_of(exceeded["body"])).subject == "quota1/app"


def payload(*resources: dict[str, Any], repository: str = "team-a/app") -> str:
    data = {"resources": list(resources), "repository": {"repo_full_name": repository}}
    return json.dumps({"type": "PUSH_ARTIFACT", "occur_at": 1, "event_data": data})


DIGEST = "sha256:932552d10ad9dfae7babaf370e24b472ea9bfd3016d9edde09e5d0087e5eb879"


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (payload({"digest": DIGEST, "tag": "v2"}), "team-a/app:v2"),
        (payload({"digest": DIGEST}), "team-a/app@932552d10ad9"),
        (payload({"digest": DIGEST, "tag": DIGEST}), "team-a/app@932552d10ad9"),
        (payload({"digest": DIGEST, "tag": "v2"}, {"digest": DIGEST, "tag": "v3"}), "team-a/app:v2 and 1 more"),
        (payload(), "team-a/app"),
        (payload({"tag": "\x1b[2Jv2\r\n"}), "team-a/app:\N{REPLACEMENT CHARACTER}[2Jv2"),
        (payload({"tag": ["v2"], "digest": 5}), "team-a/app"),
        (payload(repository=""), None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_the_subject_is_repository_and_tag_or_the_first_digits_of_the_digest(text: str, subject: str | None) -> None:
    assert facts_of(text).subject == subject


def test_a_subject_fits_into_the_status() -> None:
    assert len(facts_of(payload({"tag": "v" * 5000})).subject or "") == SUBJECT_LIMIT


def test_the_message_for_slack_is_what_harbor_2_7_sends_byte_for_byte() -> None:
    pushed = recorded("deliveries-27-push")
    default = next(one["body"] for one in pushed if one["path"] != "/slack" and isinstance(one["body"], dict))
    slack = next(one["body"] for one in pushed if one["path"] == "/slack")
    assert slack_message(json.dumps(default)) == slack


def test_a_stored_payload_of_a_slack_job_makes_a_message_that_names_the_same_event() -> None:
    stored = recorded("2817-jobs-slack")["response"]["body"][0]["job_detail"]
    message = slack_message(stored)
    assert message is not None
    assert facts_of(message).subject == facts_of(stored).subject == "dlv/app:v1"


@given(st.text() | st.recursive(st.integers() | st.text() | st.none(), st.lists).map(json.dumps))
def test_any_text_is_read_without_an_error(text: str) -> None:
    facts = facts_of(text)
    assert facts.subject is None or facts.subject.isprintable()
    slack_message(text)
