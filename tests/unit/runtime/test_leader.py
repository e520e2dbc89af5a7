"""Leader election: one leader at a time, for any behaviour of the clocks and the API server."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harborhook.runtime.leader import Leader, LeadershipLostError
from harness.alone import Clock

Body = dict[str, Any]


class ConflictError(Exception):
    pass


@dataclass
class Cluster:
    """One Lease, with the API server's version checks."""

    lease: Body | None = None
    version: int = 0
    down: bool = False
    lost: bool = False
    """Whether the next answer to a write gets lost."""

    async def read(self) -> Body | None:
        self._check()
        return copy.deepcopy(self.lease)

    async def write(self, body: Body) -> Body:
        self._check()
        named = body["metadata"].get("resourceVersion")
        if named != (self.lease["metadata"]["resourceVersion"] if self.lease else None):
            raise ConflictError
        self.version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self.version)}
        self.lease = copy.deepcopy({**body, "metadata": metadata})
        if self.lost:
            self.lost = False
            raise ConnectionError
        return copy.deepcopy(self.lease)

    def _check(self) -> None:
        if self.down:
            raise ConnectionError("no route to host")

    @property
    def holder(self) -> str | None:
        return self.lease["spec"].get("holderIdentity") if self.lease else None

    def candidate(self, name: str, clock: Callable[[], float], **times: Any) -> Leader:
        return Leader(name, "harborhook", "harborhook", self.read, self.write, clock=clock, **times)


@dataclass
class Fixture:
    cluster: Cluster = field(default_factory=Cluster)
    clock: Clock = field(default_factory=Clock)

    def candidate(self, name: str) -> Leader:
        return self.cluster.candidate(name, self.clock)


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


async def attempt(leader: Leader) -> bool:
    return await leader._attempt(10)


# Taking the lease


async def test_the_first_one_makes_the_lease(fixture: Fixture) -> None:
    leader = fixture.candidate("a")

    assert await attempt(leader)

    assert leader.leads
    assert fixture.cluster.lease is not None
    spec = fixture.cluster.lease["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("a", 15, 0)


async def test_a_second_one_waits_while_the_lease_is_renewed(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    for _ in range(30):
        assert await attempt(first)
        assert not await attempt(second)
        fixture.clock.now += 2

    assert not second.leads


async def test_a_lease_that_nobody_renews_is_taken_when_it_is_over(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    assert not await attempt(second)

    fixture.clock.now += 15
    assert not await attempt(second)
    fixture.clock.now += 0.1
    assert await attempt(second)

    assert fixture.cluster.lease is not None
    assert fixture.cluster.lease["spec"]["leaseTransitions"] == 1


async def test_the_time_in_the_lease_does_not_matter(fixture: Fixture) -> None:
    """The writer's clock may be years off: only the follower's own observations count."""
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    assert fixture.cluster.lease is not None
    fixture.cluster.lease["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"

    assert not await attempt(second)


async def test_the_duration_is_the_holders(fixture: Fixture) -> None:
    first = fixture.cluster.candidate("a", fixture.clock, lease_duration=60)
    second = fixture.candidate("b")
    await attempt(first)
    await attempt(second)

    fixture.clock.now += 59
    assert not await attempt(second)


async def test_of_two_that_take_a_free_lease_one_gets_it(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    both_read = asyncio.Barrier(2)

    async def read() -> Body | None:
        found = await fixture.cluster.read()
        await both_read.wait()
        return found

    first.read = second.read = read

    assert sorted(await asyncio.gather(attempt(first), attempt(second))) == [False, True]


async def test_a_deleted_lease_counts_as_the_last_one_seen(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    await attempt(second)

    fixture.cluster.lease = None

    assert not await attempt(second)
    fixture.clock.now += 16
    assert await attempt(second)


async def test_a_restarted_process_is_somebody_else(fixture: Fixture) -> None:
    await attempt(fixture.candidate("pod_1"))

    assert not await attempt(fixture.candidate("pod_2"))


# Holding it


async def test_the_leader_stops_before_anybody_can_take_over(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    await attempt(second)

    fixture.clock.now += 9.9
    first.check()
    fixture.clock.now += 0.1
    with pytest.raises(LeadershipLostError):
        first.check()
    assert not await attempt(second)


async def test_time_counts_from_before_the_request_that_renewed(fixture: Fixture) -> None:
    leader = fixture.candidate("a")

    async def slow(body: Body) -> Body:
        fixture.clock.now += 9
        return await fixture.cluster.write(body)

    leader.write = slow
    await attempt(leader)

    fixture.clock.now += 1
    assert not leader.leads


async def test_an_answer_that_was_lost_does_not_end_it(fixture: Fixture) -> None:
    leader = fixture.candidate("a")
    await attempt(leader)
    fixture.cluster.lost = True
    fixture.clock.now += 5
    assert not await attempt(leader)

    assert leader.leads
    assert await attempt(leader)


async def test_a_lease_that_somebody_else_has_is_given_up_at_once(fixture: Fixture) -> None:
    leader = fixture.candidate("a")
    await attempt(leader)
    assert fixture.cluster.lease is not None
    fixture.cluster.lease["spec"]["holderIdentity"] = "b"

    await attempt(leader)

    assert not leader.leads


async def test_holding_ends_when_the_api_server_stays_away() -> None:
    cluster = Cluster()
    leader = Leader("a", "n", "l", cluster.read, cluster.write, lease_duration=3, renew_deadline=2, retry_period=0.05)
    await leader.acquire()
    holding = asyncio.create_task(leader.hold())
    while cluster.version < 5:
        assert not holding.done()
        await asyncio.sleep(0.01)

    cluster.down = True

    async with asyncio.timeout(30):
        await holding
    assert not leader.leads


async def test_holding_ends_when_the_api_server_does_not_answer() -> None:
    cluster = Cluster()
    leader = Leader("a", "n", "l", cluster.read, cluster.write, lease_duration=2, renew_deadline=0.5, retry_period=0.1)
    await leader.acquire()
    leader.read = _never

    async with asyncio.timeout(30):
        await leader.hold()
    assert not leader.leads


async def _never() -> Body | None:
    await asyncio.Event().wait()
    return None


async def test_a_follower_reports_it_and_takes_over() -> None:
    cluster = Cluster()
    times = {"lease_duration": 3, "renew_deadline": 2, "retry_period": 0.05}
    first = Leader("a", "n", "l", cluster.read, cluster.write, **times)  # type: ignore[arg-type]
    second = Leader("b", "n", "l", cluster.read, cluster.write, **times)  # type: ignore[arg-type]
    await first.acquire()

    taking = asyncio.create_task(second.acquire())
    while not second.waiting:
        assert not taking.done()
        await asyncio.sleep(0.01)

    async with asyncio.timeout(30):
        await taking
    assert not second.waiting


# Releasing it


async def test_a_released_lease_is_taken_at_once(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    await attempt(second)

    await first.release(5)

    assert not first.leads
    assert fixture.cluster.holder is None
    assert await attempt(second)


async def test_a_follower_releases_nothing(fixture: Fixture) -> None:
    first, second = fixture.candidate("a"), fixture.candidate("b")
    await attempt(first)
    await attempt(second)

    await second.release(5)

    assert fixture.cluster.holder == "a"


@pytest.mark.parametrize("trouble", ["down", "hangs"])
async def test_a_release_that_fails_is_no_error(fixture: Fixture, trouble: str) -> None:
    leader = fixture.candidate("a")
    await attempt(leader)
    fixture.cluster.down = trouble == "down"
    if trouble == "hangs":
        leader.read = _never

    await leader.release(0.1)

    assert not leader.leads


# Never two leaders

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["attempt", "stalled attempt", "release", "down", "up", "delete"]),
        st.floats(0, 8),
    ),
    max_size=60,
)


@given(steps=STEPS)
@settings(max_examples=300, deadline=None)
def test_never_do_two_lead(steps: list[tuple[str, str, float]]) -> None:
    """Any order of attempts, pauses, outages and releases; a Lease may be deleted once all have seen it."""
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, str, float]]) -> None:
    cluster, clock = Cluster(), Clock()
    candidates = {name: cluster.candidate(name, clock) for name in "abc"}

    def stalled(write: Callable[[Body], Awaitable[Body]], seconds: float) -> Callable[[Body], Awaitable[Body]]:
        async def later(body: Body) -> Body:
            clock.now += seconds * 4
            return await write(body)

        return later

    for name, action, seconds in steps:
        candidate = candidates[name]
        if action == "attempt":
            await attempt(candidate)
        elif action == "stalled attempt":
            candidate.write = stalled(cluster.write, seconds)
            await attempt(candidate)
            candidate.write = cluster.write
        elif action == "release":
            await candidate.release(1)
        elif action == "delete":
            cluster.down = False
            for each in [*candidates.values()] * 2:
                await attempt(each)
            cluster.lease = None
        else:
            cluster.down = action == "down"
        assert sum(each.leads for each in candidates.values()) <= 1
        clock.now += seconds


# A restore of etcd


@pytest.mark.parametrize(("holder", "goes_on"), [("a", True), ("former", False), ("", True)])
async def test_after_a_restore_the_leader_goes_on_only_where_the_restored_lease_lets_it(
    fixture: Fixture, holder: str, goes_on: bool
) -> None:
    leader = fixture.candidate("a")
    await attempt(leader)
    assert fixture.cluster.lease is not None
    backup = copy.deepcopy(fixture.cluster.lease)
    backup["spec"]["holderIdentity"] = holder
    fixture.clock.now += 2
    await attempt(leader)

    fixture.cluster.lease, fixture.cluster.version = backup, 1

    assert await attempt(leader) is goes_on
    assert leader.leads is goes_on
