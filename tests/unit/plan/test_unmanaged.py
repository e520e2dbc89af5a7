"""Undeclared webhook policies in Harbor: the only ones that may be pruned."""

from __future__ import annotations

from typing import Any

import pytest

from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.models import Policy
from harborhook.plan.unmanaged import declared, is_unmanaged

CLUSTER = "c1"


def in_harbor(name: str = "jenkins", *, creator: str = "admin", policy_id: int = 5, project_id: int = 7) -> Policy:
    return Policy(policy_id, project_id, name, creator, {})


def declaration(name: str, status: dict[str, Any] | None = None, **spec: Any) -> WebhookPolicy:
    stated = {
        "projectRef": {"name": "team-a"},
        "eventTypes": ["PUSH_ARTIFACT"],
        "targets": [{"type": "http", "address": "https://a"}],
        **spec,
    }
    return WebhookPolicy.model_validate(
        {"metadata": {"name": name, "namespace": "team-a"}, "spec": stated, "status": status or {}}
    )


@pytest.mark.parametrize(
    ("policy", "declarations", "unmanaged"),
    [
        (in_harbor(), [], True),
        (in_harbor(), [declaration("ci")], True),
        (in_harbor(), [declaration("jenkins")], False),
        (in_harbor(), [declaration("other", policyName="jenkins")], False),
        (in_harbor("Jenkins"), [declaration("jenkins")], True),
        (in_harbor(), [declaration("new", {"policyID": 5})], False),
        (in_harbor(), [declaration("new", {"policyName": "jenkins"})], False),
        (in_harbor(project_id=6), [], False),
        (in_harbor(creator="harborhook/c2/team-a/jenkins"), [], False),
        (in_harbor(creator="harborhook/c1/team-a/jenkins"), [], True),
        (in_harbor(creator="harborhook/c1/team-b/jenkins"), [], True),
        (in_harbor(creator="harborhook/odd"), [], True),
    ],
    ids=[
        "somebody's in the UI",
        "another one is declared",
        "declared, though not yet adopted",
        "declared by policyName",
        "declared in other case, which is another policy",
        "about to be renamed",
        "still under its former name",
        "an orphan of a project that was recreated",
        "another cluster's",
        "ours, whose resource was deleted under Retain",
        "ours, of another namespace",
        "no mark of ours",
    ],
)
def test_a_policy_is_unmanaged_only_if_nobody_anywhere_declares_it(
    policy: Policy, declarations: list[WebhookPolicy], unmanaged: bool
) -> None:
    assert is_unmanaged(policy, declared(declarations), cluster=CLUSTER, project_id=7) is unmanaged


def test_what_a_namespace_that_is_not_watched_may_declare_is_not_unmanaged() -> None:
    elsewhere, here = (in_harbor(creator=f"harborhook/c1/{namespace}/ci") for namespace in ("team-b", "team-a"))
    nothing = declared([])
    assert not is_unmanaged(elsewhere, nothing, cluster=CLUSTER, project_id=7, watched=["team-a"])
    assert is_unmanaged(here, nothing, cluster=CLUSTER, project_id=7, watched=["team-a"])
