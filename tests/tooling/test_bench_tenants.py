"""Parts of the benchmark's scenarios with several tenants: the hostile servers, the delays, the shares."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from bench.__main__ import _grouped
from bench.attack import HostileHarbors
from bench.hostile_harbors import HUGE, ROWS, huge, pages, throttled
from bench.options import SIZES, Options, Size
from bench.scenarios import SCENARIOS
from bench.spec_changes import delays, shares_of_operator
from bench.stage import BenchError
from harness.control_plane.audit import AuditEntry
from harness.harbor.process import RequestRecord
from harness.hostile import Reply
from harness.world import OPERATOR_USER

LIST = "GET /api/v2.0/projects/a/webhook/policies?page=3&page_size=100 HTTP/1.1"
ONE = "GET /api/v2.0/projects/a HTTP/1.1"
NEW = "POST /api/v2.0/projects HTTP/1.1"
INFO = "GET /api/v2.0/systeminfo HTTP/1.1"


def head(reply: Iterable[bytes]) -> str:
    return next(iter(reply)).decode()


@pytest.mark.parametrize("reply", [throttled, pages, huge])
def test_a_hostile_harbor_looks_like_one_until_it_is_asked_about_projects(reply: Reply) -> None:
    assert head(reply(INFO)).startswith("HTTP/1.1 200 OK")
    assert head(reply(LIST)) != head(reply(INFO))


def test_what_they_answer_about_projects_is_what_they_are_for() -> None:
    assert "429" in head(throttled(ONE))
    assert "Retry-After: 3600" in head(throttled(ONE))
    assert [head(reply(ONE)).split()[1] for reply in (pages, huge)] == ["404", "404"]
    assert [head(reply(NEW)).split()[1] for reply in (pages, huge)] == ["201", "201"]
    page = b"".join(pages(LIST)).decode()
    assert page.count("project_id") == ROWS
    assert f'"project_id": {3 * ROWS}' in page
    assert sum(map(len, huge(LIST))) > HUGE


def test_they_run_and_count_what_they_are_asked() -> None:
    with HostileHarbors() as harbors:
        assert sorted(harbors.urls) == ["huge", "pages", "tarpit", "throttled"]
        assert harbors.asked() == dict.fromkeys(harbors.urls, 0)


def put(path: str, at: float) -> RequestRecord:
    return RequestRecord(1, "PUT", f"/api/v2.0/projects/{path}", "", "", "basic", 200, "harborhook", at)


def test_a_change_has_taken_until_the_first_write_after_it() -> None:
    log = [put("a", 9.0), replace(put("a", 10.5), method="GET"), put("a", 11.0), put("a", 12.0), put("b", 11.5)]
    assert delays({"a": 10.0, "b": 11.0}, log) == [1.0, 0.5]


def test_a_change_that_never_came_is_no_figure() -> None:
    with pytest.raises(BenchError, match="only 1 of 2 changes"):
        delays({"a": 10.0, "b": 11.0}, [put("a", 11.0), put("b", 10.0)])


def patched(name: str, at: float, *, user: str = "admin", subresource: str = "") -> AuditEntry:
    return AuditEntry("patch", "harborprojects", subresource, "bench", name, user, 200, "", at)


def test_the_operator_is_responsible_for_what_follows_the_answer_to_the_change() -> None:
    written = [
        patched("a", 10.5),
        patched("a", 13.0, user=OPERATOR_USER),
        patched("b", 12.5, user=OPERATOR_USER, subresource="status"),
        patched("b", 11.75),
    ]
    # The second one was logged only after the request that it caused.
    assert shares_of_operator({"a": 10.0, "b": 11.0}, [2.0, 0.5], written) == [1.5, 0.0]


def test_scenarios_that_attack_share_their_cluster_with_no_other() -> None:
    groups = [[one.name for one in group] for group in _grouped(SCENARIOS, Options("small"))]
    assert ["neighbour"] in groups
    assert ["shared"] in groups
    assert ["create", "helm"] in groups


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_every_size_has_healthy_connections_and_slow_ones(size: Size) -> None:
    assert 0 < size.slow_connections < size.connections <= size.shared_projects
