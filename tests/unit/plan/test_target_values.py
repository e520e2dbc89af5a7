"""Addresses and headers from Secrets: usable values, and messages that do not reveal them."""

from __future__ import annotations

import pytest

from harborhook.api.webhook_policy import AppliedSecret
from harborhook.plan.target_values import (
    ResolvedTargets,
    TargetValues,
    UnusableError,
    address_of,
    header_of,
    without_values,
)


@pytest.mark.parametrize("raw", [b"Bearer x", b"Bearer x\n", b"Bearer x\r\n"])
def test_a_header_loses_the_newline_that_editors_leave(raw: bytes) -> None:
    assert header_of(raw) == "Bearer x"


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"Bearer canary\nX: y", "Bearer canaré".encode(), b"canary\x00", b"canary\xff"]
)
def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(raw: bytes) -> None:
    with pytest.raises(UnusableError) as refused:
        header_of(raw)
    assert "canar" not in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.slack.com/services/T/B/x",
        "http://10.0.0.1:8080/x?y=%20z#f",
        "https://user:pass@example.com",
        "https://[::1]:8443/x",
    ],
)
def test_an_address_is_kept_exactly_but_for_the_newline(address: str) -> None:
    assert address_of(f"{address}\n".encode()) == address


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"canary.example.com",
        b"HTTP://canary.example.com",
        b"ftp://canary.example.com",
        b"https://",
        b"https:///canary",
        b"https://canary.example.com/a b",
        b" https://canary.example.com",
        b"https://canary.example.com:port",
        b"https://canary.example.com:99999",
        b"https://canary.example.com:0",
        b"https://canary.example.com/%zz",
        b"https://[canary",
        b"https://canary.example.com/\x00",
        b"https://canary.example.com/\xff",
        b"https://canary.example.com/a\nhttps://b",
        b"https://canary.example.com/" + b"x" * 2048,
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(raw: bytes) -> None:
    with pytest.raises(UnusableError) as refused:
        address_of(raw)
    assert "canary" not in str(refused.value)


def test_values_show_in_no_repr_and_in_no_message_that_quotes_them() -> None:
    values = TargetValues("https://hooks.example.com/services/canary-path?token=canary-token", "Bearer canary-header")
    said = f"refused: {values.address} with {values.header}"

    assert "canary" not in repr(values)
    assert "canary" not in without_values(said, [values])
    assert "refused" in without_values(said, [values])


# Changed Secrets


def resolved(header: str, version: str) -> ResolvedTargets:
    return ResolvedTargets((TargetValues("https://ci.example.com", header),), {"ci": version})


def recorded(version: str) -> list[AppliedSecret]:
    return [AppliedSecret(name="ci", resource_version=version)]


@pytest.mark.parametrize(
    ("now", "in_status", "remembered", "changed"),
    [
        (resolved("one", "5"), recorded("5"), resolved("one", "5"), False),
        (resolved("one", "5"), recorded("5"), None, False),  # after a restart
        (resolved("two", "6"), recorded("5"), resolved("one", "5"), True),
        (resolved("one", "6"), recorded("5"), resolved("one", "5"), False),  # rewritten without a change
        (resolved("one", "6"), recorded("5"), None, True),  # the applied value is unknown
        # Another operator has worked on the resource meanwhile: this one's memory is outdated.
        (resolved("one", "6"), recorded("5"), resolved("one", "4"), True),
        (resolved("one", "5"), [], None, True),
        (ResolvedTargets((TargetValues("https://ci.example.com"),)), [], None, False),
    ],
)
def test_a_secret_that_was_written_again_without_a_change_has_not_changed(
    now: ResolvedTargets, in_status: list[AppliedSecret], remembered: ResolvedTargets | None, changed: bool
) -> None:
    assert now.have_changed(in_status, remembered) is changed
    assert "one" not in repr(now)
