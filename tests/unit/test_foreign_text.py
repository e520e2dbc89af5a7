"""Text from others controls no terminal, does not change the writing direction, and has a limited length."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from harborhook.api.base import DRIFT_VALUE_LIMIT
from harborhook.api.conditions import MESSAGE_LIMIT, Reason, Verdict, conditions_for
from harborhook.cli import _Program
from harborhook.commands.failures import FailedError
from harborhook.commands.manifests import commented
from harborhook.commands.output import put_out_as
from harborhook.commands.tables import Line, Table, plain
from harborhook.foreign_text import clip, cut, escaped, printable
from harborhook.harbor.capabilities import parse_version
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError, refusal
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.harbor.models import LastTrigger, Policy, Supported, SystemInfo, User
from harborhook.harbor.transport import Credentials, Transport
from harborhook.plan.drift import Difference, drift_rows
from harborhook.runtime.events import NOTE_LIMIT, _cut
from harborhook.telemetry import JsonFormatter
from harness.hostile import answer, hostile, json_answer

ATTACK = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202etxt.exe\u2066\ud800\x00" + "A" * 100_000
"""Sets the title, clears the screen, returns to the start of the line, colours by a C1 control, changes the writing
direction, is not UTF-8, ends a C string, and has 100,000 characters."""

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TIME = "2026-01-02T03:04:05Z"
calm_text = st.text(st.characters(), max_size=60)


def is_harmless(text: str) -> bool:
    return text.replace("\n", "").isprintable()


@given(calm_text)
@example(ATTACK)
@example("a\u3000b\xa0c")
def test_printable_text_stays_as_long_and_commands_nothing(text: str) -> None:
    shown = printable(text)

    assert is_harmless(shown.replace("\u3000", " ").replace("\xa0", " "))
    assert "\n" not in shown
    assert len(shown) == len(text)
    assert text.isprintable() is False or shown == text


@given(calm_text, st.integers(1, 40))
@example(ATTACK, 300)
def test_clipped_text_is_one_printable_line_within_its_limit(text: str, limit: int) -> None:
    shown = clip(text, limit)

    assert shown.isprintable()
    assert len(shown) <= limit
    assert "  " not in shown
    assert clip(shown, limit) == shown


@given(st.dictionaries(calm_text, calm_text, max_size=3))
@example({"a": "\x1b\x9b\u202e\U000e0041\ud800"})
def test_escaped_json_is_printable_and_says_the_same(value: dict[str, str]) -> None:
    written = escaped(json.dumps(value, ensure_ascii=False, indent=2))

    assert is_harmless(written)
    assert json.loads(written) == value


def test_text_that_fits_is_not_cut() -> None:
    assert cut("x" * 300) == "x" * 300
    assert cut("x" * 301) == "x" * 299 + "…"


# Input


def test_nothing_that_is_shown_of_harbors_answers_commands_a_terminal() -> None:
    info = SystemInfo.parse(dict.fromkeys(("harbor_version", "auth_mode", "project_creation_restriction"), ATTACK))
    execution = Execution.parse(
        {"id": 1, "vendor_type": ATTACK, "status": ATTACK, "start_time": TIME, "extra_attrs": {"event_type": ATTACK}}
    )
    job = Job.parse({"id": 1, "event_type": ATTACK, "status": ATTACK, "creation_time": TIME})
    task = Task.parse({"id": 1, "status": ATTACK})
    row = LastTrigger.parse({"policy_name": "hook", "event_type": ATTACK})
    policy = Policy.parse({"id": 1, "name": ATTACK})
    assert execution is not None
    assert job is not None
    assert task is not None
    assert row is not None
    assert policy is not None
    shown = [
        *(info.harbor_version, info.auth_mode, info.project_creation, User.parse({"username": ATTACK}).username),
        *(execution.kind, execution.status, execution.event_type, job.status, job.event_type, task.status),
        *(row.event_type, policy.shown_name),
    ]

    assert all(text and text.isprintable() and len(text) <= 256 for text in shown)
    assert policy.name == ATTACK  # used to find it again


def test_only_what_can_be_an_event_type_is_taken_for_one() -> None:
    found = Supported.parse(
        {
            "event_type": ["PUSH_ARTIFACT", ATTACK, "a b", "", *(f"T{number}" for number in range(10_000))],
            "payload_formats": [{"notify_type": "http", "formats": ["CloudEvents", "\x1b[2J"]}],
        }
    )

    assert "PUSH_ARTIFACT" in found.event_types
    assert len(found.event_types) == 64
    assert found.payload_formats == {"CloudEvents"}


def test_a_version_of_thousands_of_digits_is_none() -> None:
    assert parse_version(f"v{'9' * 5000}.1.0") is None
    assert parse_version("v2.16.0-c50c7ddd") == (2, 16, 0)


def test_code_and_message_of_an_error_are_clipped() -> None:
    error = refusal(400, ATTACK, ATTACK, request="GET /api/v2.0/projects")

    assert len(error.code) <= 64
    assert len(str(error)) < 500
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "reply",
    [
        json_answer({"errors": [{"code": ATTACK, "message": ATTACK}]}, status="400 Bad Request"),
        json_answer({"errors": [{"code": 1, "message": [[ATTACK]]}]}, status="500 Broken"),
        answer(b"{}", kind="\x1b[2J" + "k" * 4000),
        answer(b"<html>\x1b[2J", kind="te\x9bxt/html", status="404 Not Found"),
        answer(b"[]", "Location: http://169.254.169.254/\x1b[2J", status="302 Found"),
    ],
    ids=["error", "error of other types", "content type", "page", "redirect"],
)
async def test_no_error_of_a_hostile_harbor_commands_a_terminal(reply: list[bytes]) -> None:
    async with hostile(lambda _: reply) as server:
        transport = Transport(server.url, Credentials("robot", "secret"))

        with pytest.raises(HarborError) as raised:
            await transport.request("GET", "/systeminfo", endpoint="/systeminfo")
        await transport.close()

    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600


async def test_the_version_of_a_hostile_harbor_is_printable() -> None:
    async with hostile(
        lambda _: json_answer({"harbor_version": ATTACK.replace("\ud800", ""), "notification_enable": True})
    ) as server:
        client = HarborClient(Transport(server.url, Credentials("robot", "secret")))
        info = await client.system_info()
        await client.close()

    assert info.harbor_version is not None
    assert info.harbor_version.isprintable()


# Output


def test_conditions_events_and_drift_are_printable() -> None:
    (ready, stalled) = conditions_for(Verdict(Reason.INVALID_SPEC, ATTACK), [], generation=1, now=NOW)
    (row,) = drift_rows([Difference("proxyCache.registry", ATTACK, ATTACK)])

    assert ready.message.isprintable()
    assert len(stalled.message) <= MESSAGE_LIMIT
    assert row.observed.isprintable()
    assert len(row.observed) <= DRIFT_VALUE_LIMIT
    assert _cut(ATTACK).isprintable()
    assert len(_cut(ATTACK).encode()) <= NOTE_LIMIT


def test_a_line_of_the_log_commands_no_terminal() -> None:
    record = logging.LogRecord("harborhook", logging.INFO, "", 1, "Harbor said: %s", (ATTACK,), None)

    line = JsonFormatter().format(record)

    assert line.isprintable()
    assert json.loads(line)["message"] == f"Harbor said: {ATTACK}"


@pytest.mark.parametrize(("format_name", "parsed"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_output_for_programs_is_escaped_and_exact(
    format_name: str, parsed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"message": "a\x1b[2J\x9b\u202eb\U000e0041ü"}

    put_out_as(format_name, said)

    written = capsys.readouterr().out
    assert is_harmless(written)
    assert parsed(written) == said


def test_tables_comments_and_errors_of_commands_are_printable() -> None:
    table = Table(("NAME", "MESSAGE"))
    table.add(ATTACK[:40], ATTACK[:40])

    assert is_harmless(plain([table, Line(ATTACK[:40])]))
    assert is_harmless(commented(ATTACK))


def test_the_error_that_ends_a_command_is_printable() -> None:
    @click.group(cls=_Program)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise FailedError(ATTACK)

    ended = CliRunner().invoke(program, ["fail"])

    assert ended.exit_code == 1
    assert is_harmless(ended.output)
