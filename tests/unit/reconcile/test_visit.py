"""The checks of a visit before it creates something in Harbor."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harborhook.api.base import FINALIZER, Key
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.kube.gateway import Gateway, Gone
from harborhook.reconcile.context import Wait
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause
from harness.alone import Clock, bare_context

KEY = Key("WebhookPolicy", "team", "ci")


class Api:
    """An API server with one object, or none."""

    def __init__(self, body: dict[str, Any] | None) -> None:
        self.body = body
        self.asked: list[str] = []

    async def get(self, key: Key) -> dict[str, Any]:
        self.asked.append("get")
        if self.body is None:
            raise Gone(str(key))
        return self.body

    async def patch(self, key: Key, patch: dict[str, Any]) -> dict[str, Any]:
        self.asked.append("patch")
        assert self.body is not None
        return {**self.body, "metadata": {**self.body["metadata"], **patch["metadata"]}}


def body(**metadata: Any) -> dict[str, Any]:
    found = {"name": "ci", "namespace": "team", "uid": "one", "resourceVersion": "1", "finalizers": [FINALIZER]}
    spec = {
        "projectName": "library",
        "eventTypes": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": "https://ci.example.com"}],
    }
    return {"kind": "WebhookPolicy", "metadata": {**found, **metadata}, "spec": spec}


def visit(api: Api, **metadata: Any) -> Visit[WebhookPolicy]:
    """A visit to the object in the version that the watch last reported."""
    context = bare_context(Clock())
    context.gateway = cast(Gateway, api)
    context.store.upsert(KEY, body(**metadata))
    resource = WebhookPolicy.model_validate(body(**metadata))
    return Visit(context, resource, Cause.RESYNC, status=resource.status)


async def test_nothing_is_made_for_a_resource_that_is_gone_though_the_watch_has_not_told() -> None:
    with pytest.raises(Gone):
        await visit(Api(None)).prepare_creation(finalizer=True)


@pytest.mark.parametrize("change", [{"uid": "two"}, {"deletionTimestamp": "2026-01-02T03:04:05Z"}])
async def test_nothing_is_made_for_a_resource_that_is_deleted_or_was_recreated(change: dict[str, str]) -> None:
    with pytest.raises(Wait):
        await visit(Api(body(**change))).prepare_creation(finalizer=True)


async def test_a_resource_that_is_still_there_is_asked_for_once() -> None:
    api = Api(body())
    await visit(api).prepare_creation(finalizer=True)
    assert api.asked == ["get"]


async def test_the_patch_that_sets_the_finalizer_tells_that_the_resource_is_there() -> None:
    api = Api(body(finalizers=[]))
    await visit(api, finalizers=[]).prepare_creation(finalizer=True)
    assert api.asked == ["patch"]
