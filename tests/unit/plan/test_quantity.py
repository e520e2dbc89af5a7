"""Storage quotas are exact: a quantity becomes bytes as in Kubernetes, and the shown value can be parsed again."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harborhook.plan.quantity import format_bytes, parse_quota


@pytest.mark.parametrize(
    ("stated", "count"),
    [
        ("unlimited", -1),
        ("50Gi", 53_687_091_200),
        ("1.5Gi", 1_610_612_736),
        ("50G", 50_000_000_000),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1024Ti", 1_125_899_906_842_624),
        ("1Pi", 1_125_899_906_842_624),
        (1, 1),
        (1_125_899_906_842_624, 1_125_899_906_842_624),
        ("123", 123),
        ("0.1", 1),
        ("0.0000000000001Ki", 1),
        ("1.0000000000000000000000000001", 2),
    ],
)
def test_a_quantity_is_exact_and_a_fraction_of_a_byte_is_rounded_up(stated: int | str, count: int) -> None:
    assert parse_quota(stated) == count


@pytest.mark.parametrize("stated", ["", "-1", "1e3", "5 Gi", "Gi", "1.Gi", ".5Gi", "1Ei", "0x10", "١"])
def test_what_the_api_server_refuses_is_refused_here_too(stated: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quota(stated)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(-1, "unlimited"), (0, "0"), (1023, "1023"), (1536, "1536"), (2**30 * 50, "50Gi"), (2**50, "1Pi")],
)
def test_bytes_are_shown_with_the_largest_suffix_that_is_exact(count: int, shown: str) -> None:
    assert format_bytes(count) == shown


@given(st.integers(min_value=1, max_value=2**50))
def test_what_is_shown_is_read_back_as_the_same_number(count: int) -> None:
    assert parse_quota(format_bytes(count)) == count


@given(
    st.integers(min_value=0, max_value=10**6),
    st.text("0123456789", min_size=1, max_size=20),
    st.sampled_from(["", *"kMGTP", "Ki", "Mi", "Gi", "Ti", "Pi"]),
)
def test_rounding_never_gives_less_than_stated_nor_a_whole_byte_more(whole: int, fraction: str, suffix: str) -> None:
    factors = {"": 1} | {name: 1000**power for power, name in enumerate("kMGTP", 1)}
    factors |= {f"{name}i": 1024**power for power, name in enumerate("KMGTP", 1)}
    exact = Fraction(f"{whole}.{fraction}") * factors[suffix]
    assert 0 <= parse_quota(f"{whole}.{fraction}{suffix}") - exact < 1
