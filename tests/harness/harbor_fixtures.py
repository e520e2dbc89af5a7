"""Fixtures with a Harbor: a real one if the environment names it, otherwise a stand-in.

HARBORHOOK_TEST_HARBOR_URL, _USERNAME and _PASSWORD name a real Harbor and its system administrator.
HARBORHOOK_TEST_HARBOR_RECEIVER_URL is the address at which that Harbor reaches a webhook receiver of the tests. Tests
use unique names and remove their objects; tests that would change or break the whole Harbor are skipped there.
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
_PASSWORD = "HARBORHOOK_TEST_HARBOR_PASSWORD"  # the name of the variable
_RECEIVER = "HARBORHOOK_TEST_HARBOR_RECEIVER_URL"


@dataclass(frozen=True)
class HarborUnderTest:
    """A Harbor, real or not, and an administrator of it."""

    url: str
    username: str
    password: str
    version: str
    """Such as `2.16`."""
    is_real: bool
    stand_in: StandIn | None
    receiver_url: str | None
    """Address at which a real Harbor reaches a webhook receiver of the tests; None if not stated."""

    @property
    def auth(self) -> tuple[str, str]:
        """Credentials for httpx."""
        return self.username, self.password


def real_harbor() -> bool:
    """Whether the tests run against a real Harbor."""
    return bool(os.environ.get(_URL))


@pytest.fixture(scope="session")
def harbor() -> Iterator[HarborUnderTest]:
    """One Harbor for the whole run; tests use unique names and clean up after themselves."""
    if real_harbor():
        yield real_harbor_under_test()
        return
    with StandIn.start() as stand_in:
        yield standing_in(stand_in, "2.16")


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A stand-in for one test, to break, kill or fill. Not for tests of a real Harbor's behaviour."""
    with StandIn.start() as found:
        yield found


@pytest.fixture(scope="session")
def harbor_27() -> Iterator[HarborUnderTest]:
    """A Harbor 2.7; always a stand-in."""
    with StandIn.start(version="2.7") as stand_in:
        yield standing_in(stand_in, "2.7")


@pytest.fixture
def stand_in_27() -> Iterator[StandIn]:
    """A Harbor 2.7 for one test."""
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
    """Returns a stand-in as the Harbor under test."""
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
