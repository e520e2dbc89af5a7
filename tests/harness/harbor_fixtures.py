"""Fixtures with a Harbor in them: a real one when the environment names it, a stand-in otherwise.

HARBORHOOK_TEST_HARBOR_URL, _USERNAME and _PASSWORD name a real Harbor and a system administrator of it;
HARBORHOOK_TEST_HARBOR_RECEIVER_URL is where that Harbor reaches a webhook receiver that the tests start. Tests make
things under names of their own and remove them; those that would change or break the whole Harbor are skipped there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from harness.harbor.process import StandIn

_URL = "HARBORHOOK_TEST_HARBOR_URL"
_USERNAME = "HARBORHOOK_TEST_HARBOR_USERNAME"
_PASSWORD = "HARBORHOOK_TEST_HARBOR_PASSWORD"  # the variable's name
_RECEIVER = "HARBORHOOK_TEST_HARBOR_RECEIVER_URL"


@dataclass(frozen=True)
class HarborUnderTest:
    """A Harbor, real or not, and an administrator of it."""

    url: str
    username: str
    password: str
    version: str
    """`2.16` and the like."""
    is_real: bool
    stand_in: StandIn | None
    receiver_url: str | None
    """Where a real Harbor reaches a webhook receiver of the tests; None when nobody said."""

    @property
    def auth(self) -> tuple[str, str]:
        """For httpx."""
        return self.username, self.password


def real_harbor() -> bool:
    """Whether the tests are to run against a real Harbor."""
    return bool(os.environ.get(_URL))


@pytest.fixture(scope="session")
def harbor() -> Iterator[HarborUnderTest]:
    """One Harbor for the whole run; tests use names of their own and clean up after themselves."""
    if real_harbor():
        yield real_harbor_under_test()
        return
    with StandIn.start() as stand_in:
        yield standing_in(stand_in, "2.16")


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in of the test's own, to break, to kill, to fill. Not for tests of what a real Harbor does."""
    with StandIn.start() as found:
        yield found


@pytest.fixture(scope="session")
def harbor_27() -> Iterator[HarborUnderTest]:
    """A Harbor 2.7; always a stand-in."""
    with StandIn.start(version="2.7") as stand_in:
        yield standing_in(stand_in, "2.7")


@pytest.fixture
def stand_in_27() -> Iterator[StandIn]:
    """A Harbor 2.7 of the test's own."""
    with StandIn.start(version="2.7") as found:
        yield found


@pytest.fixture
def faulty_harbor(harbor: HarborUnderTest) -> Iterator[StandIn]:
    """The shared Harbor, with faults that can be injected; they are cleared afterwards."""
    if harbor.stand_in is None:
        pytest.skip("a real Harbor has no faults that a test can order")
    yield harbor.stand_in
    harbor.stand_in.clear_faults()


def standing_in(stand_in: StandIn, version: str) -> HarborUnderTest:
    """A stand-in as the Harbor under test."""
    username, password = stand_in.admin
    return HarborUnderTest(stand_in.url, username, password, version, False, stand_in, "http://127.0.0.1")


def real_harbor_under_test() -> HarborUnderTest:
    """The Harbor that the environment names."""
    url = os.environ[_URL].rstrip("/")
    username, password = os.environ[_USERNAME], os.environ[_PASSWORD]
    answer = httpx.get(f"{url}/api/v2.0/systeminfo", auth=(username, password), verify=False, timeout=30)
    shown = str(answer.json().get("harbor_version", ""))
    version = ".".join(shown.removeprefix("v").split("-")[0].split(".")[:2])
    return HarborUnderTest(url, username, password, version, True, None, os.environ.get(_RECEIVER))
