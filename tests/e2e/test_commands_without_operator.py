"""The commands in a cluster without an operator: tests write the statuses, and requests get no answer."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import console
from harness.world import Object, World, eventually

MANY = int(os.environ.get("MANY", "1200"))
TIME = "2026-01-02T03:04:05Z"
ESCAPES = "\x1b[2J\x1b]0;owned\x07"


@pytest.fixture(scope="module")
def own_operator() -> None:
    """There is no operator."""


@pytest.fixture
def world(own_world: World) -> World:
    return own_world


def kubeconfig(world: World) -> Path:
    return console.in_namespace(world.control_plane.kubeconfig, world.namespace)


def harborhook(world: World, *arguments: str) -> console.Ended:
    return console.run(kubeconfig(world), *arguments)


def conditions(
    ready: str = "True", reason: str = "Reconciled", message: str = "", delivering: Object | None = None
) -> list[Object]:
    made: list[Object] = [{"type": "Ready", "status": ready, "reason": reason, "message": message}]
    made += [{"type": "Delivering", "message": "", **delivering}] if delivering else []
    return [{**one, "lastTransitionTime": TIME, "observedGeneration": 1} for one in made]


def policy(world: World, name: str, **status: Any) -> None:
    """A policy with a status."""
    world.policy(name, "team-a")
    stated = {"observedGeneration": 1, "conditions": conditions(), **status}
    world.patch("WebhookPolicy", name, {"status": stated}, status=True)


# The operator does not answer


def test_an_operator_that_does_not_run_is_said_and_how_to_check(world: World) -> None:
    policy(world, "ci")
    for command in (("reconcile", "whp/ci"), ("test", "ci"), ("redeliver", "ci")):
        ended = harborhook(world, *command, "--timeout", "1")
        assert ended.code == 1
        assert f"has not answered for WebhookPolicy {world.namespace}/ci within 1 seconds." in ended.errors
        assert "kubectl get deployments,pods -A -l app.kubernetes.io/name=harborhook" in ended.errors
        assert "stays: the operator answers it when it can." in ended.errors
    ended = harborhook(world, "status", "ci")
    assert ended.code == 0
    world.policy("new", "team-a")
    ended = harborhook(world, "status", "new")
    assert ended.code == 1
    assert "does the operator run, and does it serve this namespace?" in ended.output


def test_ctrl_c_ends_waiting_with_130_and_without_a_traceback(world: World) -> None:
    policy(world, "ci")
    ended = console.in_terminal(kubeconfig(world), "reconcile", "whp/ci", interrupt_after="waiting for the operator")
    assert ended.code == 130


def test_what_is_deleted_meanwhile_is_said(world: World) -> None:
    policy(world, "ci")
    with running(world, "reconcile", "whp/ci") as ended:
        asked(world, "reconcile-at")
        world.delete("WebhookPolicy", "ci")
    assert ended().code == 1
    assert f"WebhookPolicy {world.namespace}/ci was deleted meanwhile." in ended().errors


# Redelivery, with the test in place of the operator


def test_redeliver_waits_until_all_is_sent_and_shows_the_answer(world: World) -> None:
    policy(world, "ci", deliveries={"undelivered": 3})
    with running(world, "redeliver", "ci") as ended:
        request = asked(world, "redeliver")
        assert re.fullmatch(r"failed \S+", request)
        answer(world, request=request, succeeded=1)
        time.sleep(1)
        answer(world, request=request, succeeded=3, time=TIME, message="All have arrived.")
    assert (ended().code, ended().errors) == (0, "")
    assert "3 delivered, 0 failed. All have arrived." in ended().output


def test_redeliver_of_ids_fails_if_one_of_them_is_not_delivered(world: World) -> None:
    policy(world, "ci")
    with running(world, "redeliver", "ci", "41", "40", "-o", "json") as ended:
        request = asked(world, "redeliver")
        assert re.fullmatch(r"41,40 \S+", request)
        answer(world, request=request, succeeded=1, failed=1, time=TIME, message="40 answered with status 500.")
    assert ended().code == 1
    (result,) = json.loads(ended().output)["results"]
    assert (result["ok"], result["succeeded"], result["failed"]) == (False, 1, 1)


def test_redeliver_that_is_not_allowed_fails_although_nothing_has(world: World) -> None:
    policy(world, "ci", deliveries={"undelivered": 1})
    with running(world, "redeliver", "ci") as ended:
        answer(world, request=asked(world, "redeliver"), time=TIME, message="Not sent: allowRedelivery is not set.")
    assert ended().code == 1
    assert "Not sent: allowRedelivery is not set." in ended().errors


def asked(world: World, annotation: str) -> str:
    """Returns the command's request in an annotation."""
    name = f"harborhook.io/{annotation}"
    found: str = eventually(
        lambda: (world.get("WebhookPolicy", "ci")["metadata"].get("annotations") or {}).get(name),
        lambda: f"nobody has asked by {name}",
    )
    return found


def answer(world: World, **fields: Any) -> None:
    stated = {"succeeded": 0, "failed": 0, "message": "", **fields}
    world.patch("WebhookPolicy", "ci", {"status": {"redelivery": stated}}, status=True)


@contextmanager
def running(world: World, *arguments: str) -> Iterator[Callable[[], console.Ended]]:
    """Runs the command during the block; its result is available afterwards."""
    ended: list[console.Ended] = []
    thread = threading.Thread(target=lambda: ended.append(harborhook(world, *arguments)))
    thread.start()
    yield lambda: ended[0]
    thread.join(timeout=60)


# Deliveries


def recent(number: int, **fields: Any) -> Object:
    return {
        "executionID": number,
        "eventType": "PUSH_ARTIFACT",
        "subject": f"team-a/app:v{number}",
        "time": TIME,
        "status": "Failed",
        "attempts": 3,
        "message": "ci.example.com answered with status 500",
        **fields,
    }


DELIVERIES = {
    "consecutiveFailures": 2,
    "undelivered": 2,
    "recent": [
        recent(44),
        recent(43, redelivery={"status": "Failed", "time": TIME, "attempts": 2, "message": "it answered with 503"}),
        recent(42, redelivery={"status": "Succeeded", "time": TIME, "attempts": 1}),
        recent(41, status="Succeeded", attempts=1, message="ok"),
    ],
    "redeliveries": [{"target": 0, "waiting": 2, "attempts": 4, "nextAttemptTime": TIME}],
}


def test_deliveries_are_a_table_newest_first_and_failed_ones_alone(world: World) -> None:
    policy(world, "ci", deliveries=DELIVERIES)
    ended = harborhook(world, "deliveries", "ci")
    assert (ended.code, ended.errors) == (0, "")
    header, *rows = ended.output.splitlines()
    assert header.split() == ["ID", "AGE", "EVENT", "TYPE", "SUBJECT", "STATUS", "TRIES", "SENT", "AGAIN", "MESSAGE"]
    assert [row.split()[0] for row in rows] == ["44", "43", "42", "41"]
    assert "ci.example.com answered with status 500. Sent again: it answered with 503" in rows[1]
    assert rows[2].split()[-2:] == ["3", "Succeeded"]
    failed = harborhook(world, "deliveries", "ci", "--failed").output.splitlines()[1:]
    assert [row.split()[0] for row in failed] == ["44", "43"]
    found = json.loads(harborhook(world, "deliveries", "ci", "--failed", "-o", "json").output)
    assert ([one["executionID"] for one in found["recent"]], found["undelivered"]) == ([44, 43], 2)
    assert TIME in harborhook(world, "deliveries", "ci", "-o", "wide").output


def test_status_of_a_policy_shows_what_waits_and_how_to_send_it_again(world: World) -> None:
    failed = {"status": "False", "reason": "LastDeliveryFailed", "message": "It was not delivered."}
    policy(world, "ci", deliveries=DELIVERIES, conditions=conditions(delivering=failed))
    ended = harborhook(world, "status", "ci")
    assert "2 events were not delivered and can be sent again: kubectl harborhook redeliver ci --failed" in ended.output
    assert f"Failing since {TIME}, 2 events in a row." in ended.output
    assert "Waiting to be sent again\nTARGET  WAITING" in ended.output
    assert "project: There is no HarborProject" in ended.output
    assert "Recent deliveries\n" in ended.output


# Terminals and pipes


def test_a_narrow_terminal_has_each_sentence_in_full_below_its_row(world: World) -> None:
    sentence = "Harbor has a project of that name which this resource did not make: set creationPolicy to Adopt."
    policy(world, "ci", conditions=conditions("False", "AlreadyExists", sentence))
    ended = console.in_terminal(kubeconfig(world), "status", columns=60)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ended.output)
    assert ended.output != plain, "it is coloured"
    assert all(len(line) <= 60 for line in plain.splitlines())
    assert sentence in " ".join(plain.split())
    wide = console.in_terminal(kubeconfig(world), "status", columns=200)
    assert any(sentence in line for line in wide.output.splitlines())


def test_no_color_and_a_dumb_terminal_are_respected(world: World) -> None:
    policy(world, "ci", conditions=conditions("False", "AlreadyExists", "It exists."))
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert coloured.search(console.in_terminal(kubeconfig(world), "status").output)
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert not coloured.search(console.in_terminal(kubeconfig(world), "status", env=variables).output)
    assert "\x1b" not in harborhook(world, "status").output


@pytest.mark.parametrize("command", [("status",), ("status", "ci"), ("deliveries", "ci")])
def test_nothing_that_a_receiver_has_answered_commands_the_terminal(world: World, command: tuple[str, ...]) -> None:
    failed = {"status": "False", "reason": "LastDeliveryFailed", "message": f"It answered {ESCAPES}."}
    deliveries = {"recent": [recent(41, message=f"It answered {ESCAPES}", subject=ESCAPES)]}
    policy(world, "ci", conditions=conditions(delivering=failed), deliveries=deliveries)
    for ended in (harborhook(world, *command), console.in_terminal(kubeconfig(world), *command)):
        assert "\x1b[2J" not in ended.output
        assert "\x1b]" not in ended.output
        assert "\x07" not in ended.output
        assert "It answered" in ended.output


def test_a_pipe_that_is_closed_early_is_no_error(world: World) -> None:
    for number in range(3):
        policy(world, f"ci-{number}")
    script = f"{' '.join(console.command('status'))} | head -1"
    ended = subprocess.run(
        ["bash", "-c", script], env=console.environment(kubeconfig(world)), capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.startswith("STATE ")
    assert ended.stderr == ""


def test_watch_redraws_until_ctrl_c(world: World) -> None:
    policy(world, "ci", conditions=conditions("False", "AlreadyExists", "It exists."))

    def change() -> None:
        time.sleep(3)
        policy(world, "ci", conditions=conditions("False", "AlreadyExists", "It has changed."))

    threading.Thread(target=change).start()
    for command, until in (
        (("status", "--watch"), "It has changed."),
        (("status", "ci", "-w"), "There is no HarborProject"),
        (("deliveries", "ci", "-w"), "No deliveries are recorded"),
    ):
        ended = console.in_terminal(kubeconfig(world), *command, interrupt_after=until)
        assert ended.code == 130
        assert until in ended.output
    refused = harborhook(world, "status", "--watch", "-o", "json")
    assert refused.code == 2


# Many


def test_many_resources_are_read_by_pages(world: World) -> None:
    """More than two pages. On an idle machine 5,000 take less than 3 seconds."""
    make_many(world, MANY)
    for output, count in (("json", f'"total": {MANY}'), ("wide", f"{MANY} policies: ")):
        started = time.monotonic()
        ended = harborhook(world, "status", "-o", output)
        print(f"{MANY} resources as {output}: {time.monotonic() - started:.2f} s")
        assert count in ended.output


def make_many(world: World, number: int) -> None:
    """Policies, of which each has a status like a real one's."""
    spec: Object = {"projectRef": {"name": "team-a"}, "eventTypes": ["PUSH_ARTIFACT"]}
    spec |= {"targets": [{"type": "http", "address": "https://ci.example.com/hook"}]}
    world.apply_all([{"kind": "WebhookPolicy", "metadata": {"name": f"ci-{n}"}, "spec": spec} for n in range(number)])
    delivered = {"status": "True", "reason": "LastDeliverySucceeded"}
    status = {"observedGeneration": 1, "conditions": conditions(delivering=delivered), "deliveries": DELIVERIES}
    with ThreadPoolExecutor(4) as pool:
        patch = partial(world.patch, "WebhookPolicy", patch={"status": status}, status=True)
        list(pool.map(patch, [f"ci-{n}" for n in range(number)]))
