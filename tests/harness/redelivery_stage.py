"""One WebhookPolicy with undelivered notifications, for unit tests of redelivery: tests set the receivers' answers and
the time."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from harborhook.api.base import SenderKey
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.clock import ServerClock
from harborhook.harbor.executions import Execution, Stored, Task
from harborhook.harbor.payloads import PayloadFormat
from harborhook.plan.deliveries import History, judge
from harborhook.reconcile import redelivery, redelivery_send, senders, webhook_policy
from harborhook.reconcile.delivery_history import patience_with
from harborhook.reconcile.mailbox import DeliveryReading
from harborhook.reconcile.sender import NotSentError
from harborhook.reconcile.visit import Visit
from harborhook.runtime.queue import Cause, Queue
from harness.policy_stage import CONNECTION, POLICY, RECORDED, Harbor, Object, Stage

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SLACK = {"type": "slack", "address": "https://hooks.slack.com/x"}
ALLOWED: Object = {"allowRedelivery": True}


class Notifications(Harbor):
    """The notifications of one policy, by id, with a record of the requests to Harbor."""

    def __init__(self) -> None:
        super().__init__()
        self.executions_by_id: dict[int, Execution] = {}
        self.tasks_by_id: dict[int, list[Task]] = {}
        self.ahead = timedelta()
        """How far Harbor's clock is ahead."""
        self.time = START
        self.body = ""
        """The body of all notifications; "" gives each its own."""

    def now(self) -> datetime:
        return self.time + self.ahead

    async def undelivered_executions(self, project: str, policy_id: int) -> list[Execution]:
        self.requests.append("undelivered")
        newest = sorted(self.executions_by_id.values(), key=lambda one: -one.id)
        return [one for one in newest if one.status in ("Error", "Running")]

    async def executions(
        self, project: str, policy_id: int, *, above: int | None = None, newest_first: bool = True, page: int = 1
    ) -> tuple[list[Execution], int]:
        self.requests.append("executions")
        found = [one for one in self.executions_by_id.values() if above is None or one.id > above]
        found.sort(key=lambda one: one.id, reverse=newest_first)
        return found[(page - 1) * 100 : page * 100], len(found)

    async def stored_execution(self, project: str, policy_id: int, execution_id: int) -> Stored | None:
        self.requests.append(f"body of {execution_id}")
        found = self.executions_by_id.get(execution_id)
        return Stored(found, (self.body or f"body {execution_id}").encode()) if found else None

    async def tasks(self, project: str, policy_id: int, execution_id: int) -> list[Task]:
        is_over = self.executions_by_id[execution_id].status == "Error"
        return self.tasks_by_id.get(execution_id, [Task(execution_id, "Error", 3, None)] if is_over else [])

    def sweep(self, kept: int = 50) -> None:
        """Harbor's daily sweep."""
        for kind in ("WEBHOOK", "SLACK"):
            ids = sorted(one.id for one in self.executions_by_id.values() if one.kind == kind)
            for old in ids[:-kept]:
                del self.executions_by_id[old]


@dataclass
class Sent:
    """One request to a receiver."""

    address: str
    content: bytes
    headers: dict[str, str]
    at: float
    may_be_local: bool

    @property
    def id(self) -> int:
        return int(self.headers[redelivery_send.HEADER])


@dataclass
class Receivers:
    """All receivers; they answer with `status`, or not at all (0), unless a notification has a separate answer."""

    status: int = 0
    by_id: dict[int, int] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.sent]


class RedeliveryStage(Stage):
    """`settled`: the ids up to which the status has counted everything."""

    harbor: Notifications

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, mode: str | None = "Automatic", settled: int = 1000, **spec: Any
    ) -> None:
        redeliver = {"redelivery": {"mode": mode}} if mode else {}
        super().__init__(**{**redeliver, **spec})
        self.receivers = Receivers()
        monkeypatch.setattr(redelivery_send, "send", self._send)
        self.bodies[CONNECTION]["spec"].update(ALLOWED)
        self.bodies[POLICY]["status"] = {
            "policyID": 5,
            "projectID": 2,
            "projectName": "team-a",
            "policyName": "ci",
            "origin": "Created",
            "connection": RECORDED,
            "observedGeneration": 1,
            "deliveries": {"lastExecutionID": settled},
        }
        self._start()

    def _new_harbor(self) -> Notifications:
        return Notifications()

    def _start(self) -> None:
        super()._start()
        self.clock = cast(Any, self.context.queue.clock)
        self.context.clock = cast(ServerClock, self)
        self.context.sending = Queue(clock=self.clock)

    def now(self) -> datetime:
        """The time of the API server."""
        self.harbor.time = START + timedelta(seconds=self.clock.now)
        return self.harbor.time

    async def _send(self, address: str, *, content: bytes, headers: dict[str, str], **options: Any) -> int:
        fence = options["fence"]
        if fence is not None:
            fence()
        sent = Sent(address, content, headers, self.clock.now, options["may_be_local"])
        self.receivers.sent.append(sent)
        status = self.receivers.by_id.get(sent.id, self.receivers.status)
        if not status:
            raise NotSentError("It cannot be reached: connection refused")
        return status

    # Events

    def fail(self, *ids: int, kind: str = "WEBHOOK", payload_format: PayloadFormat = "Default", **fields: Any) -> None:
        """Makes Harbor give these up after the last attempt."""
        for number in ids:
            started = fields.get("started", self.now())
            execution = Execution(
                number, kind, "PUSH_ARTIFACT", fields.get("event", f"e{number}"), "Error", started, None
            )
            self.harbor.executions_by_id[number] = replace(execution, format=payload_format)

    def becomes(self, number: int, status: str) -> None:
        self.harbor.executions_by_id[number] = replace(self.harbor.executions_by_id[number], status=status)

    async def poll(self, *, renumbered_from: int | None = None, above: int = 0) -> None:
        """Takes in a poll of all notifications above that id."""
        self.now()
        patience = patience_with(self.context, self.link)
        rows = [one for one in self.harbor.executions_by_id.values() if one.id > above]
        judged = [judge(one, None, now=self.harbor.now(), patience=patience) for one in rows]
        final = [replace(one, status="Failed", final=True) if one.status == "Retrying" else one for one in judged]
        history = History(tuple(final), renumbered_from=renumbered_from)
        self.link.mailbox.readings[POLICY] = DeliveryReading(5, (), history)
        await redelivery.take_in(self.context, self.link, self.policy, history)
        self.context.queue.add(POLICY, Cause.DELIVERIES)

    async def run(self, seconds: float = 0.0) -> None:
        """Advances the clock by so many seconds and runs everything that becomes due."""
        end = self.clock.now + seconds
        while True:
            await self._work_off()
            due = min((one.due for one in self.context.sending._waiting.values()), default=float("inf"))
            self.clock.now = min(max(due, self.clock.now), end)
            if due > end:
                return

    async def _work_off(self) -> None:
        while True:
            taken = self.context.sending._take()
            if taken is not None:
                await senders._attempt(self.context, taken[0])
                self.context.sending.done(taken[0])
            elif not await self.write():
                return

    async def write(self) -> bool:
        """Runs the policy's own visit for news, if one is due; returns whether it was."""
        if self.context.queue._waiting.pop(POLICY, None) is None:
            return False
        visit = Visit(self.context, self.policy, Cause.DELIVERIES, status=self.policy.status)
        await webhook_policy.take_news(visit)
        await visit.write_status()
        return True

    async def ask(self, request: str) -> Object:
        """Sets the annotation; returns the answer, after a minute at most."""
        self.annotate(request)
        redelivery.schedule(self.context, self.link, POLICY)
        await self.run(60)
        return dict(self.status.get("redelivery") or {})

    def annotate(self, request: str) -> None:
        self.change_metadata(annotations={"harborhook.io/redeliver": request})

    def change_metadata(self, **fields: Any) -> None:
        body = copy.deepcopy(self.stored(POLICY))
        version = str(int(body["metadata"]["resourceVersion"]) + 1)
        body["metadata"].update(fields, resourceVersion=version)
        self.context.store.upsert(POLICY, body)

    def change_connection(self, **connection: Any) -> None:
        """Changes the connection's spec."""
        body = copy.deepcopy(self.stored(CONNECTION))
        body["spec"].update(connection)
        body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
        self.context.store.upsert(CONNECTION, body)
        self.link.connection = type(self.link.connection).model_validate(body)

    # Observations

    @property
    def policy(self) -> WebhookPolicy:
        return WebhookPolicy.model_validate(self.stored(POLICY))

    @property
    def status(self) -> Object:
        return dict(self.stored(POLICY).get("status") or {})

    @property
    def deliveries(self) -> Object:
        return dict(self.status.get("deliveries") or {})

    @property
    def condition(self) -> tuple[str, str]:
        found = next(one for one in self.status["conditions"] if one["type"] == "Delivering")
        return found["reason"], found["message"]

    @property
    def waits(self) -> bool:
        return self.context.sending.waits(SenderKey("Redelivery", POLICY))
