"""The owner of an object in Harbor that several resources claim, and recognising our own objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.api.base import Key
from harborhook.plan.ownership import (
    CREATOR_LIMIT,
    Claim,
    Creator,
    creator,
    foreign_cluster,
    names_resource,
    owner,
    parse_creator,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def claim(
    name: str,
    *,
    namespace: str = "team",
    age: int = 0,
    holds: bool = False,
    eligible: bool = True,
    granted: bool = True,
) -> Claim:
    """A claim by the resource of that name; the greater its age, the older it is."""
    return Claim(Key("HarborProject", namespace, name), START - timedelta(hours=age), holds, eligible, granted)


def test_nobody_owns_what_nobody_claims() -> None:
    assert owner([]) is None


def test_the_only_eligible_claim_wins() -> None:
    assert owner([claim("a")]) == claim("a").key


def test_the_oldest_eligible_claim_wins() -> None:
    assert owner([claim("a", age=1), claim("b", age=3), claim("c", age=2)]) == claim("b").key


def test_an_ineligible_claim_does_not_count_however_old_it_is() -> None:
    assert owner([claim("squatter", age=99, eligible=False), claim("late")]) == claim("late").key


def test_ineligible_claims_alone_have_no_owner() -> None:
    assert owner([claim("a", eligible=False), claim("b", eligible=False)]) is None


def test_who_holds_the_object_wins_over_an_older_claim() -> None:
    assert owner([claim("older", age=99), claim("holder", holds=True)]) == claim("holder").key


def test_who_holds_the_object_keeps_it_while_its_own_claim_is_not_eligible() -> None:
    assert owner([claim("older", age=99), claim("holder", holds=True, eligible=False)]) == claim("holder").key


@pytest.mark.parametrize("holds", [False, True])
def test_a_claim_over_a_teams_own_connection_never_beats_one_that_an_administrator_grants(holds: bool) -> None:
    assert owner([claim("team", age=99, holds=holds, granted=False), claim("granted")]) == claim("granted").key
    assert owner([claim("team", holds=holds, granted=False), claim("granted", eligible=False)]) == claim("team").key


def test_of_two_holders_the_older_one_wins() -> None:
    assert owner([claim("a", age=1, holds=True), claim("b", age=2, holds=True)]) == claim("b").key


@pytest.mark.parametrize("holds", [True, False])
def test_claims_of_the_same_second_are_decided_by_namespace_and_then_by_name(holds: bool) -> None:
    claims = [
        claim("a", namespace="zoo", holds=holds),
        claim("z", namespace="ant", holds=holds),
        claim("b", namespace="ant", holds=holds),
    ]

    assert owner(claims) == Key("HarborProject", "ant", "b")


CLAIMS = st.lists(
    st.builds(
        claim,
        st.sampled_from("abcd"),
        namespace=st.sampled_from(["ant", "zoo"]),
        age=st.integers(0, 3),
        holds=st.booleans(),
        eligible=st.booleans(),
    ),
    unique_by=lambda found: found.key,
    max_size=6,
)


@given(CLAIMS, st.randoms())
def test_the_order_of_the_claims_does_not_matter(claims: list[Claim], random: object) -> None:
    shuffled = list(claims)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert owner(shuffled) == owner(claims)


@given(CLAIMS)
def test_the_owner_is_a_holder_if_there_is_one_and_else_eligible(claims: list[Claim]) -> None:
    winner = next((found for found in claims if found.key == owner(claims)), None)

    holders = [found for found in claims if found.holds]
    eligible = [found for found in claims if found.eligible]
    if winner is None:
        assert not holders
        assert not eligible
    else:
        field = holders or eligible
        assert winner in field
        assert winner.created == min(found.created for found in field)


@given(CLAIMS, CLAIMS)
def test_an_owner_is_not_displaced_by_a_newcomer_once_it_holds_the_object(
    claims: list[Claim], later: list[Claim]
) -> None:
    first = owner([found for found in claims if not found.holds])
    if first is None:
        return
    held = [Claim(c.key, c.created, c.key == first, c.eligible) for c in claims]
    newcomers = [Claim(c.key, c.created, False, c.eligible) for c in later if c.key not in {h.key for h in held}]

    assert owner(held + newcomers) == first


# The mark in Harbor


def test_the_creator_names_cluster_namespace_and_name() -> None:
    assert creator("prod-1", Key("WebhookPolicy", "team-a", "slack")) == "harborhook/prod-1/team-a/slack"


def test_a_policy_of_this_cluster_is_not_foreign() -> None:
    assert foreign_cluster(creator("here", Key("WebhookPolicy", "team-a", "slack")), cluster="here") is None


def test_a_policy_of_another_cluster_names_that_cluster() -> None:
    assert foreign_cluster(creator("there", Key("WebhookPolicy", "team-a", "slack")), cluster="here") == "there"


@pytest.mark.parametrize(
    "found",
    ["", "admin", "robot$harborhook", "harborhook", "harborhook/there", "harborhook/there/a/b/c", "other/there/a/b"],
)
def test_what_a_person_or_another_tool_made_belongs_to_no_cluster(found: str) -> None:
    assert foreign_cluster(found, cluster="here") is None


def test_a_creator_that_has_room_is_not_cut() -> None:
    name = "x" * (CREATOR_LIMIT - len("harborhook/here/team/"))

    assert creator("here", Key("WebhookPolicy", "team", name)) == f"harborhook/here/team/{name}"


@pytest.mark.parametrize("cluster", ["c" * 100, "0b2d8d2c-2a3c-4b0e-9d43-6f1f0b7e6a11"])
def test_a_creator_without_room_is_cut_and_still_names_cluster_and_namespace(cluster: str) -> None:
    """Harbor's column has 256 characters; a longer value is always answered with 500."""
    namespace, name = "n" * 63, "w" * 253

    found = creator(cluster, Key("WebhookPolicy", namespace, name))

    assert len(found) == CREATOR_LIMIT == 255
    assert foreign_cluster(found, cluster="here") == cluster
    made_by = parse_creator(found)
    assert made_by is not None
    assert (made_by.cluster, made_by.namespace) == (cluster, namespace)
    assert made_by.name.startswith("wwwwwwwwww")


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", fullmatch=True)
NAMESPACE = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
CLUSTER = st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True)


@given(CLUSTER, CLUSTER, NAMESPACE, LABEL)
def test_every_mark_is_foreign_exactly_to_other_clusters(here: str, there: str, namespace: str, name: str) -> None:
    mark = creator(there, Key("WebhookPolicy", namespace, name))

    assert foreign_cluster(mark, cluster=here) == (None if here == there else there)


RESOURCE = st.tuples(CLUSTER, NAMESPACE, LABEL)


@given(RESOURCE, RESOURCE)
def test_no_two_resources_have_the_same_mark(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    marks = [creator(cluster, Key("WebhookPolicy", namespace, name)) for cluster, namespace, name in (one, other)]

    assert (marks[0] == marks[1]) == (one == other)


def test_two_long_names_that_begin_alike_have_different_creators() -> None:
    one, other = (creator("c", Key("WebhookPolicy", "n" * 63, "w" * 252 + end)) for end in "ab")

    assert one != other


def test_what_an_operator_wrote_names_the_resource() -> None:
    assert parse_creator(creator("c", Key("WebhookPolicy", "team", "ci"))) == Creator("c", "team", "ci")


# The cluster's name has changed

KEY = Key("WebhookPolicy", "team", "ci")


@pytest.mark.parametrize(
    ("found", "former", "other"),
    [
        ("harborhook/now/team/ci", "before", None),
        ("harborhook/before/team/ci", "before", None),
        ("harborhook/before/team/adopted-from-another-resource", "before", None),
        ("harborhook/elsewhere/team/ci", "before", "elsewhere"),  # taken over there, by the same manifest
        ("harborhook/before/team/ci", None, "before"),  # nothing proves that it was ours
        ("harborhook/before/team/ci", "now", "before"),  # taken over there since we wrote our present name
        ("admin", "before", None),
        ("", "before", None),
    ],
)
def test_only_a_name_that_the_resource_has_seen_on_its_policy_is_a_former_one(
    found: str, former: str | None, other: str | None
) -> None:
    assert foreign_cluster(found, cluster="now", former=former) == other


@pytest.mark.parametrize(
    ("found", "former", "named"),
    [
        ("harborhook/now/team/ci", None, True),
        ("harborhook/before/team/ci", "before", True),
        ("harborhook/before/team/ci", None, False),
        ("harborhook/before/team/other", "before", False),
        ("harborhook/elsewhere/team/ci", "before", False),
        ("admin", "before", False),
    ],
)
def test_a_policy_without_a_known_id_is_found_by_the_whole_creator(found: str, former: str | None, named: bool) -> None:
    assert names_resource(found, KEY, cluster="now", former=former) is named
