"""The known objects stay correct when lists and watch events overlap."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harborhook.api.base import FINALIZER, Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import ClusterHarborConnection, Principal
from harborhook.api.kinds import KINDS
from harborhook.harbor.client import HarborClient
from harborhook.inventory import Inventory, View
from harborhook.kube.gateway import Gateway
from harborhook.plan.references import references
from harborhook.reconcile import changes, claims, worker
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.links import Link
from harborhook.reconcile.secrets import Secrets
from harborhook.reconcile.visit import Visit
from harborhook.runtime.events import Recorder
from harborhook.runtime.queue import Cause, Queue
from harborhook.runtime.store import Store
from harborhook.settings import Settings

CONNECTION = Key("ClusterHarborConnection", "", "default")
OLDER, YOUNGER = Key("HarborProject", "a", "older"), Key("HarborProject", "b", "younger")


class Cluster:
    """An API server: the objects of a list, and changes during it."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self.version = "10"

    def path_of(self, kind: str, namespace: str) -> str:
        return f"{namespace}/{kind}"

    async def list(
        self, kind: str, namespace: str = "", selector: str = "", *, version: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[dict[str, Any]]:
        page = [body for body in self.listed if body["kind"] == kind]
        self.meanwhile()
        for body in page:
            yield body
        version(self.version)

    async def present_version(self) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": self.version}}

    async def patch(self, key: Key, patch: dict[str, Any]) -> dict[str, Any]:
        assert key == CONNECTION
        body = connection()
        metadata = {**body["metadata"], **patch["metadata"], "resourceVersion": "2"}
        return {**body, "metadata": metadata}

    async def data(self, source: Key) -> tuple[str, dict[str, bytes]] | None:
        return None

    async def create_event(self, namespace: str, event: dict[str, Any]) -> None:
        return None


def project(key: Key, minute: int, reason: str = "") -> dict[str, Any]:
    conditions = [
        {
            "type": "Ready",
            "status": "False",
            "reason": reason,
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
    return {
        "kind": key.kind,
        "metadata": {
            "name": key.name,
            "namespace": key.namespace,
            "uid": str(key),
            "generation": 1,
            "resourceVersion": str(minute),
            "creationTimestamp": f"2026-01-01T00:{minute:02}:00Z",
        },
        "spec": {"projectName": "wanted"},
        "status": {"observedGeneration": 1, "conditions": conditions if reason else []},
    }


def connection() -> dict[str, Any]:
    ready = project(CONNECTION, 1, "Reconciled")["status"]["conditions"][0]
    return {
        **project(CONNECTION, 1),
        "spec": {
            "url": "https://harbor.example.com",
            "credentialsSecretRef": {"namespace": "x", "name": "y"},
            "access": [{"namespaces": ["*"], "projects": ["*"]}],
        },
        "status": {"observedGeneration": 1, "conditions": [{**ready, "status": "True"}]},
    }


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def context(cluster: Cluster) -> Context:
    found = Context(
        settings=Settings(),
        store=Store(references),
        queue=Queue(clock=time.monotonic),
        gateway=cast(Gateway, cluster),
        recorder=Recorder(cluster.create_event, instance="test", clock=time.monotonic),
        secrets=Secrets(read=cluster.data, watched=lambda _: True),
        cluster="test",
    )
    changes.saw(found, CONNECTION, connection())
    return found


def link(context: Context) -> Link:
    loaded = context.load(CONNECTION)
    assert isinstance(loaded, ClusterHarborConnection)
    return Link.over(loaded, cast(HarborClient, None), clock=time.monotonic)


async def test_what_is_deleted_while_a_list_is_on_its_way_does_not_come_back(
    context: Context, cluster: Cluster
) -> None:
    body = project(OLDER, 1)
    changes.saw(context, OLDER, body)
    inventory = Inventory(context, View(context.settings))
    cluster.listed = [connection(), body]

    def deleted() -> None:
        inventory.saw_deleted(body)

    cluster.meanwhile = deleted
    await inventory.list_all()

    assert OLDER not in context.store
    assert CONNECTION in context.store


@pytest.mark.parametrize("uid", ["the same", "another"])
async def test_what_the_watch_reports_while_a_list_is_on_its_way_stays(
    context: Context, cluster: Cluster, uid: str
) -> None:
    """It was recreated, or has left the selector and come back: the list shows the moment in between."""
    body, later = project(OLDER, 1), project(OLDER, 2)
    later["metadata"]["uid"] = body["metadata"]["uid"] if uid == "the same" else uid
    changes.saw(context, OLDER, body)
    inventory = Inventory(context, View(context.settings))
    due(context)

    def reported() -> None:
        cluster.meanwhile = lambda: None
        inventory.saw_deleted(body)
        inventory.saw(later)

    for listed in ([connection()], [connection(), body], [connection(), later]):
        cluster.listed, cluster.meanwhile = listed, reported
        await inventory.list_all()

        assert context.store.get(OLDER) == later
        assert OLDER in due(context)
        inventory.saw_deleted(later)
        inventory.saw(body)
        due(context)

    await inventory.list_all()
    assert OLDER in context.store
    cluster.listed = [connection()]
    await inventory.list_all()
    assert OLDER not in context.store


def test_a_deletion_reported_late_does_not_take_the_successor_of_the_same_name(context: Context) -> None:
    former, present = project(OLDER, 1), project(OLDER, 3)
    present["metadata"]["uid"] = "another"
    inventory = Inventory(context, View(context.settings))
    inventory.saw(former)
    inventory.saw(present)

    inventory.saw_deleted(former)

    assert context.store.get(OLDER) == present


async def test_the_first_watch_of_each_kind_continues_the_first_listing(context: Context, cluster: Cluster) -> None:
    inventory = Inventory(context, View(context.settings))
    await inventory.list_all(first=True)
    cluster.version = "20"
    await inventory.list_all()

    assert {inventory.watch_from(f"/{kind}") for kind in KINDS} == {"10"}
    assert not context.doubtful.is_set()


async def test_a_later_watch_that_begins_with_a_list_has_everything_listed(context: Context) -> None:
    inventory = Inventory(context, View(context.settings))
    await inventory.list_all(first=True)
    inventory.watch_from("/HarborProject")

    assert inventory.watch_from("/HarborProject") is None
    assert context.doubtful.is_set()


async def test_a_watch_outside_the_view_needs_its_list_and_no_listing(context: Context) -> None:
    inventory = Inventory(context, View(Settings(watch_namespaces=["team"])))
    await inventory.list_all(first=True)

    assert inventory.watch_from("harborhook/HarborProject") is None
    assert not context.doubtful.is_set()
    assert inventory.watch_from("team/HarborProject") == "10"


# A restored cluster


@pytest.mark.parametrize(
    ("stored", "versions", "restored"),
    [
        (11, ["10"], True),
        (9, ["10", "9"], True),
        (9, ["10", "10", "11"], False),
        (10, ["10"], False),
        (11, ["opaque"], False),
        (11, [""], False),
    ],
)
async def test_a_version_of_the_cluster_that_goes_back_shows_that_it_was_restored(
    context: Context, cluster: Cluster, stored: int, versions: list[str], restored: bool
) -> None:
    inventory = Inventory(context, View(context.settings))
    inventory.saw(project(OLDER, stored))

    for cluster.version in versions:
        await inventory._read_version()

    assert context.is_restored.is_set() is restored


async def test_what_is_seen_while_the_clusters_version_is_read_proves_no_restore(
    context: Context, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = Inventory(context, View(context.settings))

    async def read() -> dict[str, Any]:
        inventory.saw(project(OLDER, 11))
        return {"metadata": {"resourceVersion": "10"}}

    monkeypatch.setattr(cluster, "present_version", read)
    await inventory._read_version()

    assert not context.is_restored.is_set()


@pytest.mark.parametrize("uid", ["the same", "another"])
async def test_an_object_listed_in_an_older_version_shows_that_the_cluster_was_restored(
    context: Context, cluster: Cluster, caplog: pytest.LogCaptureFixture, uid: str
) -> None:
    """The version of the list itself may be higher than before: etcdutl can raise it."""
    inventory = Inventory(context, View(context.settings))
    for key in (OLDER, YOUNGER):
        inventory.saw(project(key, 7))
    restored = [project(key, 5) for key in (OLDER, YOUNGER)]
    for body in restored:
        body["metadata"]["uid"] = body["metadata"]["uid"] if uid == "the same" else uid
    cluster.listed, cluster.version = [connection(), *restored], "1000"

    await inventory.list_all()

    assert context.is_restored.is_set()
    assert len([line for line in caplog.messages if "restored" in line]) == 1


async def test_an_object_that_changes_during_a_listing_proves_no_restore(context: Context, cluster: Cluster) -> None:
    inventory = Inventory(context, View(context.settings))
    inventory.saw(project(OLDER, 1))
    cluster.listed = [connection(), project(OLDER, 1)]
    cluster.meanwhile = lambda: inventory.saw(project(OLDER, 2))

    await inventory.list_all()

    assert not context.is_restored.is_set()


async def holds(context: Context) -> None:
    """Raises the error of a project's visit before it creates something over the connection."""
    resource = context.load(OLDER)
    assert resource is not None
    visit: Visit[Any] = Visit(context, resource, Cause.CHANGE, status=None)
    await claims.hold(visit, link(context))


def due(context: Context) -> dict[Key, Cause]:
    """Takes everything that is due."""
    taken = {}
    while (found := context.queue._take()) is not None:
        key, causes = found
        context.queue.done(key)
        assert isinstance(key, Key)
        taken[key] = causes
    return taken


async def test_a_connection_that_vanished_takes_nobody_with_it(context: Context) -> None:
    changes.saw(context, OLDER, project(OLDER, 1))
    found = link(context)
    changes.forget(context, CONNECTION)
    resource = context.load(OLDER)
    assert resource is not None

    with pytest.raises(NotReady) as refusal:
        await claims.hold(Visit(context, resource, Cause.CHANGE, status=None), found)

    assert refusal.value.verdict.reason is Reason.CONNECTION_NOT_FOUND
    assert OLDER in context.store


async def test_the_connection_gets_its_finalizer_by_its_own_visit_before_anything_is_made_over_it(
    context: Context,
) -> None:
    changes.saw(context, OLDER, project(OLDER, 1))
    due(context)

    with pytest.raises(Wait):
        await holds(context)
    assert due(context) == {CONNECTION: Cause.HOLD}
    await worker._attempt(context, CONNECTION, Cause.HOLD)

    held = context.load(CONNECTION)
    assert held is not None
    assert held.metadata.finalizers == [FINALIZER]
    assert due(context) == {OLDER: Cause.CONNECTION}
    await holds(context)


async def test_nothing_new_is_made_over_a_connection_that_is_being_deleted(context: Context) -> None:
    body = connection()
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "2"}
    changes.saw(context, CONNECTION, body)
    changes.saw(context, OLDER, project(OLDER, 1))

    with pytest.raises(NotReady) as refusal:
        await holds(context)

    assert refusal.value.verdict.reason is Reason.CONNECTION_NOT_READY


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.FORBIDDEN, Reason.HARBOR_REJECTED, Reason.ALREADY_EXISTS])
def test_an_older_claim_that_comes_to_nothing_keeps_nobody_from_the_name(context: Context, reason: Reason) -> None:
    changes.saw(context, OLDER, project(OLDER, 1, reason))
    changes.saw(context, YOUNGER, project(YOUNGER, 2))

    assert claims.project_owner(context, link(context), "wanted", asking=YOUNGER) == YOUNGER


@pytest.mark.parametrize("reason", ["", Reason.HARBOR_UNREACHABLE])
def test_an_older_claim_that_is_still_under_way_goes_first(context: Context, reason: str) -> None:
    changes.saw(context, OLDER, project(OLDER, 1, reason))
    changes.saw(context, YOUNGER, project(YOUNGER, 2))

    assert claims.project_owner(context, link(context), "wanted", asking=YOUNGER) == OLDER


@pytest.mark.parametrize(
    ("watched", "secrets", "source", "expected"),
    [
        ([], True, Key("Secret", "harborhook", "x"), True),
        ([], False, Key("Secret", "harborhook", "x"), False),
        ([], False, Key("ConfigMap", "harborhook", "x"), True),
        (["team"], True, Key("Secret", "team", "x"), True),
        (["team"], True, Key("Secret", "harborhook", "x"), True),
        (["team"], True, Key("ConfigMap", "harborhook", "x"), True),
        (["team"], True, Key("Secret", "other", "x"), False),
    ],
)
def test_values_are_kept_only_where_the_watch_looks(
    watched: list[str], secrets: bool, source: Key, expected: bool
) -> None:
    view = View(Settings(watch_namespaces=watched, watch_secrets=secrets))

    assert view.watches_source(source) is expected


# Claims without an owner


MARK = "harborhook.io/shard"


def marked(key: Key, minute: int, mark: str, origin: str | None = None) -> dict[str, Any]:
    body = project(key, minute)
    body["metadata"]["annotations"] = {MARK: mark}
    if origin is not None:
        body["status"]["origin"] = origin
    return body


@pytest.mark.parametrize(("origin", "owner"), [(None, YOUNGER), ("Created", OLDER)])
def test_what_no_operator_works_on_claims_nothing_before_it_has_its_object(
    context: Context, origin: str | None, owner: Key
) -> None:
    changes.saw(context, OLDER, marked(OLDER, 1, "harborhook/nobody", origin))
    changes.saw(context, YOUNGER, project(YOUNGER, 2))

    assert claims.project_owner(context, link(context), "wanted", asking=YOUNGER) == owner


def test_a_mark_that_comes_or_goes_wakes_the_rivals(context: Context) -> None:
    changes.saw(context, OLDER, project(OLDER, 1))
    changes.saw(context, YOUNGER, project(YOUNGER, 2))
    due(context)

    changes.saw(context, OLDER, marked(OLDER, 3, "harborhook/nobody"))

    assert due(context)[YOUNGER] == Cause.CLAIM


TEAMS = Key("HarborConnection", "a", "own")


def over_own_connection(key: Key, minute: int, origin: str | None = "Adopted") -> dict[str, Any]:
    body = project(key, minute)
    body["spec"]["connectionRef"] = {"kind": "HarborConnection", "name": "own"}
    if origin is not None:
        body["status"]["origin"] = origin
    return body


def own_connection(**spec: Any) -> dict[str, Any]:
    body = connection()
    metadata = {**body["metadata"], "name": TEAMS.name, "namespace": TEAMS.namespace, "resourceVersion": "9"}
    stated = {"url": "https://harbor.example.com", "credentialsSecretRef": {"name": "y"}, **spec}
    return {**body, "kind": TEAMS.kind, "metadata": metadata, "spec": stated}


@pytest.mark.parametrize("origin", [None, "Adopted"])
def test_what_a_team_has_over_its_own_connection_gives_way_to_what_is_granted(
    context: Context, origin: str | None
) -> None:
    changes.saw(context, TEAMS, own_connection())
    changes.saw(context, OLDER, over_own_connection(OLDER, 1, origin))
    changes.saw(context, YOUNGER, project(YOUNGER, 2))

    assert claims.project_owner(context, link(context), "wanted", asking=YOUNGER) == YOUNGER
    assert claims.project_owner(context, link(context), "wanted", asking=OLDER) == YOUNGER


def test_the_aliases_of_a_teams_connection_make_no_claim_on_another_harbor(context: Context) -> None:
    changes.saw(
        context, TEAMS, own_connection(url="https://theirs.example.com", aliases=["https://harbor.example.com"])
    )
    changes.saw(context, OLDER, over_own_connection(OLDER, 1))

    assert claims.project_owner(context, link(context), "wanted") is None


async def test_only_who_may_change_a_project_may_adopt_in_it(context: Context) -> None:
    found = link(context)
    asked: list[int] = []

    async def rights(project_id: int) -> frozenset[str]:
        asked.append(project_id)
        return frozenset({"project:read"})

    found.client = cast(HarborClient, SimpleNamespace(rights=rights))
    found.principal = Principal(name="outsider", kind="User")

    await claims.check_adoptable(found, "library", 1, "project:read")
    with pytest.raises(NotReady) as refusal:
        await claims.check_adoptable(found, "library", 1, "project:update")
    assert refusal.value.verdict.reason is Reason.FORBIDDEN
    assert asked == [1, 1]

    found.principal = Principal(name="admin", kind="SystemAdmin")
    await claims.check_adoptable(found, "library", 1, "project:update")
    assert asked == [1, 1]
