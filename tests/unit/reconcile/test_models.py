"""The cached models of resources: validated once for each version, and limited in number."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harborhook.api.base import Key
from harborhook.api.names import Body
from harborhook.reconcile.context import Models
from harness.alone import Clock, bare_context

KEY = Key("HarborProject", "team", "p")


def body_of(version: str = "1", key: Key = KEY, **spec: object) -> Body:
    metadata = {"namespace": key.namespace, "name": key.name, "uid": "uid-1", "resourceVersion": version}
    return {"kind": key.kind, "metadata": metadata, "spec": spec}


def test_one_version_is_one_model() -> None:
    models, body = Models(), body_of()

    assert models.of(KEY, body) is models.of(KEY, body)
    assert models.of(KEY, body).key == KEY


def test_another_body_is_another_model_though_its_version_is_the_same() -> None:
    models = Models()
    models.of(KEY, body_of())

    assert models.of(KEY, body_of(public=True)).wire()["spec"]["public"] is True


def test_only_the_last_ones_are_kept() -> None:
    models, bodies = Models(limit=2), {name: body_of(key=KEY._replace(name=name)) for name in "abc"}
    made = {name: models.of(KEY._replace(name=name), bodies[name]) for name in "ab"}
    models.of(KEY._replace(name="a"), bodies["a"])

    models.of(KEY._replace(name="c"), bodies["c"])

    assert models.of(KEY._replace(name="a"), bodies["a"]) is made["a"]
    assert models.of(KEY._replace(name="b"), bodies["b"]) is not made["b"]
    assert len(models._kept) == 2


def test_a_body_that_cannot_be_read_leaves_nothing_behind() -> None:
    models = Models()
    models.of(KEY, body_of())

    with pytest.raises(ValidationError):
        models.of(KEY, body_of(public="perhaps"))

    assert not models._kept


def test_what_is_loaded_is_what_the_store_has_now() -> None:
    context = bare_context(Clock())
    assert context.load(KEY) is None

    for version in ("1", "2"):
        context.store.upsert(KEY, body_of(version))
        loaded = context.load(KEY)
        assert loaded is not None
        assert loaded.metadata.resource_version == version

    context.store.remove(KEY)
    assert context.load(KEY) is None
