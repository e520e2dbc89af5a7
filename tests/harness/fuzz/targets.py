"""The parsers as fuzzing targets: functions of one text that raise only on a fault.

A target allows only the exceptions that its parser documents, and checks the result.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from multidict import CIMultiDict

from harborhook.api.deliveries import MESSAGE_LIMIT
from harborhook.clock import YEARS, ServerClock
from harborhook.foreign_text import clip, escaped, printable
from harborhook.harbor import wire_json
from harborhook.harbor.capabilities import parse_version
from harborhook.harbor.client import _id_of_location, _total
from harborhook.harbor.executions import Execution, Job, Task
from harborhook.harbor.models import (
    LARGEST_NUMBER,
    LastTrigger,
    Policy,
    Project,
    Quota,
    Registry,
    Right,
    Supported,
    SystemInfo,
    User,
    parse_time,
)
from harborhook.harbor.payloads import SUBJECT_LIMIT, facts_of, slack_message
from harborhook.harbor.transport import Answer, _seconds
from harborhook.plan.access import allows_harbor, allows_host, host_of, origin_of
from harborhook.plan.failures import Receivers, masked, reason_of, secrets_of
from harborhook.plan.global_switch import switch_request
from harborhook.plan.ownership import foreign_cluster, parse_creator
from harborhook.plan.quantity import format_bytes, parse_quota
from harborhook.plan.redelivery import parse_request
from harborhook.plan.target_values import UnusableError, address_of, header_of

STARTED = datetime(2026, 1, 2, tzinfo=UTC)
QUANTITY_LIMIT = 32
"""Maximum characters of a quota that the API server accepts."""
MODELS: tuple[Callable[[Any], Any], ...] = (
    *(SystemInfo.parse, User.parse, Right.parse, Project.parse, Quota.parse, Registry.parse, Supported.parse),
    *(Policy.parse, LastTrigger.parse, Execution.parse, Job.parse, Task.parse),
)


def quantity(text: str) -> None:
    with suppress(ValueError):
        count = parse_quota(text[:QUANTITY_LIMIT])
        assert count >= -1
        assert format_bytes(count)


def address(text: str) -> None:
    host_of(text)
    origin_of(text)
    assert not allows_host([], text)
    assert not allows_harbor([], text)
    secrets_of([text], [])
    with suppress(UnusableError):
        found = address_of(text.encode(errors="surrogatepass"))
        assert found.isprintable()
        assert found.startswith(("http://", "https://"))


def header(text: str) -> None:
    with suppress(UnusableError):
        assert not set(header_of(text.encode(errors="surrogatepass"))) & set("\r\n\0")


def location(text: str) -> None:
    answer = Answer(201, {"location": text, "x-total-count": text}, None)
    found = _id_of_location(answer)
    assert found is None or 0 <= found <= LARGEST_NUMBER
    assert 0 <= _total(answer) <= LARGEST_NUMBER


def log(text: str) -> None:
    """As a log, and as a receiver's answer within a log."""
    secret = "c4nary-secret"
    known = Receivers(frozenset({"ci.example.com"}), quotable=True, secrets=frozenset({secret}))
    line = "2026-01-02T03:04:05Z [ERROR] [/x.go:1]: exit webhook job, error: abnormal response code: 500, body: "
    for whole in (text, f"{line}{text}", f"{line}{secret}{text}"):
        reason = reason_of(whole, known)
        assert reason.isprintable()
        assert len(reason) <= MESSAGE_LIMIT
        assert secret not in reason
    masked(text, [secret])


def wire(text: str) -> None:
    with suppress(ValueError):
        value = wire_json.parse(text)
        for parse in MODELS:
            parse(value)
            if isinstance(value, list):
                for row in value:
                    parse(row)
        info = SystemInfo.parse(value)
        assert info.harbor_version is None or info.harbor_version.isprintable()
        assert all(name.isascii() for name in Supported.parse(value).event_types)


def switch(text: str) -> None:
    found = switch_request({"enabled": text.encode(errors="surrogatepass")}, ["default"])
    assert found.enabled in (True, False, None)


def annotation(text: str) -> None:
    parse_request(text)
    parse_creator(text)
    foreign_cluster(text, cluster="production")


def retry_after(text: str) -> None:
    found = _seconds(text)
    assert found is None or found >= 0


def date(text: str) -> None:
    clock = ServerClock(monotonic=lambda: 0.0)
    clock.hear(text)
    assert clock.now().year in YEARS
    found = parse_time(text)
    assert found is None or found.utcoffset() == timedelta(0)


def payload(text: str) -> None:
    facts = facts_of(text)
    facts.event("PUSH_ARTIFACT", STARTED)
    slack_message(text)
    assert facts.subject is None or (facts.subject.isprintable() and len(facts.subject) <= SUBJECT_LIMIT)


def version(text: str) -> None:
    found = parse_version(text)
    assert found is None or all(part >= 0 for part in found)


def cookies(text: str) -> None:
    from harborhook.harbor.login import cookies_of

    class Headers(CIMultiDict[str]):
        def get_list(self, name: str) -> list[str]:
            return self.getall(name, [])

    cookies_of(Headers({"set-cookie": text}))  # type: ignore[arg-type]


def shown(text: str) -> None:
    assert len(printable(text)) == len(text)
    assert clip(text).isprintable()
    assert escaped(text).replace("\n", "").isprintable()


TARGETS: dict[str, Callable[[str], None]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        *(quantity, address, header, location, log, wire, switch, annotation, retry_after, date, payload, version),
        *(cookies, shown),
    )
}
