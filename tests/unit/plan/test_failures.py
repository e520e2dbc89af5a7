"""The reason of a failure from recorded logs of Harbor's job service, and the parts that must never be shown."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.deliveries import MESSAGE_LIMIT
from harborhook.plan.failures import ANSWER_LIMIT, LOG_GONE, Receivers, reason_of, receivers
from harness.paths import DATA

RECORDINGS = DATA / "deliveries"
UNKNOWN = Receivers()
START = "2026-11-25T01:33:31Z [INFO] [/src/x/webhook_job.go:73]: start to run webhook job\n"
EXIT = "2026-11-25T01:33:31Z [ERROR] [/src/x/webhook_job.go:76]: exit webhook job, error: "

REASONS = {
    "0305-log-e500": "the receiver answered with status 500",
    "0311-log-closed": "127.0.0.1:19999: dial tcp 127.0.0.1:19999: connect: connection refused",
    "0320-log-slow": ("127.0.0.1:19000: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"),
    "0326-log-noscheme": "parse …: first path segment in URL cannot contain colon",
    "0329-log-badport": "127.0.0.1:99999: dial tcp: address 99999: invalid port",
    "0406-auth-header-newline-log": '127.0.0.1:19000: net/http: invalid header field value for "Authorization"',
    "0990-log2-dns": "no-such-host.invalid: dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: no such host",
    "0997-log2-tls-self": "localhost:19443: tls: failed to verify certificate: x509: certificate signed by unknown",
    "0999-log2-tls-name": "127.0.0.1:19443: tls: failed to verify certificate: x509: cannot validate certificate for",
    "1004-log2-loop": "stopped after 10 redirects",
    "1005-log2-r404": "the receiver answered with status 404",
    "1008-log2-html503": "the receiver answered with status 503",
    "1009-log2-echo401": "the receiver answered with status 401",
    "1010-log2-close": "127.0.0.1:19081: EOF",
    "1018-log2-slack500": "the receiver answered with status 500",
    "1103-log2-badhdr": '127.0.0.1:19000: net/http: invalid header field value for "Authorization"',
    "1104-log2-lead": "parse 127.0.0.1:19000: first path segment in URL cannot contain colon",
    "1105-log2-nohost": "http: no Host in request URL",
}


def recorded(name: str) -> str:
    return str(json.loads((RECORDINGS / f"{name}.json").read_text())["response"]["body"])


def listing(*hosts: str) -> ClusterHarborConnection:
    return ClusterHarborConnection.model_validate(
        {
            "metadata": {"name": "default"},
            "spec": {
                "url": "https://harbor.example.com",
                "credentialsSecretRef": {"namespace": "harborhook", "name": "harbor"},
                "access": [{"namespaces": ["*"], "projects": ["*"]}],
                **({"allowedTargetHosts": list(hosts)} if hosts else {}),
            },
        }
    )


def answered(body: str) -> str:
    return f"{START}{EXIT}abnormal response code: 401, body: {body}\n"


@pytest.mark.parametrize("name", sorted(REASONS))
def test_the_cause_is_told_and_nothing_else(name: str) -> None:
    reason = reason_of(recorded(name), UNKNOWN)
    assert reason.startswith(REASONS[name])
    assert len(reason) <= MESSAGE_LIMIT
    for secret in ("/x", "/hook", "/slow", "/noscheme", "/lead", "s3cret", "sha256", "PUSH_ARTIFACT", "\n"):
        assert secret not in reason


def test_a_log_without_an_error_has_no_cause() -> None:
    assert reason_of(recorded("0293-log-ok"), UNKNOWN) == LOG_GONE
    assert reason_of("", UNKNOWN) == LOG_GONE


def test_the_rest_of_an_older_log_that_sticks_out_is_not_read() -> None:
    older = f"{EXIT}abnormal response code: 500, body: old and long\n"
    newer = f'{EXIT}error to send request: Post "http://a.example/x": EOF\n'
    assert reason_of(newer + older[len(newer) // 2 :], UNKNOWN) == "a.example: EOF"


def test_the_only_host_is_named() -> None:
    known = receivers(listing(), ["https://ci.example.com:8443/x", "https://ci.example.com/y"], [])
    assert reason_of(recorded("0305-log-e500"), known) == "ci.example.com answered with status 500"


def test_the_answer_is_quoted_only_for_hosts_that_are_listed() -> None:
    log = recorded("0305-log-e500")
    quoted = "ci.example.com answered with status 500: receiver answered 500"
    address = ["https://ci.example.com/x"]
    assert reason_of(log, receivers(listing("*.example.com"), address, [])) == quoted
    assert quoted not in reason_of(log, receivers(listing("other.example.org"), address, []))
    assert quoted not in reason_of(log, receivers(listing("*"), address, []))
    assert quoted not in reason_of(log, receivers(listing(), address, []))


def test_a_redirect_to_another_host_shows_that_host_only() -> None:
    log = f'{EXIT}error to send request: Get "https://u:p@other.example/a?b=c": dial tcp: lookup x: no such host\n'
    assert reason_of(log, UNKNOWN) == "other.example: dial tcp: lookup x: no such host"


def test_what_a_receiver_wrote_into_an_error_is_not_shown() -> None:
    log = f'{EXIT}error to send request: Post "http://a.example/x": malformed HTTP status code "s3cret"\n'
    assert reason_of(log, UNKNOWN) == "a.example: malformed HTTP status code …"


HEADER = "Basic dXNlcjpzM2NyZXQtd29yZA=="
ADDRESS = "https://bob:pa55word@ci.example.com/services/T0K3N/path?key=qu3ry-value"


@pytest.mark.parametrize(
    "echo",
    [
        f"no entry for {HEADER}",
        "dXNlcjpzM2NyZXQtd29yZA==",
        "who is user with s3cret-word?",
        "POST /services/T0K3N/path?key=qu3ry-value",
        "path T0K3N",
        "key qu3ry-value",
        "bob:pa55word",
        "Authorization: whatever was sent",
        '{"authorization": "x"}',
        "see https://elsewhere.example/with/path?and=query",
    ],
)
def test_an_answer_that_sends_secrets_back_shows_none(echo: str) -> None:
    known = receivers(listing("*.example.com"), [ADDRESS], [HEADER])
    reason = reason_of(answered(echo), known)
    assert reason.startswith("ci.example.com answered with status 401")
    for secret in ("dXNlcjpz", "s3cret", "T0K3N", "qu3ry", "pa55word", "whatever", "with/path"):
        assert secret not in reason


BARE = "q7Zk2pLw9XvB4nTr8sYd"
"""As for Kargo and Argo CD Image Updater: the whole header is the secret, without a scheme."""


@pytest.mark.parametrize(
    "echo",
    [
        BARE,
        f"token {BARE} is wrong",
        f"'{BARE}': no such token",
        f"unknown token {BARE[:8]}...",
        f"unknown token …{BARE[-9:]}",
        f"no entry for {BARE.lower()}",
        f"got=[{BARE.upper()}]",
        f"<b>{BARE}</b>",
        f'"{BARE}" does not match',
        f"Authorization: {BARE}",
        f"401 for /{'a1' * 32}",
        f"401 for {'A1' * 32}",
    ],
)
def test_a_header_without_a_scheme_and_a_secret_path_are_never_quoted(echo: str) -> None:
    known = receivers(listing("*.example.com"), [f"https://kargo.example.com/{'a1' * 32}"], [BARE])
    reason = reason_of(answered(echo), known)
    assert reason.startswith("kargo.example.com answered with status 401")
    for part in (BARE[:8], BARE[-8:], "a1a1"):
        assert part.lower() not in reason.lower()


def test_words_that_everybody_knows_are_quoted_although_an_address_has_them() -> None:
    known = receivers(listing("*.example.com"), ["https://kargo.example.com/webhooks/harbor/s3cret"], [BARE])
    assert reason_of(answered("no handler for webhooks"), known).endswith("status 401: no handler for webhooks")


def test_a_recorded_echo_is_masked() -> None:
    known = receivers(listing("ci.example.com"), ["https://ci.example.com/x"], ["Bearer s3cret-token"])
    assert reason_of(recorded("1009-log2-echo401"), known) == (
        "ci.example.com answered with status 401: no entry for ***"
    )


def test_secrets_show_in_no_repr() -> None:
    assert "s3cret" not in repr(receivers(listing(), [ADDRESS], ["Bearer s3cret-token"]))


@given(st.text(), st.text(min_size=4).filter(lambda text: text.strip() == text and "*" not in text))
def test_every_answer_of_a_receiver_fits_on_a_short_line(body: str, token: str) -> None:
    known = receivers(listing("ci.example.com"), ["https://ci.example.com/"], [f"Bearer {token}"])
    reason = reason_of(answered(body), known)
    assert reason.isprintable()
    assert len(reason) <= ANSWER_LIMIT + 60


@given(st.text())
def test_no_log_is_too_strange(log: str) -> None:
    assert len(reason_of(EXIT + log, UNKNOWN)) <= MESSAGE_LIMIT
