"""Harbor's notifications: queued by its core, delivered by its jobservice, with executions, tasks, logs and retries.

Requests are really sent. All delays of Harbor are simulated, multiplied by ``time_scale``. The time-out of a delivery
(3 s) is scaled too, but never below 2 s of real time, so that a busy machine does not fail deliveries. Times in answers
are real ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.harbor._deliverystore import Delivery, DeliveryStore
from harness.harbor._go_http import Answer, Client, RequestError, SendError
from harness.harbor._payloads import Event, cloud_event, default_payload, slack_payload

__all__ = ["NEVER", "Deliveries", "Event"]

NEVER = "0001-01-01T00:00:00.000Z"
_NEVER_SECONDS = "0001-01-01T00:00:00Z"
_RETAINED = 50
_TIMEOUT = 3.0
_SHORTEST_TIMEOUT = 2.0
_ATTEMPTS = 3
_LEGACY_ATTEMPTS = 10
_AT_ONCE = 10  # the workers of a jobservice
_LAG = (3.0, 31.0)
_QUEUE = (0.3, 3.0)
_FINAL = {"Success", "Error", "Stopped"}
_JOB_STATUS = {"Pending": "pending", "Running": "running", "Success": "finished", "Error": "error"}
_JOBS = "/src/jobservice/job/impl/notification/"
# source file, and its lines that log the start, the request, the failure and the success of a run
_LOG_PLACES = {
    "webhook": ("webhook_job.go", 73, 118, 76, 80),
    "slack": ("slack_job.go", 95, 134, 99, 101),
}


def _seconds(when: float | None) -> str:
    """RFC 3339 in whole seconds, the format of executions and tasks."""
    return _NEVER_SECONDS if when is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def _milliseconds(when: float | None) -> str:
    """RFC 3339 with milliseconds, the format of last triggers and jobs."""
    if when is None:
        return NEVER
    thousandths = int(when * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(thousandths // 1000)) + f".{thousandths % 1000:03d}Z"


def overwrite(old: str | None, new: str) -> str:
    """Harbor opens a log file for a new attempt without truncating it: the end of a longer old text remains (0314)."""
    before, text = (old or "").encode(), new.encode()
    return (text + before[len(text) :]).decode(errors="replace")


class _RunLog:
    """The lines that one attempt writes into its task's log."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._before = delivery.log
        self._kind = "slack" if delivery.notify_type == "slack" else "webhook"
        self._file, self._start, self._send, self._exit, self._success = _LOG_PLACES[self._kind]
        self._text = ""
        self._line("INFO", self._start, f"start to run {self._kind} job")

    def _line(self, level: str, line: int, message: str) -> None:
        self._text += f"{_seconds(time.time())} [{level}] [{_JOBS}{self._file}:{line}]: {message}\n"
        self._delivery.log = overwrite(self._before, self._text)

    def sending(self) -> None:
        self._line("INFO", self._send, f"send request to remote endpoint, body: {self._delivery.payload}")

    def succeeded(self) -> None:
        self._line("INFO", self._success, f"success to run {self._kind} job")

    def unread(self, reason: str) -> None:
        self._line("ERROR", self._send + 11, f"error to read response body, error: {reason}")

    def failed(self, reason: str) -> None:
        self._line("ERROR", self._exit, f"exit {self._kind} job, error: {reason}")


class Deliveries:
    """All deliveries of one Harbor.

    ``legacy`` simulates Harbor 2.7: jobs instead of executions, every target's notification goes to the last target, no
    time-out, ten attempts, no payload formats, no sweeps, and deletion is never refused.
    """

    def __init__(
        self,
        *,
        policies_of: Callable[[int], list[dict[str, Any]]],
        notification_enabled: Callable[[], bool],
        jobservice_running: Callable[[], bool],
        legacy: bool,
        time_scale: float,
        directory: Path,
        public_url: str,
        max_attempts: int | None = None,
    ) -> None:
        self._policies_of = policies_of
        self._notification_enabled = notification_enabled
        self._jobservice_running = jobservice_running
        self._legacy = legacy
        self._scale = time_scale
        self._max_attempts = max_attempts or (_LEGACY_ATTEMPTS if legacy else _ATTEMPTS)
        self._host = public_url.partition("://")[2].rstrip("/") or public_url
        self.random = random.Random()  # for all variation of Harbor; tests may seed it
        self._store = DeliveryStore(directory)
        self._all: dict[int, Delivery] = {}
        self._by_policy: dict[int, dict[int, Delivery]] = defaultdict(dict)
        self._last: dict[tuple[int, str], float] = {}
        self._due: list[tuple[float, int, str, int]] = []
        self._sequence = itertools.count()
        self._held: set[int] = set()  # due while jobservice was down
        self._wake = asyncio.Event()
        self._workers = asyncio.Semaphore(_AT_ONCE)
        self._runs: set[asyncio.Task[None]] = set()
        self._busy: set[int] = set()  # deliveries with a run that is pending or in progress
        self._loop_task: asyncio.Task[None] | None = None
        self._client: Client | None = None
        self._load()

    # Lifecycle

    def _load(self) -> None:
        """Resumes the deliveries of an earlier process; an attempt in progress then is repeated."""
        for delivery in self._store.load():
            self._add(delivery)
            if delivery.status == "Running":
                delivery.status = "Pending" if delivery.run_count <= 1 else "Error"
                delivery.run_count -= 1
                delivery.due = time.time()
            self._schedule(delivery)

    def _add(self, delivery: Delivery) -> None:
        self._all[delivery.id] = delivery
        if delivery.forgotten:
            return
        self._by_policy[delivery.policy_id][delivery.id] = delivery
        key = (delivery.policy_id, delivery.event_type)
        self._last[key] = max(self._last.get(key, 0.0), delivery.created)

    def _schedule(self, delivery: Delivery) -> None:
        for kind, when in (("attempt", delivery.due), ("refresh", delivery.refresh_due)):
            if when is not None:
                heapq.heappush(self._due, (when, next(self._sequence), kind, delivery.id))
        self._wake.set()

    async def start(self) -> None:
        timeout = None if self._legacy else max(_TIMEOUT * self._scale, _SHORTEST_TIMEOUT)
        self._client = Client(timeout=timeout)
        self._loop_task = asyncio.create_task(self._loop(), name="harbor deliveries")

    async def stop(self) -> None:
        """Stops as a shutdown would: pending deliveries stay in the store."""
        tasks = [task for task in (self._loop_task, *self._runs) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loop_task = None
        if self._client is not None:
            await self._client.aclose()
        self._store.close()

    async def _loop(self) -> None:
        while True:
            self._wake.clear()
            now = time.time()
            while self._due and self._due[0][0] <= now:
                when, _, kind, number = heapq.heappop(self._due)
                self._fire(kind, number, when)
            pause = self._due[0][0] - time.time() if self._due else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause if pause is None else max(pause, 0.0)):
                    await self._wake.wait()

    def _fire(self, kind: str, number: int, when: float) -> None:
        delivery = self._all.get(number)
        if delivery is None:
            return
        if kind == "refresh" and delivery.refresh_due == when:
            self._refresh(delivery)
        if kind == "attempt" and delivery.due == when:
            if self._jobservice_running():
                self._begin(delivery)
            else:
                self._held.add(number)

    def jobservice_changed(self) -> None:
        """Called when jobservice was stopped or started. Once started, it makes the attempts that were due
        meanwhile."""
        if self._jobservice_running():
            for number in sorted(self._held):
                if number in self._all:
                    self._schedule(self._all[number])
            self._held.clear()

    # Core: an event becomes executions

    def trigger(self, event: Event) -> None:
        """Queues one execution per enabled policy, matching event type and target.

        A duplicated event type is delivered twice (0330); executions of one event are numbered in any order (0300);
        with the global switch off nothing is queued or stored.
        """
        if not self._notification_enabled():
            return
        wanted = [
            (policy, target)
            for policy in self._policies_of(event.project_id)
            if policy.get("enabled")
            for event_type in policy.get("event_types") or []
            if event_type == event.type
            for target in policy.get("targets") or []
        ]
        if not wanted:
            return
        ids = self._store.take_ids("execution", len(wanted))
        task_ids = self._store.take_ids("task", len(wanted))
        self.random.shuffle(ids)
        self.random.shuffle(task_ids)
        numbered = zip(ids, task_ids, wanted, strict=True)
        deliveries = [self._queue(event, number, task, *what) for number, task, what in numbered]
        self._store.save(*deliveries)

    def _queue(self, event: Event, number: int, task: int, policy: dict[str, Any], target: dict[str, Any]) -> Delivery:
        notify_type = str(target.get("type") or "http")
        if self._legacy:
            target = policy["targets"][-1]  # up to 2.10 the loop variable's address was kept
        payload, content_type = self._format(event, policy, target, notify_type)
        now = time.time()
        delivery = Delivery(
            id=number,
            task_id=task,
            policy_id=int(policy["id"]),
            project_id=event.project_id,
            event_type=event.type,
            notify_type=notify_type,
            payload=payload,
            # before 2.8 the job of a Slack message shows Harbor's own format (2817), the source of the message
            shown=default_payload(event, self._host) if self._legacy and notify_type == "slack" else None,
            content_type=content_type,
            address=str(target.get("address") or ""),
            auth_header=str(target.get("auth_header") or ""),
            skip_cert_verify=bool(target.get("skip_cert_verify")),
            created=now,
            updated=now,
        )
        self._submit(delivery)
        self._add(delivery)
        self._schedule(delivery)
        return delivery

    def _format(self, event: Event, policy: dict[str, Any], target: dict[str, Any], notify: str) -> tuple[str, str]:
        if notify == "slack":
            return slack_payload(event, self._host), "application/json"
        if target.get("payload_format") == "CloudEvents" and not self._legacy:
            return cloud_event(event, self._host, int(policy["id"])), "application/cloudevents+json"
        return default_payload(event, self._host), "application/json"

    def _submit(self, delivery: Delivery) -> None:
        """Hands the task to jobservice. If that is down, the execution stays Running, without a task, for ever (0436,
        0444); before 2.8 the job fails at once (3033)."""
        if self._jobservice_running():
            delivery.due = delivery.created + self.random.uniform(*_QUEUE) * self._scale
        elif self._legacy:
            delivery.status, delivery.updated = "Error", delivery.created + 0.008
        else:
            delivery.has_task = False

    # Jobservice: attempts

    def _begin(self, delivery: Delivery) -> None:
        delivery.due = None
        self._busy.add(delivery.id)
        run = asyncio.create_task(self._attempt(delivery), name=f"delivery {delivery.id}")
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _attempt(self, delivery: Delivery) -> None:
        async with self._workers:
            now = time.time()
            delivery.run_count += 1
            # the first run's start is the task's creation, later runs have their own (series-default-backoff)
            delivery.started = delivery.created if delivery.run_count == 1 else now
            delivery.ended = None
            self._change(delivery, "Running", now)
            succeeded = await self._run(delivery, _RunLog(delivery))
            if delivery.notify_type == "slack":
                await asyncio.sleep(self._scale)  # Harbor waits a second after each Slack message
            delivery.ended = time.time()
            if not succeeded and delivery.run_count < self._max_attempts:
                delivery.due = delivery.ended + self._pause(delivery.run_count) * self._scale
            self._busy.discard(delivery.id)
            self._change(delivery, "Success" if succeeded else "Error", delivery.ended)
            self._schedule(delivery)

    def _is_over(self, delivery: Delivery) -> bool:
        """Whether nothing more will be sent."""
        waits = delivery.due is not None or delivery.id in self._busy
        return not delivery.has_task or (delivery.status in _FINAL and not waits)

    def _pause(self, fails: int) -> int:
        """Returns jobservice's pause before the next attempt; the task stays Error meanwhile."""
        return int(fails**4 + 15 + self.random.randrange(30) * (fails + 1))

    async def _run(self, delivery: Delivery, log: _RunLog) -> bool:
        headers = {"Content-Type": delivery.content_type}
        if delivery.auth_header and delivery.notify_type != "slack":
            headers = {"Authorization": delivery.auth_header} | headers
        try:
            answer = await self._post(delivery, headers, log)
        except RequestError as error:
            log.failed(f"error to generate request: {error}")
        except SendError as error:
            log.failed(f"error to send request: {error}")
        except Exception as error:  # the engine must survive any address and answer
            log.failed(f"error to send request: {error}")
        else:
            return self._judge(answer, log)
        return False

    async def _post(self, delivery: Delivery, headers: dict[str, str], log: _RunLog) -> Answer:
        assert self._client is not None
        self._client.check(delivery.address)
        log.sending()
        skip = delivery.skip_cert_verify
        return await self._client.post(delivery.address, delivery.payload, headers, skip_cert_verify=skip)

    @staticmethod
    def _judge(answer: Answer, log: _RunLog) -> bool:
        if 200 <= answer.status < 300:
            log.succeeded()
            return True
        if answer.read_error:
            log.unread(answer.read_error)
        log.failed(f"abnormal response code: {answer.status}, body: {answer.body}")
        return False

    def _change(self, delivery: Delivery, status: str, when: float) -> None:
        """Changes a task's status; its execution follows later."""
        delivery.status, delivery.updated = status, when
        if delivery.forgotten and self._is_over(delivery):
            self._drop(delivery)
            return
        if delivery.refresh_due is None and not self._legacy:
            delivery.refresh_due = when + self.random.uniform(*_LAG) * self._scale
            self._schedule(delivery)
        self._store.save(delivery)

    def _refresh(self, delivery: Delivery) -> None:
        """Makes the execution take over its task's status, 3 to 31 s after the task's change."""
        soonest = delivery.updated + _LAG[0] * self._scale
        if soonest > time.time():
            delivery.refresh_due = soonest
            self._schedule(delivery)
            return
        delivery.refresh_due = None
        final = delivery.status in _FINAL
        delivery.execution_status = delivery.status if final else "Running"
        delivery.execution_ended = delivery.ended if final else None
        self._store.save(delivery)

    # Answers

    def executions(self, policy_id: int) -> list[dict[str, Any]]:
        return [self._execution(delivery) for delivery in self._of(policy_id)]

    def _of(self, policy_id: int) -> list[Delivery]:
        return list(self._by_policy[policy_id].values()) if policy_id in self._by_policy else []

    @staticmethod
    def _execution(delivery: Delivery) -> dict[str, Any]:
        counted = {f"{delivery.status.lower()}_task_count": 1, "task_count": 1}
        return {
            "end_time": _seconds(delivery.execution_ended),
            "extra_attrs": {"event_type": delivery.event_type, "payload": delivery.detail},
            "id": delivery.id,
            "metrics": counted if delivery.has_task else {},
            "start_time": _seconds(delivery.created),
            "status": delivery.execution_status,
            "trigger": "EVENT",
            "vendor_id": delivery.policy_id,
            "vendor_type": delivery.vendor_type,
        }

    def execution_policy(self, execution_id: int) -> int | None:
        """Returns the policy of an execution; None if it does not exist (0365, 1066)."""
        delivery = self._all.get(execution_id)
        return None if delivery is None or delivery.forgotten else delivery.policy_id

    def _find(self, policy_id: int, execution_id: int) -> Delivery | None:
        return self._by_policy[policy_id].get(execution_id) if policy_id in self._by_policy else None

    def tasks(self, policy_id: int, execution_id: int) -> list[dict[str, Any]] | None:
        delivery = self._find(policy_id, execution_id)
        if delivery is None:
            return None
        return [self._task(delivery)] if delivery.has_task else []

    @staticmethod
    def _task(delivery: Delivery) -> dict[str, Any]:
        counted = {"run_count": delivery.run_count} if delivery.run_count else {}
        return {
            "creation_time": _seconds(delivery.created),
            "end_time": _seconds(delivery.ended),
            "execution_id": delivery.id,
            "id": delivery.task_id,
            **counted,
            "start_time": _seconds(delivery.started),
            "status": delivery.status,
            "update_time": _seconds(delivery.updated),
        }

    def log(self, policy_id: int, execution_id: int, task_id: int) -> str | None:
        """Returns the log of the last attempt; None before the first one, and once it is swept."""
        delivery = self._find(policy_id, execution_id)
        if delivery is None or not delivery.has_task or delivery.task_id != task_id:
            return None
        return delivery.log

    def jobs(self, policy_id: int) -> list[dict[str, Any]]:
        """``webhook/jobs``: the only view in Harbor 2.7; later versions still serve it, from the executions (0369)."""
        return [self._job(delivery) for delivery in self._of(policy_id)]

    def _job(self, delivery: Delivery) -> dict[str, Any]:
        status, updated = _JOB_STATUS[delivery.status], delivery.updated
        if not self._legacy:
            status, updated = delivery.execution_status, delivery.execution_ended or delivery.created
        return {
            "creation_time": _milliseconds(delivery.created),
            "event_type": delivery.event_type,
            "id": delivery.id,
            "job_detail": delivery.detail,
            "notify_type": delivery.notify_type,
            "policy_id": delivery.policy_id,
            "status": status,
            "update_time": _milliseconds(updated),
        }

    def open_executions(self, policy_id: int) -> int:
        """Returns the executions that make DELETE of the policy a 412: those still Running, regardless of their tasks.
        Once they are Error, deletion is allowed and retries are still sent. Before 2.8 nothing is refused."""
        if self._legacy:
            return 0
        return sum(delivery.execution_status == "Running" for delivery in self._of(policy_id))

    def pending(self) -> int:
        """Returns how many deliveries still have pending work: attempts, retries, executions that lag."""
        return sum(not self._is_over(one) or one.refresh_due is not None for one in self._all.values())

    def last_trigger(self, policy_id: int, event_type: str) -> str:
        """Returns when such an event was last queued; it moves back when its executions are swept."""
        return _milliseconds(self._last.get((policy_id, event_type)))

    # Deletion

    def sweep(self) -> None:
        """Harbor's daily sweep: keeps the newest 50 executions of each policy and vendor type, and unfinished ones.

        Before 2.8 nothing is swept.
        """
        if self._legacy:
            return
        groups: dict[tuple[int, str], list[Delivery]] = defaultdict(list)
        for delivery in self._all.values():
            if not delivery.forgotten:
                groups[delivery.policy_id, delivery.vendor_type].append(delivery)
        for group in groups.values():
            if len(group) >= _RETAINED:
                oldest = sorted(delivery.created for delivery in group)[-_RETAINED]
                self._forget(one for one in group if one.created < oldest and one.execution_status in _FINAL)

    def sweep_logs(self) -> None:
        """Removes the logs of finished tasks, which live a day."""
        for delivery in self._all.values():
            if self._is_over(delivery) and delivery.log is not None:
                delivery.log = None
                self._store.save(delivery)

    def forget_policy(self, policy_id: int) -> None:
        """Removes the executions of a deleted policy; its pending retries are still sent, to the old address."""
        self._forget(self._of(policy_id))
        self._by_policy.pop(policy_id, None)

    def _forget(self, deliveries: Iterable[Delivery]) -> None:
        gone = list(deliveries)
        for delivery in gone:
            delivery.forgotten = True
            delivery.refresh_due = None
            self._by_policy[delivery.policy_id].pop(delivery.id, None)
        for delivery in gone:
            if self._is_over(delivery):
                self._all.pop(delivery.id, None)
        self._store.remove(*[one.id for one in gone if one.id not in self._all])
        self._store.save(*[one for one in gone if one.id in self._all])
        self._recount({delivery.policy_id for delivery in gone})

    def _recount(self, policies: set[int]) -> None:
        for key in [key for key in self._last if key[0] in policies]:
            del self._last[key]
        for policy_id in policies:
            for delivery in self._of(policy_id):
                self._add(delivery)

    def _drop(self, delivery: Delivery) -> None:
        self._all.pop(delivery.id, None)
        self._store.remove(delivery.id)
