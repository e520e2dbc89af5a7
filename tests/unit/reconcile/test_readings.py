"""Readings that many resources share, and the fallback if Harbor refuses a list."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import ForbiddenError, HarborError, NotHarborError, ServerError, UnreachableError
from harborhook.harbor.models import Project
from harborhook.reconcile.readings import UNREADABLE_FOR, Readings
from harness.alone import Clock

ONE = Project(1, "one")


class Harbor:
    """Has one project; `error` is the answer to a list."""

    def __init__(self) -> None:
        self.error: HarborError | None = None
        self.asked: list[str] = []
        self.pause: asyncio.Event | None = None

    async def projects(self) -> list[Project]:
        self.asked.append("list")
        if self.pause is not None:
            await self.pause.wait()
        if self.error is not None:
            raise self.error
        return [ONE]

    async def project(self, name: str) -> Project | None:
        self.asked.append(name)
        return ONE if name == "one" else None


@pytest.fixture
def harbor() -> Harbor:
    return Harbor()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def readings(harbor: Harbor, clock: Clock) -> Readings:
    return Readings(cast(HarborClient, harbor), clock)


async def test_a_reading_serves_all_until_a_row_of_it_is_written(harbor: Harbor, readings: Readings) -> None:
    assert [await readings.project(name, shared=True) for name in ("one", "two", "one")] == [ONE, None, ONE]
    assert harbor.asked == ["list"]

    readings.project_written("one")
    await readings.project("one", shared=True)
    await readings.project("two", shared=True)

    assert harbor.asked == ["list", "one"]


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("No answer in time."),
        NotHarborError("A proxy's page"),
        ServerError(500, "UNKNOWN", "internal server error", request="GET /api/v2.0/projects"),
    ],
)
async def test_without_the_list_rows_are_read_one_by_one_and_the_list_is_tried_again_later(
    harbor: Harbor, readings: Readings, clock: Clock, error: HarborError
) -> None:
    harbor.error = error

    assert [await readings.project(name, shared=True) for name in ("one", "two")] == [ONE, None]
    assert harbor.asked == ["list", "one", "two"]
    clock.now += UNREADABLE_FOR
    harbor.error = None
    assert [await readings.project(name, shared=True) for name in ("one", "two")] == [ONE, None]

    assert harbor.asked == ["list", "one", "two", "list"]


async def test_nobody_waits_for_another_attempt_at_a_list_that_failed(
    harbor: Harbor, readings: Readings, clock: Clock
) -> None:
    harbor.error = UnreachableError("No answer in time.")
    await readings.project("one", shared=True)
    clock.now += UNREADABLE_FOR
    harbor.pause = asyncio.Event()
    attempt = asyncio.create_task(readings.project("one", shared=True))
    await asyncio.sleep(0)

    assert await asyncio.wait_for(readings.project("two", shared=True), timeout=1) is None

    harbor.pause.set()
    assert await attempt == ONE


async def test_a_list_that_nothing_replaces_is_read_again_by_each_visit_after_a_failure(
    harbor: Harbor, readings: Readings
) -> None:
    """The pauses between the visits are enough; a failure must not outlive an outage by two minutes."""
    other: Any = harbor
    other.policies, other.registries = (lambda _: harbor.projects()), harbor.projects
    for read in (lambda: readings.policies("one"), lambda: readings.registries(shared=True)):
        harbor.error = UnreachableError("No answer in time.")
        with pytest.raises(UnreachableError):
            await read()

        harbor.error = None
        assert len(await read()) == 1


async def test_a_missing_permission_to_list_is_reported(harbor: Harbor, readings: Readings) -> None:
    harbor.error = ForbiddenError(403, "FORBIDDEN", "no", request="GET /api/v2.0/projects")

    with pytest.raises(ForbiddenError):
        await readings.project("one", shared=True)


async def test_another_client_is_not_served_from_what_the_one_before_has_read(
    harbor: Harbor, readings: Readings
) -> None:
    await readings.project("one", shared=True)
    other: Any = Harbor()

    readings.client = other
    readings.forget()
    await readings.project("one", shared=True)

    assert other.asked == ["list"]
