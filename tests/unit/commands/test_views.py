"""The output of commands: states, their order, the sentence to act on, tables of any width."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harborhook import cli
from harborhook.api.conditions import DeliveringReason
from harborhook.api.names import KIND_NAMES, Key
from harborhook.commands import asking, chain, naming, owned_fields
from harborhook.commands.health import SWITCHED_OFF_REASONS, State, health
from harborhook.commands.overview import only_used, overview
from harborhook.commands.tables import Line, Table, age, plain, rendered
from harborhook.foreign_text import printable

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TIME = "2026-01-02T03:00:05Z"
Body = dict[str, Any]


def condition(kind: str, status: str, reason: str = "Reconciled", message: str = "Said.") -> Body:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": TIME}


READY = condition("Ready", "True")


def resource(*conditions: Body, kind: str = "WebhookPolicy", name: str = "ci", **fields: Any) -> Body:
    metadata = {"name": name, "namespace": "team-a", "generation": 1, **fields.pop("metadata", {})}
    if kind == "ClusterHarborConnection":
        del metadata["namespace"]
    spec = {"projectRef": {"name": "team-a"}} if kind == "WebhookPolicy" else {}
    status = {"observedGeneration": 1, "conditions": list(conditions), **fields.pop("status", {})}
    return {"kind": kind, "metadata": metadata, "spec": {**spec, **fields}, "status": status}


# States


@pytest.mark.parametrize(
    ("body", "state", "is_ready"),
    [
        (resource(READY), State.READY, True),
        (resource(READY, condition("Delivering", "Unknown", "NeverTriggered")), State.READY, True),
        (resource(condition("Ready", "False"), condition("Stalled", "True")), State.STALLED, False),
        (resource(condition("Ready", "False"), condition("Reconciling", "True")), State.NOT_READY, False),
        (resource(condition("Ready", "Unknown", "Suspended")), State.PENDING, False),
        (resource(condition("Ready", "Unknown", "Suspended"), suspend=True), State.SUSPENDED, False),
        (resource(READY, suspend=True), State.SUSPENDED, True),
        (resource(), State.PENDING, False),
        ({"kind": "WebhookPolicy", "metadata": {"name": "ci"}, "spec": {}}, State.PENDING, False),
        (resource(READY, metadata={"generation": 2}), State.PENDING, False),
        (resource(READY, metadata={"deletionTimestamp": TIME}), State.DELETING, False),
        (resource(READY, condition("Delivering", "False", "LastDeliveryFailed")), State.FAILING, True),
        (resource(READY, condition("Delivering", "False", "DeliveriesStuck")), State.FAILING, True),
        (resource(READY, condition("Delivering", "False", "GloballyDisabled")), State.SWITCHED_OFF, True),
        (resource(condition("Ready", "True", "DriftDetected")), State.DRIFTED, True),
        (
            resource(READY, kind="ClusterHarborConnection", status={"notifications": {"enabled": False}}),
            State.SWITCHED_OFF,
            True,
        ),
    ],
)
def test_a_state_is_judged_by_conditions_generation_and_suspend(body: Body, state: State, is_ready: bool) -> None:
    found = health(body)
    assert (found.state, found.is_ready) == (state, is_ready)
    assert found.sentence


def test_the_reasons_for_being_switched_off_are_those_of_the_operator() -> None:
    known = {reason.value for reason in DeliveringReason if reason.status == "False"}
    assert {reason for reason in known if reason.endswith("Disabled")} == SWITCHED_OFF_REASONS


def test_events_that_were_not_delivered_are_said_although_the_newest_was() -> None:
    delivered = condition("Delivering", "True", "LastDeliverySucceeded", "The newest event was delivered.")
    found = health(resource(READY, delivered, status={"deliveries": {"undelivered": 2}}))
    assert found.sentence == "The newest event was delivered. 2 earlier events were not delivered."


# The overview


def test_the_worst_comes_first_then_connections_projects_and_policies() -> None:
    bodies = [
        resource(READY, name="b"),
        resource(READY, name="a"),
        resource(READY, kind="HarborProject", name="z"),
        resource(condition("Ready", "False"), name="n"),
        resource(condition("Ready", "False"), kind="ClusterHarborConnection", name="n"),
        resource(condition("Ready", "False"), condition("Stalled", "True"), name="s"),
    ]
    found = overview(bodies)
    order = [naming.argument_of(row.key) for row in found.rows]
    assert order == ["whp/s", "chconn/n", "whp/n", "hproj/z", "whp/a", "whp/b"]
    assert found.summary == "1 connection, 1 project, 4 policies: 1 stalled, 2 not ready, 3 ready."
    assert not found.is_well
    assert overview(bodies[:3]).is_well


def test_a_namespace_is_shown_the_connections_that_it_uses() -> None:
    connections = [resource(READY, kind="ClusterHarborConnection", name=name) for name in ("default", "other", "mine")]
    uses_mine = resource(READY, kind="HarborProject", connectionRef={"name": "mine"})

    def names(*others: Body) -> list[str]:
        return [body["metadata"]["name"] for body in only_used(connections, others)]

    assert names() == ["default"]
    assert names(uses_mine) == ["mine"]
    recorded = {"connection": {"kind": "ClusterHarborConnection", "name": "other"}}
    assert names(uses_mine, resource(READY, status=recorded)) == ["other", "mine"]


# One policy


def test_each_thing_in_the_way_is_found_from_the_connection_down() -> None:
    connection = resource(condition("Ready", "False", message="No answer."), kind="ClusterHarborConnection")
    project = resource(READY, kind="HarborProject", webhooks={"enabled": False})
    policy = resource(condition("Ready", "False", message="The connection does not work."), enabled=False)
    links = (
        chain.ChainLink(Key("HarborProject", "team-a", "team-a"), project),
        chain.ChainLink(Key("ClusterHarborConnection", "", "default"), connection),
    )
    found = chain.findings(chain.Chain(policy, *links))
    assert [(one.where, one.sentence.split(":")[-1].strip()) for one in found] == [
        ("connection", "No answer."),
        ("project", "HarborProject team-a/team-a switches its policies off by spec.webhooks.enabled."),
        ("policy", "The policy is disabled by spec.enabled."),
    ], "what follows from the connection is not repeated"


def test_a_link_that_may_not_be_read_is_no_finding_and_a_missing_one_is() -> None:
    key = Key("HarborProject", "team-a", "team-a")
    policy = resource(READY)
    assert chain.findings(chain.Chain(policy, chain.ChainLink(key, refusal="You may not."), None)) == []
    (found,) = chain.findings(chain.Chain(policy, chain.ChainLink(key), None))
    assert found.sentence == "There is no HarborProject team-a/team-a."


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ({"address": "https://ci.example.com"}, "https://ci.example.com"),
        ({"address": "https://ci.example.com/"}, "https://ci.example.com"),
        ({"address": "https://u:c4nary@ci.example.com:8443/c4nary?c4nary"}, "https://ci.example.com:8443/…"),
        ({"address": "https://ci.example.com?c4nary"}, "https://ci.example.com/…"),
        ({"addressFrom": {"secretKeyRef": {"name": "hooks", "key": "url"}}}, "from Secret hooks, key url"),
    ],
)
def test_of_an_address_only_what_is_no_credential_is_shown(target: Body, shown: str) -> None:
    assert chain.shown_address(target) == shown


# Tables


def test_plain_columns_are_aligned_and_sentences_whole() -> None:
    table = Table(("STATE", "MESSAGE"))
    table.add("Ready", "x" * 300)
    table.add("NotReady", "short")
    assert plain([table, Line("1 row.")]).splitlines() == [
        "STATE     MESSAGE",
        f"Ready     {'x' * 300}",
        "NotReady  short",
        "1 row.",
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_on_a_terminal_nothing_is_cut_at_any_width(width: int) -> None:
    sentence = "Secret team-a/ci-token does not exist: create it, or name another one."
    table = Table(("STATE", "RESOURCE", "MESSAGE"))
    table.add("NotReady", "whp/a-policy-with-a-long-name", sentence)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    for piece in rendered([table], console):
        console.print(piece)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    joined = "".join(shown.split())
    assert sentence.replace(" ", "") in joined
    assert "whp/a-policy-with-a-long-name" in joined
    assert all(len(line) <= width for line in shown.splitlines())


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert printable("a\x1b[31mb\nc\u202ed\u200be") == "a\ufffd[31mb c\ufffdd\ufffde"
    assert printable("☃ ünï") == "☃ ünï"


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        ("2026-01-02T03:04:01Z", "4s"),
        ("2026-01-02T02:50:05Z", "14m"),
        ("2026-01-01T03:04:05Z", "24h"),
        ("2025-12-02T03:04:05Z", "31d"),
        ("2026-01-02T03:04:09Z", "0s"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_ages_are_short(when: str, shown: str) -> None:
    assert age(when, NOW) == shown


# Names and owners


@pytest.mark.parametrize("kind", KIND_NAMES.values(), ids=lambda kind: kind.short)
def test_a_kind_is_known_by_every_name_that_kubectl_knows(kind: Any) -> None:
    for spelling in (kind.kind, kind.kind.lower(), kind.plural, kind.short, f"{kind.plural}.harborhook.io"):
        key = naming.key_of(f"{spelling}/x", "team-a")
        assert key == Key(kind.kind, "team-a" if kind.namespaced else "", "x")
    assert naming.key_of(naming.name_of(key), "team-a") == key


def test_the_owner_of_a_field_is_read_from_managed_fields() -> None:
    managed = [
        {"manager": "argocd-controller", "fieldsV1": {"f:spec": {"f:suspend": {}, "f:targets": {}}}},
        {"manager": "kubectl", "fieldsV1": {"f:spec": {"f:enabled": {}}}},
    ]
    body = {"metadata": {"managedFields": managed}}
    assert owned_fields.owners(body, ("spec", "suspend")) == ["argocd-controller"]
    owned_fields.check_owner(body, ("spec", "enabled"), "it", force=False)


def test_a_request_is_new_each_time() -> None:
    assert len({asking._token() for _ in range(100)}) == 100


# Starting


HEAVY = ("pydantic", "httpx", "kubernetes", "aiohttp", "kopf", "asyncio", "rich", "harborhook.api.base")


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], (*HEAVY, "yaml", "ssl", "importlib.metadata")),
        (["status", "--help"], (*HEAVY, "yaml", "ssl")),
        (["status"], HEAVY),
        (["reconcile", "whp/ci"], HEAVY),
        (["global", "show"], HEAVY),
    ],
    ids=" ".join,
)
def test_a_command_loads_nothing_that_takes_long(arguments: list[str], absent: tuple[str, ...], tmp_path: Path) -> None:
    """The cluster does not answer; the command notices that after all imports."""
    kubeconfig = tmp_path / "config"
    cluster = '{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}'
    context = '{"name": "c", "context": {"cluster": "c"}}'
    kubeconfig.write_text(f'{{"clusters": [{cluster}], "contexts": [{context}], "current-context": "c"}}')
    program = f"""
import sys
from harborhook.cli import main
try:
    main({arguments!r})
except SystemExit:
    print([name for name in {absent!r} if name in sys.modules], file=sys.stderr)
"""
    environment = {"PYTHONPATH": str(Path(cli.__file__).parents[1]), "KUBECONFIG": str(kubeconfig)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.stderr.splitlines()[-1] == "[]", ended.stderr


def test_the_completion_scripts_are_printed() -> None:
    from click.testing import CliRunner

    for shell in ("bash", "zsh", "fish"):
        ended = CliRunner().invoke(cli.main, ["completion", shell])
        assert ended.exit_code == 0
        assert "_HARBORHOOK_COMPLETE" in ended.output
