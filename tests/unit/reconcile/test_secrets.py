"""Values from Secrets: read when needed, cached until the watch reports a change, missing ones with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.reconcile.secrets import Data, Secrets

SECRET = Key("Secret", "team", "hooks")
CONFIG_MAP = Key("ConfigMap", "team", "ca")


@dataclass
class Cluster:
    """The API server's objects, and the number of reads."""

    watched: Iterable[str] = ("Secret", "ConfigMap")
    objects: dict[Key, tuple[str, Data]] = field(default_factory=dict, repr=False)
    reads: list[Key] = field(default_factory=list)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self.secrets = Secrets(read=self._read, watched=lambda key: key.kind in self.watched)

    async def _read(self, key: Key) -> tuple[str, Data] | None:
        self.reads.append(key)
        if self.failure is not None:
            raise self.failure
        return self.objects.get(key)

    def has(self, key: Key, version: str, **data: bytes) -> None:
        self.objects[key] = version, data

    async def reason_for(self, key: Key, name: str) -> tuple[Reason, str]:
        """Returns the reason why there is no such value."""
        with pytest.raises(NotReady) as refusal:
            await self.secrets.value(key, name)
        return refusal.value.verdict.reason, refusal.value.verdict.message


@pytest.fixture
def cluster() -> Cluster:
    found = Cluster()
    found.has(SECRET, "1", header=b"Bearer one", other=b"x")
    return found


async def test_a_value_is_given_as_it_is(cluster: Cluster) -> None:
    cluster.has(SECRET, "1", header=b"line\n\xff", empty=b"")

    assert await cluster.secrets.value(SECRET, "header") == b"line\n\xff"
    assert await cluster.secrets.value(SECRET, "empty") == b""


async def test_a_secret_is_read_once_for_all_its_keys_and_users(cluster: Cluster) -> None:
    for _ in range(3):
        await cluster.secrets.value(SECRET, "header")
        await cluster.secrets.value(SECRET, "other")

    assert cluster.reads == [SECRET]


async def test_a_value_is_kept_until_the_watch_tells_of_another_version(cluster: Cluster) -> None:
    await cluster.secrets.value(SECRET, "header")
    cluster.has(SECRET, "2", header=b"Bearer two")

    assert await cluster.secrets.value(SECRET, "header") == b"Bearer one"
    assert cluster.secrets.saw(SECRET, "1") is False
    assert await cluster.secrets.value(SECRET, "header") == b"Bearer one"

    assert cluster.secrets.saw(SECRET, "2") is True
    assert await cluster.secrets.value(SECRET, "header") == b"Bearer two"
    assert cluster.reads == [SECRET, SECRET]


async def test_the_watch_is_told_once_that_a_used_value_changed(cluster: Cluster) -> None:
    await cluster.secrets.value(SECRET, "header")

    assert cluster.secrets.saw(SECRET, "2") is True
    assert cluster.secrets.saw(SECRET, "3") is False


async def test_a_secret_that_nobody_used_changes_nothing(cluster: Cluster) -> None:
    assert cluster.secrets.saw(SECRET, "2") is False
    assert cluster.secrets.saw(SECRET, None) is False
    assert cluster.reads == []


async def test_the_version_that_was_read_is_no_news_when_the_watch_brings_it_later(cluster: Cluster) -> None:
    cluster.has(SECRET, "2", header=b"Bearer two")
    await cluster.secrets.value(SECRET, "header")

    assert cluster.secrets.saw(SECRET, "2") is False


# Missing objects


async def test_a_missing_secret_is_a_reason_that_names_it(cluster: Cluster) -> None:
    gone = Key("Secret", "team", "gone")

    reason, message = await cluster.reason_for(gone, "header")

    assert reason is Reason.SECRET_NOT_FOUND
    assert "Secret team/gone" in message


async def test_a_missing_config_map_is_called_one(cluster: Cluster) -> None:
    reason, message = await cluster.reason_for(CONFIG_MAP, "ca.crt")

    assert reason is Reason.SECRET_NOT_FOUND
    assert "ConfigMap team/ca" in message


async def test_a_missing_key_is_a_reason_that_names_it_and_shows_no_value(cluster: Cluster) -> None:
    reason, message = await cluster.reason_for(SECRET, "missing")

    assert reason is Reason.SECRET_KEY_MISSING
    assert "Secret team/hooks" in message
    assert "'missing'" in message
    assert "Bearer" not in message


async def test_that_a_secret_is_missing_is_remembered_until_it_appears(cluster: Cluster) -> None:
    gone = Key("Secret", "team", "gone")
    for _ in range(2):
        await cluster.reason_for(gone, "header")
    assert cluster.reads == [gone]

    cluster.has(gone, "7", header=b"x")
    assert cluster.secrets.saw(gone, "7") is True
    assert await cluster.secrets.value(gone, "header") == b"x"


async def test_a_deleted_secret_is_missing_from_then_on(cluster: Cluster) -> None:
    await cluster.secrets.value(SECRET, "header")
    del cluster.objects[SECRET]

    assert cluster.secrets.saw(SECRET, None) is True
    assert (await cluster.reason_for(SECRET, "header"))[0] is Reason.SECRET_NOT_FOUND
    assert cluster.secrets.saw(SECRET, None) is False


async def test_a_key_that_is_added_later_is_found(cluster: Cluster) -> None:
    await cluster.reason_for(SECRET, "late")
    cluster.has(SECRET, "2", late=b"now")
    cluster.secrets.saw(SECRET, "2")

    assert await cluster.secrets.value(SECRET, "late") == b"now"


async def test_a_failed_read_is_not_remembered(cluster: Cluster) -> None:
    cluster.failure = RuntimeError("the API server is away")
    with pytest.raises(RuntimeError):
        await cluster.secrets.value(SECRET, "header")

    cluster.failure = None
    assert await cluster.secrets.value(SECRET, "header") == b"Bearer one"


# Kinds that are not watched


async def test_what_is_not_watched_is_read_each_time() -> None:
    cluster = Cluster(watched=["ConfigMap"])
    cluster.has(SECRET, "1", header=b"Bearer one")
    assert await cluster.secrets.value(SECRET, "header") == b"Bearer one"

    cluster.has(SECRET, "2", header=b"Bearer two")

    assert await cluster.secrets.value(SECRET, "header") == b"Bearer two"
    assert cluster.secrets.saw(SECRET, "2") is False


async def test_a_kind_that_is_watched_is_kept_beside_one_that_is_not() -> None:
    cluster = Cluster(watched=["ConfigMap"])
    cluster.has(SECRET, "1", value=b"s")
    cluster.has(CONFIG_MAP, "1", value=b"c")
    for _ in range(2):
        await cluster.secrets.value(SECRET, "value")
        await cluster.secrets.value(CONFIG_MAP, "value")

    assert cluster.reads == [SECRET, CONFIG_MAP, SECRET]


# No secrets in texts


async def test_no_repr_shows_a_value(cluster: Cluster) -> None:
    await cluster.secrets.value(SECRET, "header")

    assert "Bearer" not in repr(cluster.secrets)


async def test_a_change_that_is_told_while_the_old_value_is_on_its_way_is_not_lost(cluster: Cluster) -> None:
    read, gate = cluster.secrets.read, asyncio.Event()

    async def slowly(key: Key) -> tuple[str, Data] | None:
        found = await read(key)
        await gate.wait()
        return found

    cluster.secrets.read = slowly
    reading = asyncio.create_task(cluster.secrets.value(SECRET, "header"))
    await asyncio.sleep(0)
    cluster.has(SECRET, "2", header=b"Bearer two")

    told = cluster.secrets.saw(SECRET, "2")

    gate.set()
    assert await reading == b"Bearer one"
    assert told
    assert await cluster.secrets.value(SECRET, "header") == b"Bearer two"
    assert len(cluster.reads) == 2
    await cluster.secrets.value(SECRET, "header")
    assert len(cluster.reads) == 2
