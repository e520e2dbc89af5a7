"""The restrictions of a connection: namespaces, projects, hosts of targets."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from harborhook.api.connections import AccessRule
from harborhook.plan.access import allows_harbor, allows_host, allows_project, host_of, matches, names_host, origin_of

NAMESPACE = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
PROJECT = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,3}", fullmatch=True)


def rule(namespaces: list[str], projects: list[str]) -> AccessRule:
    return AccessRule(namespaces=namespaces, projects=projects)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything/at all\n", True),
        ("a", "a", True),
        ("a", "A", False),
        ("a", "ab", False),
        ("a", "ba", False),
        ("a*", "a", True),
        ("a*", "abc", True),
        ("*a", "cba", True),
        ("*a", "ab", False),
        ("a*c", "ac", True),
        ("a*c", "abbc", True),
        ("a*c", "abcb", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*a*", "bab", True),
        ("**", "x", True),
        ("a**b", "ab", True),
        ("*ab*ab*", "ab", False),
        ("*ab*ab*", "abab", True),
        ("a*b*c", "aXbXbXc", True),
        ("a.c", "abc", False),
        ("a?c", "abc", False),
        ("[ab]", "a", False),
        ("a+", "aa", False),
        ("(a|b)", "a", False),
        ("^a$", "a", False),
        ("a", "a\n", False),
    ],
)
def test_only_the_star_is_special_and_the_whole_text_counts(pattern: str, text: str, matched: bool) -> None:
    assert matches(pattern, text) is matched


@given(st.text())
def test_every_text_without_a_star_matches_itself(text: str) -> None:
    assume("*" not in text)

    assert matches(text, text)
    assert not matches(text, text + "x")


@given(st.lists(st.text(alphabet="ab.\n", max_size=3), min_size=1, max_size=4), st.text(alphabet="ab.\n", max_size=8))
@example(["", "a", ""], "a")
def test_a_star_stands_for_any_characters(parts: list[str], text: str) -> None:
    reference = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)

    assert matches("*".join(parts), text) is (reference.fullmatch(text) is not None)


def test_a_pattern_of_many_stars_is_answered_though_it_does_not_match() -> None:
    assert not matches("*a" * 100 + "*b", "a" * 255)


# Projects


@pytest.mark.parametrize(
    ("namespace", "project", "allowed"),
    [
        ("team-a", "team-a", True),
        ("team-a", "team-a.web", True),
        ("team-a", "team-ab", False),
        ("team-a", "team-a-web", False),
        ("team-a", "team-b", False),
        ("team-a", "xteam-a", False),
        ("team-b", "team-a", False),
        ("other", "other", False),
        ("team-", "team-", True),
    ],
)
def test_a_namespace_may_declare_the_projects_of_its_own_name_and_prefix(
    namespace: str, project: str, allowed: bool
) -> None:
    access = [rule(["team-*"], ["{namespace}", "{namespace}.*"])]

    assert allows_project(access, namespace=namespace, project=project) is allowed


def test_one_rule_that_allows_is_enough() -> None:
    access = [rule(["a"], ["x"]), rule(["b"], ["y"])]

    assert allows_project(access, namespace="b", project="y")
    assert not allows_project(access, namespace="b", project="x")
    assert not allows_project(access, namespace="a", project="y")


def test_two_stars_allow_everything_and_no_rule_allows_nothing() -> None:
    assert allows_project([rule(["*"], ["*"])], namespace="any", project="thing")
    assert not allows_project([], namespace="any", project="thing")


def test_the_name_of_a_namespace_is_no_pattern() -> None:
    access = [rule(["*"], ["{namespace}.*"])]

    assert not allows_project(access, namespace="*", project="somebody-elses.project")
    assert not allows_project(access, namespace="te*", project="team.project")


@given(NAMESPACE, NAMESPACE, PROJECT)
def test_nobody_else_reaches_the_projects_behind_a_namespaces_prefix(mine: str, other: str, project: str) -> None:
    access = [rule(["*"], ["{namespace}", "{namespace}.*", "{namespace}_*"])]
    assume(mine != other)

    for name in (mine, f"{mine}.{project}", f"{mine}_{project}"):
        assert allows_project(access, namespace=mine, project=name)
        assert not allows_project(access, namespace=other, project=name)


# Hosts of targets


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "http://hooks.example.com/a/b?c=d#e",
        "https://HOOKS.Example.COM/x",
        "https://hooks.example.com:8443/x",
        "https://user:secret@hooks.example.com/x",
        "https://other.org@hooks.example.com/x",
        "https://hooks.example.com?x=@other.org",
        "https://hooks.example.com#@other.org",
        "https://hooks.example.com/@other.org",
    ],
)
def test_case_port_and_user_info_do_not_matter_to_a_host(address: str) -> None:
    assert host_of(address) == "hooks.example.com"
    assert allows_host(["*.example.com"], address)
    assert allows_host(["Hooks.EXAMPLE.com"], address)
    assert not allows_host(["other.org"], address)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com@evil.org/",
        "https://evil.org/example.com",
        "https://evil.org?example.com",
        "https://evil.org#.example.com",
        "https://a.example.com.evil.org/",
        "https://a.example.com:pw@evil.org/",
        "https://evilexample.com/",
        "https://example.com/",
    ],
)
def test_a_host_is_not_allowed_by_what_stands_elsewhere_in_the_address(address: str) -> None:
    assert not allows_host(["*.example.com"], address)


@pytest.mark.parametrize("pattern", ["[::1]", "::1"])
def test_an_ipv6_address_can_be_allowed_with_and_without_brackets(pattern: str) -> None:
    assert allows_host([pattern], "http://[::1]:8080/x")
    assert not allows_host([pattern], "http://[::2]:8080/x")


def test_without_a_list_every_host_is_allowed_and_with_an_empty_one_none() -> None:
    assert allows_host(None, "not even an address")
    assert not allows_host([], "https://hooks.example.com")


@pytest.mark.parametrize(
    "address",
    ["", "hooks.example.com/x", "/x", "http://", "http:///x", "https://[::1", "https://a]b[/", "mailto:x@example.com"],
)
def test_an_address_without_a_host_is_allowed_by_no_list(address: str) -> None:
    assert not host_of(address)
    assert not allows_host(["*.example.com", "example.com"], address)


@pytest.mark.parametrize(
    "address",
    ["http:///x", "http://", "", "example.com", "https://[::1", "http://user@/x", "http://:80/"],
)
def test_not_even_a_star_allows_an_address_that_has_no_host(address: str) -> None:
    assert not allows_host(["*"], address)


@given(st.one_of(st.text(), st.text(alphabet="htps:/@[]?#\\%.:a1é\n\t ", max_size=30).map("http://".__add__)))
@example("http://\u2100.example.com")
@example("http://a\\@hooks.example.com/")
@example("http://[fe80::1%25eth0]/")
@example("http://hooks.example.com:99999/")
@example("http://hooks.example.com:port/")
@example("http://\ud800/")
def test_no_address_makes_the_comparison_crash(address: str) -> None:
    assert isinstance(allows_host(["*.example.com"], address), bool)
    assert host_of(address) is None or isinstance(host_of(address), str)


# Harbors


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://harbor.example.com", "https://harbor.example.com:443"),
        ("http://Harbor.Example.com/", "http://harbor.example.com:80"),
        ("https://harbor.example.com:8443", "https://harbor.example.com:8443"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]:443"),
        ("https://harbor.example.com:0", "https://harbor.example.com:0"),
        ("https://harbor.example.com:99999", "None"),
        ("https://[x", "None"),
        ("harbor.example.com", "None"),
    ],
)
def test_where_a_harbor_listens_has_always_a_port(url: str, origin: str) -> None:
    assert str(origin_of(url)) == origin


@pytest.mark.parametrize(
    ("pattern", "url", "allowed"),
    [
        ("harbor.example.com", "https://harbor.example.com", True),
        ("harbor.example.com", "http://HARBOR.example.com:80", True),
        ("harbor.example.com", "https://harbor.example.com:8443", False),
        ("harbor.example.com", "http://harbor.example.com:443", False),
        ("harbor.example.com:8443", "https://harbor.example.com:8443", True),
        ("harbor.example.com:8443", "https://harbor.example.com", False),
        ("*.example.com", "https://harbor.example.com:22", False),
        ("*.example.com:*", "https://harbor.example.com:22", True),
        ("[::1]", "https://[::1]", True),
        ("::1", "https://[::1]", True),
        ("[::1]:8443", "https://[::1]:8443", True),
        ("[::1]", "https://[::1]:8443", False),
        ("*", "https://anything.example", True),
        ("*", "https://anything.example:6443", False),
        ("harbor.example.com", "https://[x", False),
    ],
)
def test_a_harbor_is_allowed_by_host_and_port(pattern: str, url: str, allowed: bool) -> None:
    assert allows_harbor([pattern], url) is allowed


@pytest.mark.parametrize(
    ("allowed", "address"),
    [
        ("hooks.example.com", "https://hooks.example.com./x"),
        ("hooks.example.com", "https://hooks%2eexample.com/x"),
        ("hooks.example.com", "https://hooks\u3002example.com/x"),
        ("*.example.com", "https://evil.org.?.example.com"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/x"),
        ("127.0.0.1", "http://2130706433/x"),
        ("127.0.0.1", "http://0x7f.1/x"),
        ("::1", "http://[0:0:0:0:0:0:0:1]/x"),
        ("[2001:db8::1]", "http://[2001:db8::1%25eth0]/x"),
    ],
)
def test_another_spelling_of_an_allowed_host_is_not_allowed(allowed: str, address: str) -> None:
    """Hosts are compared as text: a spelling that means the same to some resolver does not count."""
    assert not allows_host([allowed], address)
    assert not names_host([allowed], address)


@pytest.mark.parametrize("allowed", ["2001:db8::1", "[2001:DB8::1]"])
def test_an_ipv6_address_is_allowed_with_and_without_brackets_and_whatever_its_port(allowed: str) -> None:
    assert allows_host([allowed], "http://user@[2001:DB8::1]:8080/x")
    assert names_host([allowed], "http://[2001:db8::1]/x")
