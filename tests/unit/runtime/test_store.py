"""The store of observed objects: accepted versions, relevant changes, and dependencies."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harborhook.api.base import Key
from harborhook.api.names import Body
from harborhook.runtime.store import Store, slim

KEY = Key("WebhookPolicy", "team", "hook")


def body_of(
    key: Key = KEY,
    *,
    uid: str = "uid-1",
    version: str | None = "10",
    generation: int = 1,
    refers_to: list[str] | None = None,
    status: dict[str, Any] | None = None,
    **metadata: Any,
) -> Body:
    meta = {"name": key.name, "namespace": key.namespace, "uid": uid, "generation": generation, **metadata}
    if version is not None:
        meta["resourceVersion"] = version
    return {"kind": key.kind, "metadata": meta, "spec": {"refersTo": refers_to or []}, "status": status or {}}


def secret(name: str) -> Key:
    return Key("Secret", "team", name)


@pytest.fixture
def store() -> Store:
    return Store(lambda body: [secret(name) for name in body["spec"]["refersTo"]])


# Versions


def test_the_first_version_is_relevant(store: Store) -> None:
    is_relevant = store.upsert(KEY, body_of())

    assert is_relevant
    assert store.get(KEY) == body_of()
    assert KEY in store


def test_the_latest_version_outlives_its_object(store: Store) -> None:
    other = KEY._replace(name="other")
    for key, version in ((KEY, "12"), (other, "9"), (KEY, "11"), (other, "opaque"), (other, None)):
        store.upsert(key, body_of(key, version=version))
    assert (store.version(KEY), store.version(other)) == (12, 0)

    store.remove(KEY)

    assert (store.version(KEY), store.latest) == (0, 12)


def test_the_same_version_again_means_nothing(store: Store) -> None:
    store.upsert(KEY, body_of())

    is_relevant = store.upsert(KEY, body_of(generation=2))

    assert not is_relevant
    assert store.get(KEY) == body_of()


def test_an_older_version_does_not_replace_a_newer_one(store: Store) -> None:
    store.upsert(KEY, body_of(version="100", generation=2))

    is_relevant = store.upsert(KEY, body_of(version="99", generation=1))

    assert not is_relevant
    assert store.get(KEY) == body_of(version="100", generation=2)


def test_versions_are_compared_as_numbers(store: Store) -> None:
    store.upsert(KEY, body_of(version="9"))

    assert store.upsert(KEY, body_of(version="10", generation=2))
    assert not store.upsert(KEY, body_of(version="9", generation=3))


@pytest.mark.parametrize("version", ["opaque-b", None])
def test_versions_that_are_no_numbers_count_as_newer_when_they_differ(store: Store, version: str | None) -> None:
    store.upsert(KEY, body_of(version="opaque-a"))

    assert not store.upsert(KEY, body_of(version="opaque-a", generation=2))
    assert store.upsert(KEY, body_of(version=version, generation=2))


@pytest.mark.parametrize(("version", "known"), [("9", True), ("10", True), ("11", False), ("opaque", False)])
def test_a_version_is_known_once_it_or_a_newer_one_is_stored(store: Store, version: str, known: bool) -> None:
    assert not store.knows(KEY, version)

    store.upsert(KEY, body_of(version="10"))

    assert store.knows(KEY, version) is known


def test_no_version_is_known_of_an_object_that_is_gone_or_foreign(store: Store) -> None:
    store.upsert(KEY, body_of(version="10"))
    store.remove(KEY)
    assert not store.knows(KEY, "10")

    store.upsert_foreign(KEY, body_of(version="10"))
    assert not store.knows(KEY, "10")


def test_an_object_made_again_under_the_same_name_is_relevant_though_its_spec_is_the_same(store: Store) -> None:
    store.upsert(KEY, body_of(uid="uid-1", version="10"))

    is_relevant = store.upsert(KEY, body_of(uid="uid-2", version="12"))

    assert is_relevant
    assert store.get(KEY) == body_of(uid="uid-2", version="12")


def test_a_late_list_does_not_bring_back_the_object_that_had_the_name_before(store: Store) -> None:
    store.upsert(KEY, body_of(uid="uid-2", version="12", refers_to=["b"]))

    is_relevant = store.upsert(KEY, body_of(uid="uid-1", version="10", refers_to=["a"]))

    assert not is_relevant
    assert store.get(KEY) == body_of(uid="uid-2", version="12", refers_to=["b"])
    assert store.dependents(secret("a")) == []


# Relevance


@pytest.mark.parametrize(
    "later",
    [
        body_of(version="11", status={"observedGeneration": 1}),
        body_of(version="11", labels={"argocd.argoproj.io/instance": "hooks"}),
        body_of(version="11", annotations={"argocd.argoproj.io/tracking-id": "hooks:x"}),
        body_of(version="11", annotations={"harborhook.io/create-pending": "uid-1"}),
        body_of(version="11", finalizers=["harborhook.io/cleanup"]),
        body_of(version="11", managedFields=[{"manager": "kubectl"}]),
        body_of(version="11", annotations=None),
    ],
    ids=["status", "label", "annotation", "our own annotation", "finalizer", "managedFields", "null annotations"],
)
def test_what_nobody_asked_for_is_stored_but_not_relevant(store: Store, later: Body) -> None:
    store.upsert(KEY, body_of())

    is_relevant = store.upsert(KEY, later)

    assert not is_relevant
    assert store.get(KEY) == slim(later)


@pytest.mark.parametrize(
    "later",
    [
        body_of(version="11", generation=2),
        body_of(version="11", deletionTimestamp="2026-01-02T03:04:05Z"),
        body_of(version="11", annotations={"harborhook.io/reconcile-at": "now"}),
        body_of(version="11", annotations={"harborhook.io/release": "true"}),
    ],
    ids=["generation", "deletion", "reconcile-at", "release"],
)
def test_what_a_person_asked_for_is_relevant_once(store: Store, later: Body) -> None:
    store.upsert(KEY, body_of())

    assert store.upsert(KEY, later)
    again = copy.deepcopy(later)
    again["metadata"]["resourceVersion"] = "12"
    assert not store.upsert(KEY, again)


def test_another_value_of_a_request_is_another_request(store: Store) -> None:
    store.upsert(KEY, body_of(annotations={"harborhook.io/reconcile-at": "1"}))

    assert store.upsert(KEY, body_of(version="11", annotations={"harborhook.io/reconcile-at": "2"}))


# Answers to our own writes


def test_the_answer_to_a_write_of_ours_is_taken_in(store: Store) -> None:
    store.upsert(KEY, body_of())

    store.absorb(KEY, body_of(version="11", status={"observedGeneration": 1}, refers_to=["a"]))

    assert store.get(KEY) == body_of(version="11", status={"observedGeneration": 1}, refers_to=["a"])
    assert store.dependents(secret("a")) == [KEY]


def test_what_was_taken_in_from_a_write_is_no_change_when_the_watch_brings_it(store: Store) -> None:
    store.upsert(KEY, body_of())
    store.absorb(KEY, body_of(version="11", status={"observedGeneration": 1}))

    assert not store.upsert(KEY, body_of(version="11", status={"observedGeneration": 1}))


def test_an_answer_that_shows_a_change_of_somebody_else_is_left_to_the_watch(store: Store) -> None:
    store.upsert(KEY, body_of())

    store.absorb(KEY, body_of(version="12", generation=2))

    assert store.get(KEY) == body_of()
    assert store.upsert(KEY, body_of(version="12", generation=2))


def test_a_late_answer_to_a_write_does_not_hide_what_the_watch_has_brought(store: Store) -> None:
    store.upsert(KEY, body_of(version="12", status={"observedGeneration": 1}))

    store.absorb(KEY, body_of(version="11"))

    assert store.get(KEY) == body_of(version="12", status={"observedGeneration": 1})


def test_the_answer_to_a_write_does_not_bring_back_a_removed_object(store: Store) -> None:
    store.upsert(KEY, body_of())
    store.remove(KEY)

    store.absorb(KEY, body_of(version="11"))

    assert KEY not in store


# Removal and listing


def test_a_removed_object_is_handed_out_once_and_refers_to_nothing_any_more(store: Store) -> None:
    store.upsert(KEY, body_of(refers_to=["a"]))

    assert store.remove(KEY) == body_of(refers_to=["a"])
    assert store.remove(KEY) is None
    assert store.dependents(secret("a")) == []
    assert store.references_of(KEY) == frozenset()


def test_objects_are_listed_by_kind(store: Store) -> None:
    project = Key("HarborProject", "team", "p")
    store.upsert(KEY, body_of())
    store.upsert(project, body_of(project))

    assert store.all("HarborProject") == [project]
    assert sorted(store.all()) == sorted([KEY, project])


# References


def test_dependents_are_given_in_a_stable_order(store: Store) -> None:
    keys = [Key("WebhookPolicy", "team", name) for name in "cab"]
    for key in keys:
        store.upsert(key, body_of(key, refers_to=["a"]))

    assert store.dependents(secret("a")) == sorted(keys)


def test_a_reference_that_is_dropped_by_an_edit_is_forgotten(store: Store) -> None:
    store.upsert(KEY, body_of(refers_to=["a", "b"]))
    store.upsert(KEY, body_of(version="11", generation=2, refers_to=["b", "c"]))

    assert [store.dependents(secret(name)) for name in "abc"] == [[], [KEY], [KEY]]
    assert store.references_of(KEY) == {secret("b"), secret("c")}


def test_asking_for_the_dependents_of_something_unknown_leaves_nothing_behind(store: Store) -> None:
    for number in range(10):
        store.dependents(secret(f"unknown-{number}"))

    assert len(store._dependents) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from([Key("WebhookPolicy", "team", name) for name in "pqr"]),
        st.sampled_from(["upsert", "upsert", "upsert", "absorb", "remove"]),
        st.sampled_from(["uid-1", "uid-2"]),
        st.integers(1, 9),
        st.lists(st.sampled_from("abcd"), max_size=3),
    ),
    max_size=30,
)


@given(STEPS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_who_depends_on_what_is_always_what_the_stored_objects_say(
    steps: list[tuple[Key, str, str, int, list[str]]],
) -> None:
    store = Store(lambda body: [secret(name) for name in body["spec"]["refersTo"]])
    for key, step, uid, version, names in steps:
        if step == "remove":
            store.remove(key)
        else:
            seen = body_of(key, uid=uid, version=str(version), refers_to=names)
            known, former = store.knows(key, str(version)), store.get(key)
            is_relevant = getattr(store, step)(key, seen)
            assert not known or (store.get(key) is former and not is_relevant), "what is known changes nothing"

        expected: defaultdict[Key, set[Key]] = defaultdict(set)
        for stored in store.all():
            body = store.get(stored)
            assert body is not None
            wanted = {secret(name) for name in body["spec"]["refersTo"]}
            assert store.references_of(stored) == wanted
            for reference in wanted:
                expected[reference].add(stored)
        assert {name: store.dependents(secret(name)) for name in "abcd"} == {
            name: sorted(expected[secret(name)]) for name in "abcd"
        }


@given(st.permutations(range(1, 8)))
def test_the_newest_version_stays_in_any_order_of_arrival(order: list[int]) -> None:
    store = Store(lambda _: [])
    for version in order:
        store.upsert(KEY, body_of(uid=f"uid-{version // 4}", version=str(version), generation=version))

    assert store.get(KEY) == body_of(uid="uid-1", version="7", generation=7)


# Memory


def test_managed_fields_and_kubectls_copy_of_the_object_are_not_kept(store: Store) -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{…}", "harborhook.io/release": "true"}
    seen = body_of(managedFields=[{"manager": "kubectl"}], annotations=annotations)
    before = copy.deepcopy(seen)

    store.upsert(KEY, seen)

    stored = store.get(KEY)
    assert stored is not None
    assert "managedFields" not in stored["metadata"]
    assert stored["metadata"]["annotations"] == {"harborhook.io/release": "true"}
    assert seen == before, "the caller's object was changed"


def test_slimming_keeps_everything_else() -> None:
    assert slim(body_of(labels={"a": "b"}, finalizers=["x"], annotations={})) == body_of(
        labels={"a": "b"}, finalizers=["x"], annotations={}
    )
