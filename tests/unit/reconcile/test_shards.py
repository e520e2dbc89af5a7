"""Several operators in one cluster: marks, foreign resources, and the survey before a first claim."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from harborhook.api.base import ANNOTATION_SHARD, FINALIZER, Key
from harborhook.api.connections import ClusterHarborConnection
from harborhook.harbor.client import HarborClient
from harborhook.kube.gateway import Gateway, KubeError
from harborhook.plan.references import project_claim, references
from harborhook.reconcile import changes, claims, shards
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.links import Link
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.visit import Visit
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Cause, Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings
from harness.alone import Clock

OURS, THEIRS = Key("HarborProject", "team", "ours"), Key("HarborProject", "team", "theirs")
CONNECTION, TEAMS = Key("ClusterHarborConnection", "", "default"), Key("HarborConnection", "team", "own")

Body = dict[str, Any]


@dataclass
class Cluster:
    """An API server with HarborProjects; `listings` counts lists of all of them."""

    objects: dict[Key, Body] = field(default_factory=dict)
    listings: int = 0
    pause: asyncio.Event | None = None
    events: list[str] = field(default_factory=list)
    forbidden: bool = False
    """Listing the whole cluster is forbidden."""

    def add(self, key: Key, *, team: str, mark: str | None = None, origin: str | None = None) -> Body:
        body = {
            "kind": key.kind,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.name,
                "generation": 1,
                "resourceVersion": str(len(self.objects) + 1),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"team": team},
                "annotations": {} if mark is None else {ANNOTATION_SHARD: mark},
            },
            "spec": {"projectName": "wanted"},
            "status": {} if origin is None else {"origin": origin, "repositoryCount": 3},
        }
        self.objects[key] = body
        return body

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Body]:
        assert selector == ""
        if namespace == "" and self.forbidden:
            raise KubeError(f"LIST {kind}", 403, "Forbidden")
        objects = [item for item in self.objects.items() if namespace in ("", item[0].namespace)]
        found = [copy.deepcopy(body) for key, body in objects if key.kind == kind]
        self.listings += kind == "HarborProject"
        if self.pause is not None:
            await self.pause.wait()
        for body in found:
            yield body

    async def patch(self, key: Key, patch: Body) -> Body:
        metadata, wanted = self.objects[key]["metadata"], patch["metadata"]
        if wanted["resourceVersion"] != metadata["resourceVersion"]:
            raise KubeError("PATCH", 409, "Conflict")
        for name, value in wanted["annotations"].items():
            metadata["annotations"] = {**metadata["annotations"], name: value}
            if value is None:
                del metadata["annotations"][name]
        metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 100)
        return copy.deepcopy(self.objects[key])

    async def create_event(self, namespace: str, event: Body) -> None:
        self.events.append(event["reason"])

    def mark(self, key: Key) -> str | None:
        found: str | None = self.objects[key]["metadata"]["annotations"].get(ANNOTATION_SHARD)
        return found


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def operator(cluster: Cluster, clock: Clock, **settings: Any) -> Context:
    return Context(
        settings=Settings(**{"shard": "a", "resource_selector": "team=a", "leader_election": True, **settings}),
        store=Store(references),
        queue=Queue(clock=clock),
        gateway=cast(Gateway, cluster),
        recorder=Recorder(cluster.create_event, instance="test", clock=clock),
        secrets=Secrets(read=_nothing, watched=lambda _: True),
        cluster="test",
    )


async def _nothing(source: Key) -> None:
    return None


def visit(context: Context, key: Key) -> Visit[Any]:
    resource = context.load(key)
    assert resource is not None
    return Visit(context, resource, Cause.CHANGE, status=resource.status)


def link() -> Link:
    spec = {
        "url": "https://harbor.example.com",
        "aliases": ["https://old.example.com"],
        "credentialsSecretRef": {"namespace": "harborhook", "name": "harbor"},
        "access": [{"namespaces": ["*"], "projects": ["*"]}],
    }
    body = {"kind": CONNECTION.kind, "metadata": {"name": CONNECTION.name}, "spec": spec}
    return Link.over(ClusterHarborConnection.model_validate(body), cast(HarborClient, None), clock=Clock())


async def waits(context: Context) -> list[Key]:
    """Takes everything that is due."""
    taken = []
    while len(context.queue):
        key, _ = await context.queue.get()
        context.queue.done(key)
        assert isinstance(key, Key)
        taken.append(key)
    return sorted(taken)


# Marks


async def test_an_operator_with_a_name_marks_what_it_works_on(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))

    assert await shards.is_ours(visit(context, OURS))

    assert cluster.mark(OURS) == "harborhook/a"


async def test_of_two_that_mark_at_once_one_succeeds(cluster: Cluster, clock: Clock) -> None:
    first, second = operator(cluster, clock), operator(cluster, clock, shard="b")
    body = cluster.add(OURS, team="a")
    for context in (first, second):
        changes.saw(context, OURS, copy.deepcopy(body))

    assert await shards.is_ours(visit(first, OURS))
    with pytest.raises(KubeError):
        await shards.is_ours(visit(second, OURS))

    assert cluster.mark(OURS) == "harborhook/a"


async def test_another_operators_mark_in_the_answer_to_our_own_write_is_noticed(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a", mark="harborhook/a"))
    await waits(context)
    metadata = cluster.objects[OURS]["metadata"]
    metadata["annotations"][ANNOTATION_SHARD] = "harborhook/b"

    patch = {"metadata": {"annotations": {}, "resourceVersion": metadata["resourceVersion"]}}
    await context.patch(OURS, "ours", patch)

    assert not context.store.knows(OURS, metadata["resourceVersion"])
    changes.saw(context, OURS, cluster.objects[OURS])
    assert await waits(context) == [OURS]


@pytest.mark.parametrize("name", [{"shard": "a"}, {"shard": "", "resource_selector": ""}])
async def test_what_another_has_marked_is_left_alone_and_said_after_a_while(
    cluster: Cluster, clock: Clock, name: dict[str, str]
) -> None:
    context = operator(cluster, clock, **name)
    changes.saw(context, OURS, cluster.add(OURS, team="a", mark="harborhook/b"))

    with pytest.raises(Wait) as wait:
        await shards.is_ours(visit(context, OURS))
    assert cluster.events == []
    clock.now += wait.value.after or 0
    assert not await shards.is_ours(visit(context, OURS))

    assert cluster.events == ["LeftToAnother"]
    assert cluster.mark(OURS) == "harborhook/b"


async def test_a_mark_that_is_taken_away_lets_the_next_one_begin(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    body = cluster.add(OURS, team="a", mark="harborhook/b")
    changes.saw(context, OURS, copy.deepcopy(body))
    await waits(context)

    body["metadata"] |= {"annotations": {}, "resourceVersion": "9"}
    changes.saw(context, OURS, body)

    assert await waits(context) == [OURS]
    assert await shards.is_ours(visit(context, OURS))


async def test_an_operator_without_a_name_marks_nothing(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock, shard="", resource_selector="")
    changes.saw(context, OURS, cluster.add(OURS, team="a"))

    assert await shards.is_ours(visit(context, OURS))

    assert cluster.mark(OURS) is None


async def test_the_mark_is_taken_from_what_has_left_the_selector(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    cluster.add(OURS, team="b", mark="harborhook/a")
    cluster.add(THEIRS, team="b", mark="harborhook/b")

    await shards.survey(context)

    assert (cluster.mark(OURS), cluster.mark(THEIRS)) == (None, "harborhook/b")


async def test_the_mark_stays_while_a_worker_is_still_at_it(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, copy.deepcopy(cluster.add(OURS, team="a", mark="harborhook/a")))
    held, _ = await context.queue.get()
    changes.forget(context, OURS)

    await shards.survey(context)
    assert cluster.mark(OURS) == "harborhook/a"
    assert context.doubtful.is_set()

    context.queue.done(held)
    clock.now += 1
    await shards.survey(context)
    assert cluster.mark(OURS) is None


# Foreign resources


async def test_foreign_resources_are_known_but_never_visited(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))
    cluster.add(THEIRS, team="b", origin="Created")
    await waits(context)

    await shards.survey(context)

    assert await waits(context) == [OURS]  # it has a rival
    assert context.store.dependents(project_claim("wanted")) == [OURS, THEIRS]
    assert context.store.own_dependents(project_claim("wanted")) == [OURS]
    assert context.store.all("HarborProject") == [OURS]
    changes.wake(context, [THEIRS], Cause.CLAIM)
    assert await waits(context) == []


async def test_a_foreign_resource_listed_in_an_older_version_shows_that_the_cluster_was_restored(
    cluster: Cluster, clock: Clock
) -> None:
    context = operator(cluster, clock)
    body = cluster.add(THEIRS, team="b")
    body["metadata"]["resourceVersion"] = "9"
    for version, is_restored in (("9", False), ("10", False), ("8", True)):
        body["metadata"]["resourceVersion"] = version
        await shards.survey(context)
        clock.now += 1

        assert context.is_restored.is_set() is is_restored


async def test_only_what_matters_of_a_foreign_status_is_kept(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    cluster.add(THEIRS, team="b", origin="Created")

    await shards.survey(context)

    assert (context.store.get(THEIRS) or {})["status"] == {"origin": "Created"}


async def test_what_comes_into_the_selector_is_visited(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    body = cluster.add(THEIRS, team="b")
    await shards.survey(context)
    await waits(context)

    changes.saw(context, THEIRS, body)

    assert await waits(context) == [THEIRS]
    assert not context.store.is_foreign(THEIRS)
    await shards.survey(context)
    assert not context.store.is_foreign(THEIRS)


async def test_a_foreign_resource_that_is_gone_is_forgotten_and_its_rival_woken(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))
    cluster.add(THEIRS, team="b", origin="Created")
    await shards.survey(context)
    await waits(context)

    del cluster.objects[THEIRS]
    clock.now += 1
    await shards.survey(context)

    assert THEIRS not in context.store
    assert await waits(context) == [OURS]


# Surveys


async def test_a_first_claim_waits_a_moment_and_then_for_a_new_listing(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))

    with pytest.raises(Wait) as wait:
        await shards.has_surveyed(visit(context, OURS))
    assert cluster.listings == 0
    clock.now += wait.value.after or 0

    assert await shards.has_surveyed(visit(context, OURS))
    assert cluster.listings == 1


@pytest.mark.parametrize("settings", [{}, {"shard": "", "resource_selector": ""}, {"resource_selector": ""}])
async def test_who_has_its_object_or_sees_everything_does_not_look(
    cluster: Cluster, clock: Clock, settings: dict[str, str]
) -> None:
    context = operator(cluster, clock, **settings)
    changes.saw(context, OURS, cluster.add(OURS, team="a", origin=None if settings else "Created"))

    assert not await shards.has_surveyed(visit(context, OURS))
    assert cluster.listings == 0


async def test_one_listing_serves_all_who_asked_before_it_began(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    cluster.pause = asyncio.Event()
    first = asyncio.create_task(shards.survey(context))
    await asyncio.sleep(0.01)
    clock.now += 1
    others = [asyncio.create_task(shards.survey(context)) for _ in range(20)]
    await asyncio.sleep(0.01)
    clock.now += 1

    cluster.pause.set()
    await asyncio.gather(first, *others)

    assert cluster.listings == 2


# By namespaces

ELSEWHERE = Key("HarborProject", "other", "theirs")
BY_NAMESPACES = {"resource_selector": "", "watch_namespaces": ["team"]}


async def test_an_operator_for_some_namespaces_looks_at_the_others(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock, **BY_NAMESPACES)
    cluster.add(OURS, team="a")
    cluster.add(ELSEWHERE, team="b", mark="harborhook/a", origin="Created")

    await shards.survey(context)

    assert context.store.foreign == {ELSEWHERE}, "what is new in our own namespace is for the watch to tell"
    assert cluster.mark(ELSEWHERE) == "harborhook/a", "beyond our namespaces we can change nothing"


async def test_where_it_may_not_look_it_says_so_once_and_nothing_waits(
    cluster: Cluster, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.forbidden = True
    context = operator(cluster, clock, **BY_NAMESPACES)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))

    for _ in range(2):
        await shards.survey(context)
        clock.now += 1

    assert [record.getMessage() for record in caplog.records] == [
        "What others claim in other namespaces is not known from now on: "
        "the Kubernetes API answered LIST HarborProject with 403 Forbidden"
    ]
    assert not await shards.has_surveyed(visit(context, OURS))


async def test_when_it_may_look_at_last_it_does(cluster: Cluster, clock: Clock) -> None:
    cluster.forbidden = True
    context = operator(cluster, clock, **BY_NAMESPACES)
    cluster.add(ELSEWHERE, team="b")
    await shards.survey(context)

    cluster.forbidden = False
    clock.now += 1
    await shards.survey(context)

    assert context.store.foreign == {ELSEWHERE}


async def test_what_it_may_not_list_any_more_stands_as_last_heard(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock, **BY_NAMESPACES)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))
    cluster.add(ELSEWHERE, team="b", origin="Created")
    await shards.survey(context)
    await waits(context)

    cluster.forbidden = True
    clock.now += 1
    await shards.survey(context)
    assert context.store.foreign == {ELSEWHERE}
    assert await waits(context) == [], "nobody is told that the project is free"

    cluster.forbidden = False
    del cluster.objects[ELSEWHERE]
    clock.now += 1
    await shards.survey(context)
    assert context.store.foreign == frozenset()
    assert await waits(context) == [OURS]


async def test_what_is_gone_where_it_may_still_list_is_forgotten(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock, watch_namespaces=["team"])
    for key in (THEIRS, ELSEWHERE):
        cluster.add(key, team="b")
    await shards.survey(context)

    cluster.forbidden = True
    cluster.objects.clear()
    clock.now += 1
    await shards.survey(context)

    assert context.store.foreign == {ELSEWHERE}


@pytest.mark.parametrize(
    ("url", "owner"),
    [("https://HARBOR.example.com/", ELSEWHERE), ("https://old.example.com", ELSEWHERE), ("https://other", None)],
)
async def test_who_holds_a_project_over_a_connection_that_is_not_seen_owns_it(
    cluster: Cluster, clock: Clock, url: str, owner: Key | None
) -> None:
    context = operator(cluster, clock, **BY_NAMESPACES)
    body = cluster.add(ELSEWHERE, team="b", origin="Created")
    body["spec"]["connectionRef"] = {"kind": "HarborConnection", "name": "theirs"}
    body["status"]["connection"] = {"kind": "HarborConnection", "name": "theirs", "url": url}
    await shards.survey(context)

    assert claims.project_owner(context, link(), "wanted") == owner
    del body["status"]["origin"]
    body["metadata"]["resourceVersion"] = "1000"
    clock.now += 1
    await shards.survey(context)
    assert claims.project_owner(context, link(), "wanted") is None


async def test_what_waited_for_a_look_and_was_deleted_is_not_remembered(cluster: Cluster, clock: Clock) -> None:
    context = operator(cluster, clock)
    changes.saw(context, OURS, cluster.add(OURS, team="a"))
    changes.saw(context, THEIRS, cluster.add(THEIRS, team="a", mark="harborhook/b"))
    with pytest.raises(Wait):
        await shards.has_surveyed(visit(context, OURS))
    with pytest.raises(Wait):
        await shards.is_ours(visit(context, THEIRS))

    changes.forget(context, OURS)
    changes.forget(context, THEIRS)

    assert (context.surveys.waiting, context.surveys.left) == ({}, {})


async def test_with_a_selector_in_some_namespaces_it_looks_at_these_at_least(cluster: Cluster, clock: Clock) -> None:
    cluster.forbidden = True
    context = operator(cluster, clock, watch_namespaces=["team"])
    cluster.add(THEIRS, team="b")
    cluster.add(ELSEWHERE, team="b")

    await shards.survey(context)

    assert context.store.foreign == {THEIRS}


# Connections


def test_one_operator_reports_on_connections_and_each_keeps_them_for_itself(cluster: Cluster, clock: Clock) -> None:
    manager = operator(cluster, clock)
    other = operator(cluster, clock, shard="b", manage_connections=False)
    by_namespace = operator(cluster, clock, shard="c", manage_connections=False, resource_selector="")

    assert [context.reports_on(CONNECTION) for context in (manager, other, by_namespace)] == [True, False, False]
    assert [context.reports_on(TEAMS) for context in (manager, other, by_namespace)] == [True, False, True]
    assert other.reports_on(OURS)
    assert (manager.finalizer(CONNECTION), other.finalizer(CONNECTION)) == (FINALIZER, f"{FINALIZER}-b")
    assert other.finalizer(OURS) == FINALIZER
