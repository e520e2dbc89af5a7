"""The search for secrets after each end-to-end module, and the detection of used and refused rights."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from harness import trail_of_the_run
from harness.canaries import Canaries
from harness.certificates import Authority
from harness.operator_process import OperatorProcess
from harness.paths import TESTS
from harness.trail import Refusal, Right, Trail
from harness.world import OPERATOR_USER

Object = dict[str, Any]
SECRET = 'c4nary "ä" value/+'


@pytest.fixture
def canaries() -> Canaries:
    found = Canaries()
    found.plant_manifest({"kind": "Secret", "stringData": {"username": "robot$team", "password": SECRET}})
    return found


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        json.dumps({"exception": f"got {SECRET!r}"}),
        json.dumps(SECRET, ensure_ascii=False),
        quote(f"https://ci.example.com/{SECRET}"),
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        *(base64.b64encode(f"{user}:{SECRET}:x".encode()).decode() for user in ("a", "ab", "abc")),
        base64.urlsafe_b64encode(f"admin:{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_found_in_each_form_in_which_it_can_be_shown(canaries: Canaries, shown: str) -> None:
    assert SECRET in canaries.search(f"before{shown}behind")


def test_nothing_is_found_where_nothing_is(canaries: Canaries) -> None:
    assert canaries.search("robot$team logs in; password of Secret c4nary: key password") == []


def test_secrets_are_collected_from_secrets_policies_and_harbors_targets() -> None:
    canaries = Canaries()
    encoded = base64.b64encode(b"Bearer one-value").decode()
    canaries.plant_manifest({"kind": "Secret", "data": {"header": encoded}, "stringData": {"short": "x"}})
    canaries.plant_manifest(
        {"spec": {"targets": [{"address": "https://someone:pass-word@ci.example.com/hook?key=in-query"}]}}
    )
    target = {"address": "http://c4nary.example.com", "auth_header": "Basic in-header"}
    canaries.hear(
        httpx.Request("PUT", "http://harbor/api/v2.0/projects/a/webhook/policies/1", json={"targets": [target]})
    )

    assert canaries.planted == {
        *("Bearer one-value", "one-value"),
        *("someone", "pass-word", "key=in-query", "ci.example.com/hook"),
        *("Basic in-header", "in-header"),
    }


def test_a_private_key_is_found_by_one_line_of_it() -> None:
    canaries = Canaries()
    certificate, key = Authority().issue("operator")
    canaries.plant_manifest({"stringData": {"tls.crt": certificate, "tls.key": key}})

    assert canaries.search(certificate) == []
    assert canaries.search(f"cannot read {key.splitlines()[2]}")


class Plane:
    """The audit log of a control plane."""

    def __init__(self, directory: Path) -> None:
        self.paths = SimpleNamespace(audit_log=directory / "audit.log")

    def audit_position(self) -> int:
        return 0

    def request(self, user: str, verb: str, resource: str, body: Object | None = None, decision: str = "allow") -> None:
        event = {
            "user": {"username": user},
            "verb": verb,
            "requestURI": "/",
            "objectRef": {"resource": resource, "namespace": "team-a"},
            "annotations": {"authorization.k8s.io/decision": decision},
            **({} if body is None else {"requestObject": body}),
        }
        with self.paths.audit_log.open("a") as log:
            log.write(json.dumps(event) + "\n")


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plane:
    """Returns a control plane with an operator, whose log is beside it, and a Secret that a test has written."""
    operator = SimpleNamespace(
        user=OPERATOR_USER,
        log=tmp_path / "operator.log",
        kubeconfig=tmp_path / "gone",
        shown_metrics=lambda: "",
    )
    monkeypatch.setattr(OperatorProcess, "made", [operator])
    found = Plane(tmp_path)
    found.request("admin", "patch", "secrets", {"kind": "Secret", "stringData": {"header": SECRET}})
    return found


@pytest.fixture
def trail(plane: Plane) -> Iterator[Trail]:
    found = Trail()
    found.started(plane)  # type: ignore[arg-type]
    yield found
    found.stopped(plane)  # type: ignore[arg-type]


def test_a_secret_in_what_an_operator_writes_is_found_once(plane: Plane, trail: Trail) -> None:
    plane.request(OPERATOR_USER, "create", "events", {"note": f"the receiver said {SECRET}"})

    leak, *_ = trail.leaks()  # the rest is a leak of one of its words
    assert leak.startswith(f"{SECRET!r} in writes of {OPERATOR_USER}: ")
    assert trail.leaks() == []


def test_a_secret_in_a_log_is_found(trail: Trail, tmp_path: Path) -> None:
    (tmp_path / "operator.log").write_text(json.dumps({"message": SECRET}))

    leak, *_ = trail.leaks()  # the rest is a leak of one of its words
    assert f"in {tmp_path / 'operator.log'}: " in leak


def test_rights_that_are_used_and_those_that_are_refused_are_told_apart(plane: Plane, trail: Trail) -> None:
    plane.request(OPERATOR_USER, "list", "harborprojects")
    plane.request(OPERATOR_USER, "watch", "secrets", decision="forbid")
    plane.request("system:serviceaccount:team-a:somebody", "list", "leases", decision="forbid")

    assert trail.leaks() == []
    assert trail.used == {OPERATOR_USER: {("team-a", Right("harborprojects", "list"))}}
    assert trail.new_refusals() == [Refusal(Right("secrets", "watch"), "team-a", OPERATOR_USER, "")]
    assert trail.new_refusals() == []


def test_unused_rights_count_only_where_all_end_to_end_tests_were_run() -> None:
    run = trail_of_the_run.Run()
    run.used = trail_of_the_run.shipped() - {Right("events", "create")}
    files = [f"tests/e2e/{path.name}" for path in (TESTS / "e2e").glob("test_*.py")]

    run.files.update(files[1:])
    seen = [run.is_whole]
    run.files.update(files)
    assert [*seen, run.is_whole] == [False, True]
    assert run.unused() == {Right("events", "create")}
    assert "[create]" in "\n".join(trail_of_the_run.table(trail_of_the_run.shipped(), run.used))
