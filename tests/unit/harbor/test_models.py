"""Harbor's wire models: parsing never raises, for any answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harborhook.harbor import models
from harborhook.harbor.capabilities import parse_version
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.harbor.models import LastTrigger, Policy, Project, SystemInfo, User, parse_time, whole_number
from harness.paths import DATA

calm = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PARSERS: dict[str, Callable[[Any], Any]] = {
    name: model.parse for name, model in vars(models).items() if isinstance(model, type) and hasattr(model, "parse")
}
KNOWN_FIELDS = sorted(
    {
        *("id", "project_id", "name", "creator", "metadata", "creation_time", "harbor_version", "read_only"),
        *("notification_enable", "username", "sysadmin_flag", "policy_name", "event_type", "last_trigger_time"),
        *("status", "start_time", "end_time", "run_count", "extra_attrs", "payload", "quota", "hard", "used"),
        *("storage", "repo_count", "payload_formats", "notify_type", "formats", "auth_mode", "cve_allowlist"),
        *("items", "cve_id", "expires_at", "targets", "event_types", "job_detail", "update_time", "vendor_type"),
    }
)
"""Names that a parser may read; invalid values under them get deeper into it."""

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59-14:00", "2026-01-02T03:04:05Z", "true", "\ud800"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KNOWN_FIELDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)

each_parser = pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)


@each_parser
@given(body=JSON)
@calm
def test_no_body_makes_a_parser_raise(parser: Callable[[Any], Any], body: Any) -> None:
    repr(parser(body))


@each_parser
@given(body=st.dictionaries(st.sampled_from(KNOWN_FIELDS), JSON, min_size=1))
@calm
def test_no_junk_in_a_known_field_makes_a_parser_raise(parser: Callable[[Any], Any], body: Any) -> None:
    repr(parser(body))


@each_parser
def test_no_answer_that_a_real_harbor_gave_makes_a_parser_raise(parser: Callable[[Any], Any]) -> None:
    for file in DATA.glob("harbor-2.*/*.json"):
        body = json.loads(file.read_text(encoding="utf-8"))["response"].get("body")
        for part in body if isinstance(body, list) else [body]:
            parser(part)


# Identity


@pytest.mark.parametrize("junk", [None, "5", 5.0, True, [5], {}, 2**63, 10**4000])
def test_a_row_without_a_number_as_its_id_is_none(junk: Any) -> None:
    """The last two are integers that neither Harbor nor Kubernetes can have."""
    started = "2026-01-02T03:04:05Z"
    assert Project.parse({"project_id": junk, "name": "p"}) is None
    assert Policy.parse({"id": junk}) is None
    assert Execution.parse({"id": junk, "start_time": started, "extra_attrs": {"event_type": "PUSH_ARTIFACT"}}) is None
    assert Task.parse({"id": junk}) is None
    assert Job.parse({"id": junk, "creation_time": started, "event_type": "PUSH_ARTIFACT"}) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("0", 0), ("41", 41), ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None), ("9" * 5000, None)]
    + [(junk, None) for junk in ("", "-1", "+1", "1_0", " 1", "1\n", "١", "x")],
)
def test_a_whole_number_is_digits_and_no_more_of_them_than_fit(text: str, found: int | None) -> None:
    assert whole_number(text) == found


@pytest.mark.parametrize("junk", [None, 5, True, [], {}])
def test_a_row_without_a_text_as_its_name_is_no_project(junk: Any) -> None:
    assert Project.parse({"project_id": 5, "name": junk}) is None


@pytest.mark.parametrize(("stated", "known"), [(7, 7), (None, 0), ("7", 0), (True, 0), (7.5, 0)])
def test_a_policy_whose_project_cannot_be_told_belongs_to_none(stated: Any, known: int) -> None:
    policy = Policy.parse({"id": 5, "project_id": stated})

    assert policy is not None
    assert policy.project_id == known


def test_a_policy_keeps_its_whole_body_and_shows_it_to_nobody() -> None:
    body = {"id": 5, "targets": [{"auth_header": "Bearer canary"}], "future": {"x": 1}}
    policy = Policy.parse(body)

    assert policy is not None
    assert policy.raw == body
    assert (policy.name, policy.creator) == ("", "")
    assert "canary" not in repr(policy)


@given(st.dictionaries(st.text(max_size=6), st.none() | st.booleans() | st.integers() | st.text(max_size=6)))
@calm
def test_the_metadata_of_a_project_are_texts(metadata: dict[str, Any]) -> None:
    project = Project.parse({"project_id": 1, "name": "p", "metadata": metadata})

    assert project is not None
    assert project.metadata.keys() == metadata.keys()
    assert all(isinstance(value, str) for value in project.metadata.values())


# Rights


@pytest.mark.parametrize(("flag", "admin"), [(True, True), (False, False), (None, False), ("true", False), (1, False)])
def test_a_user_is_an_administrator_only_if_harbor_says_so(flag: Any, admin: bool) -> None:
    assert User.parse({"username": "bob", "sysadmin_flag": flag}) == User("bob", admin)


@pytest.mark.parametrize("junk", [None, "false", 0, [], {}])
def test_what_harbor_does_not_say_about_itself_is_unknown(junk: Any) -> None:
    info = SystemInfo.parse({"harbor_version": 5, "read_only": junk, "notification_enable": junk})

    assert (info.harbor_version, info.read_only, info.notification_enable) == (None, None, None)


def test_what_harbor_says_about_itself_is_known() -> None:
    info = SystemInfo.parse({"harbor_version": "v2.16.0-c50c7ddd", "read_only": False, "notification_enable": True})

    assert (info.harbor_version, info.read_only, info.notification_enable) == ("v2.16.0-c50c7ddd", False, True)


# Times


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("2026-01-02T12:04:05+09:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood_with_and_without_fraction_and_zone(text: str, time: datetime) -> None:
    parsed = parse_time(text)

    assert parsed == time
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "0001-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00Z",
        "0001-01-01T08:05:43+08:05",
        "0001-01-01T00:00:00-08:00",
        "",
        "never",
        "2026-13-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "2026-01-02T03:04:05+99:99",
        "\ud800",
        None,
        0,
        1767323045,
        True,
        [],
        {},
    ],
)
def test_never_and_junk_are_no_times(value: Any) -> None:
    assert parse_time(value) is None


@given(st.datetimes(min_value=datetime(2, 1, 3), max_value=datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))
@calm
def test_every_time_that_harbor_can_write_is_the_same_moment(moment: datetime, offset: int) -> None:
    sign, hours, minutes = "-" if offset < 0 else "+", *divmod(abs(offset), 60)
    written = f"{moment.isoformat(timespec='milliseconds')}{sign}{hours:02}:{minutes:02}"

    expected = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC) - timedelta(minutes=offset)
    assert parse_time(written) == expected


RFC_3339 = st.from_regex(r"[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([+-][0-9]{2}:[0-9]{2}|Z)?", fullmatch=True)


@given(st.text(max_size=30) | RFC_3339)
@example("9999-12-31T23:59:59-23:59")
@example("0002-01-01T00:00:00+23:59")
@calm
def test_no_text_makes_reading_a_time_raise(text: str) -> None:
    time = parse_time(text)

    assert time is None or (time.tzinfo is UTC and time.year > 1)


def test_a_row_of_last_triggers_needs_a_policy_and_an_event_type() -> None:
    row = {"policy_name": "hook", "event_type": "PUSH_ARTIFACT", "last_trigger_time": "0001-01-01T00:00:00.000Z"}

    assert LastTrigger.parse(row) == LastTrigger("hook", "PUSH_ARTIFACT", None)
    assert LastTrigger.parse({**row, "policy_name": None}) is None
    assert LastTrigger.parse({**row, "event_type": 5}) is None


# Versions


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v2.16.0-c50c7ddd", (2, 16, 0)),
        ("v2.7.4-abcdef", (2, 7, 4)),
        ("2.3.0", (2, 3, 0)),
        ("v2.9", (2, 9, 0)),
        ("v2.10.11-rc1", (2, 10, 11)),
        ("dev", None),
        ("", None),
        ("v2", None),
        ("version 2.3.0", None),
    ],
)
def test_a_version_is_read_or_unknown(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


@given(st.text(max_size=20))
def test_no_text_makes_reading_a_version_raise(text: str) -> None:
    parse_version(text)
