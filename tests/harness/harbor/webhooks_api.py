"""`/projects/{p}/webhook/...`: policies, events, last triggers, executions with tasks and logs, legacy jobs."""

from __future__ import annotations

import hashlib
import random
import re
from datetime import UTC, datetime
from typing import Any

from .core import Core, check_serial
from .errors import HarborError, bad_request, conflict, internal, invalid, not_found
from .gojson import Model
from .gourl import refusal
from .http import Request, Response, Routes, created, ok, show, show_page
from .query import arrange, select
from .state import NEVER, Record, now

_RESOURCE = "notification-policy"
_TYPES = ("http", "slack")
_FORMATS = ("Default", "CloudEvents")
_MAX_NAME = 256
_MAX_CREATOR = 256
_LAST_TRIGGER_COST = 0.8
_POLICY = "/projects/{project_name_or_id}/webhook/policies/{webhook_policy_id}"
_TARGET = Model(
    "WebhookTargetObject",
    {"type": str, "address": str, "auth_header": str, "skip_cert_verify": bool, "payload_format": str},
)
_BODY = Model(
    "WebhookPolicy",
    {
        "id": int,
        "name": str,
        "description": str,
        "project_id": int,
        "targets": [_TARGET],
        "event_types": [str],
        "creator": str,
        "creation_time": str,
        "update_time": str,
        "enabled": bool,
    },
)
_POLICY_SORT = ("id", "name", "creation_time", "update_time", "enabled")
_EXECUTION_KEYS = ("id", "status", "start_time", "end_time", "trigger", "extra_attrs.event_type")
"""Without vendor_type: Harbor overrides that filter with WEBHOOK and SLACK (1041, 1051)."""
_JOB_KEYS = ("id", "status", "event_type", "notify_type", "policy_id", "creation_time", "update_time")


class WebhooksApi:
    """Webhook policies and the deliveries of their events."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        base = "/projects/{project_name_or_id}/webhook"
        routes.add("GET", f"{base}/events", self.events)
        routes.add("GET", f"{base}/lasttrigger", self.last_triggers)
        routes.add("GET", f"{base}/jobs", self.jobs)
        routes.add("GET", f"{base}/policies", self.list)
        routes.add("POST", f"{base}/policies", self.create)
        routes.add("GET", _POLICY, self.get)
        routes.add("DELETE", _POLICY, self.delete)
        routes.add("PUT", _POLICY, self.put)
        if core.capabilities.executions:
            routes.add("GET", f"{_POLICY}/executions", self.executions)
            routes.add("GET", f"{_POLICY}/executions/{{execution_id}}/tasks", self.tasks)
            routes.add("GET", f"{_POLICY}/executions/{{execution_id}}/tasks/{{task_id}}/log", self.log)

    # policies

    def list(self, request: Request) -> Response:
        """Newest first; an id without a project lists the orphans of that id."""
        request.query.check_page()
        project_id = self._core.project_id(request, "list", _RESOURCE)
        rows = select(self._core.state.policies_of(project_id), request.query.filters(), ("id", "name", "enabled"))
        rows = arrange(rows, request.query.get("sort"), _POLICY_SORT, _newest_first)
        return show_page(request.query.page(rows))

    def create(self, request: Request) -> Response:
        """201 with a Location that repeats the path as written."""
        core = self._core
        body = request.decode("policy", _BODY)
        project_id = core.project_id(request, "create", _RESOURCE)
        self._check(body)
        name = body.get("name", "")
        if self._taken(project_id, name, None):
            core.state.next_id("policies")
            raise conflict(f"notification policy named {name} already exists")
        key = body.get("id") or core.state.next_id("policies")
        if key in core.state.table("policies"):
            raise conflict(f"notification policy named {name} already exists")
        core.state.reserve_id("policies", key)
        moment = now()
        policy = self._policy(body, key, project_id, moment, moment)
        core.state.put("policies", key, policy)
        return created(f"{request.path.rstrip('/')}/{key}")

    def get(self, request: Request) -> Response:
        """One policy, its auth header in clear."""
        return show(self._find(request, "read"))

    def put(self, request: Request) -> Response:
        """Replaces the whole row: missing fields become empty, the creation time included."""
        core = self._core
        request.integer("webhook_policy_id")
        body = request.decode("policy", _BODY)
        if core.capabilities.put_takes_body_id:
            return self._put_by_body(request, body)
        old = self._find(request, "update")
        self._check(body)
        self._replace(old, body)
        return ok()

    def delete(self, request: Request) -> Response:
        """412 until every execution has left Running (2.8 and later)."""
        core = self._core
        policy = self._find(request, "delete")
        key = policy["id"]
        if core.capabilities.executions and core.deliveries.open_executions(key):
            message = (
                f"failed to delete executions for webhook of policy {key}: "
                "contains executions that aren't in final status, stop the execution first"
            )
            raise HarborError(412, message, "UNKNOWN")
        core.state.delete("policies", key)
        core.deliveries.forget_policy(key)
        return ok()

    def events(self, request: Request) -> Response:
        """The types and formats that this version supports; before 2.8 in random order and without formats."""
        self._core.project_id(request, "read", _RESOURCE)
        capabilities = self._core.capabilities
        types = list(capabilities.event_types)
        if not capabilities.payload_formats:
            random.shuffle(types)
            return show({"event_type": types, "notify_type": list(_TYPES)})
        formats = [{"formats": list(_FORMATS), "notify_type": "http"}]
        return show({"event_type": types, "notify_type": list(_TYPES), "payload_formats": formats})

    # deliveries

    async def last_triggers(self, request: Request) -> Response:
        """One row for each policy and event type, without ids; `enabled: false` is omitted."""
        core = self._core
        project_id = core.project_id(request, "read", _RESOURCE)
        rows = []
        for policy in sorted(core.state.policies_of(project_id), key=_newest_first):
            rows += [self._last_trigger(policy, event_type) for event_type in policy["event_types"]]
        await core.spend(_LAST_TRIGGER_COST * len(rows))
        return show(rows)

    def executions(self, request: Request) -> Response:
        """Newest first, filtered and sorted by known keys."""
        request.query.check_page()
        policy = self._find(request, "read")
        rows = select(self._core.deliveries.executions(policy["id"]), request.query.filters(), _EXECUTION_KEYS)
        rows = arrange(rows, request.query.get("sort"), _EXECUTION_KEYS, lambda row: -row["id"])
        return show_page(request.query.page(rows))

    def tasks(self, request: Request) -> Response:
        """The tasks of an execution, which must be the policy's."""
        request.query.check_page()
        policy, execution_id = self._execution(request)
        rows = self._core.deliveries.tasks(policy["id"], execution_id) or []
        return show_page(request.query.page(list(rows)))

    def log(self, request: Request) -> Response:
        """Plain text; 404 while there is none, 500 without jobservice."""
        task_id = request.integer("task_id")
        policy, execution_id = self._execution(request)
        tasks = self._core.deliveries.tasks(policy["id"], execution_id) or []
        if all(task["id"] != task_id for task in tasks):
            raise not_found(f"task {task_id} not found")
        if self._core.settings.jobservice == "stopped":
            raise internal()
        text = self._core.deliveries.log(policy["id"], execution_id, task_id)
        if text is None:
            details = hashlib.sha256(str(task_id).encode()).hexdigest()[:24]
            raise not_found(f'{{"code":10010,"message":"object is not found","details":"{details}"}}')
        return Response(200, "text/plain", text.encode())

    def jobs(self, request: Request) -> Response:
        """The legacy view, the only one before 2.8."""
        policy_id = request.query.integer("policy_id")
        if policy_id is None:
            raise invalid("policy_id in query is required")
        request.query.check_page()
        project_id = self._core.project_id(request, "list", _RESOURCE)
        policy = self._core.state.table("policies").get(policy_id)
        if policy is None:
            raise not_found(f"notificationPolicy {policy_id} not found")
        if policy["project_id"] != project_id:
            raise not_found(f"resource not found: project id {project_id} does not match")
        filters = request.query.filters()
        status = request.query.last("status")
        if status:
            if "," in status:
                return Response(500)
            filters["status"] = lambda value: value == status
        rows = select(self._core.deliveries.jobs(policy_id), filters, _JOB_KEYS)
        default = _newest_job if self._core.capabilities.executions else _latest_job
        rows = arrange(rows, request.query.get("sort"), _JOB_KEYS, default)
        return show_page(request.query.page(rows))

    # helpers

    def _find(self, request: Request, action: str) -> Record:
        key = request.integer("webhook_policy_id")
        project_id = self._core.project_id(request, action, _RESOURCE)
        check_serial(key)
        policy: Record | None = self._core.state.table("policies").get(key)
        if policy is None:
            raise not_found(f"notificationPolicy {key} not found")
        if policy["project_id"] != project_id and not self._core.capabilities.put_takes_body_id:
            raise not_found(f"resource not found: project id:{project_id}, webhook policy id: {key} not found")
        return policy

    def _execution(self, request: Request) -> tuple[Record, int]:
        execution_id = request.integer("execution_id")
        policy = self._find(request, "read")
        if self._core.deliveries.tasks(policy["id"], execution_id) is not None:
            return policy, execution_id
        if self._core.deliveries.execution_policy(execution_id) is None:
            raise not_found(f"execution {execution_id} not found")
        raise not_found(f"resource not found: execution {execution_id} not found in policy {policy['id']}")

    def _last_trigger(self, policy: Record, event_type: str) -> Record:
        row = {"creation_time": policy["creation_time"]}
        if policy["enabled"]:
            row["enabled"] = True
        row["event_type"] = event_type
        row["last_trigger_time"] = self._core.deliveries.last_trigger(policy["id"], event_type)
        if policy.get("name"):
            row["policy_name"] = policy["name"]
        return row

    def _put_by_body(self, request: Request, body: Record) -> Response:
        """2.3.0 and similar: the id in the body decides; without one it answers 200 and changes nothing."""
        self._core.project_id(request, "update", _RESOURCE)
        self._check(body)
        old = self._core.state.table("policies").get(body.get("id", 0))
        if old is not None:
            self._replace(old, body)
        return ok()

    def _replace(self, old: Record, body: Record) -> None:
        name = body.get("name", "")
        if self._taken(old["project_id"], name, old["id"]):
            raise conflict(f"notification policy named {name} already exists")
        born = _time(body["creation_time"]) if "creation_time" in body else NEVER
        policy = self._policy(body, old["id"], old["project_id"], born, old["update_time"])
        self._core.state.put("policies", old["id"], policy)

    def _policy(self, body: Record, key: int, project_id: int, born: str, updated: str) -> Record:
        """Returns the row in the form of answers: empty strings and false flags of targets are absent."""
        name = body.get("name", "")
        texts = (name, body.get("description", ""), body.get("creator", ""))
        if len(name) > _MAX_NAME or len(body.get("creator", "")) > _MAX_CREATOR or any("\0" in text for text in texts):
            self._core.state.next_id("policies")
            raise internal()
        policy: Record = {"creation_time": born}
        for field in ("creator", "description"):
            if body.get(field):
                policy[field] = body[field]
        policy |= {"enabled": body.get("enabled", False), "event_types": body["event_types"], "id": key}
        if name:
            policy["name"] = name
        policy |= {"project_id": project_id, "targets": [self._target(target) for target in body["targets"]]}
        policy["update_time"] = updated
        return policy

    def _target(self, target: Record) -> Record:
        found = {"address": target["address"]}
        if target.get("auth_header"):
            found["auth_header"] = target["auth_header"]
        if self._core.capabilities.payload_formats and target["type"] == "http":
            found["payload_format"] = target.get("payload_format") or "Default"
        if target.get("skip_cert_verify"):
            found["skip_cert_verify"] = True
        found["type"] = target["type"]
        return found

    def _taken(self, project_id: int, name: str, but: int | None) -> bool:
        policies = self._core.state.policies_of(project_id)
        return any(policy.get("name", "") == name and policy["id"] != but for policy in policies)

    def _check(self, body: Record) -> None:
        if not body.get("event_types"):
            raise bad_request("empty event type")
        for event_type in body["event_types"]:
            if event_type not in self._core.capabilities.event_types:
                raise bad_request(f"unsupported event type {event_type}")
        if not body.get("targets"):
            raise bad_request(f"empty notification target with policy {body.get('name', '')}")
        for target in body["targets"]:
            self._check_target(target, body.get("name", ""))
        if "creation_time" in body:
            _time(body["creation_time"])

    def _check_target(self, target: Record, name: str) -> None:
        reason = refusal(target.get("address", ""))
        if reason:
            raise bad_request(reason)
        kind = target.get("type", "")
        if kind not in _TYPES:
            raise bad_request(f"unsupported target type {kind} with policy {name}")
        payload_format = target.get("payload_format")
        if not payload_format or not self._core.capabilities.payload_formats:
            return
        if kind == "slack":
            raise bad_request("set payload format is not allowed for slack")
        if payload_format not in _FORMATS:
            raise bad_request(f"unsupported payload format type: {payload_format}")


def _newest_first(policy: Any) -> Any:
    """A creation time that a PUT emptied is NULL in the database, and sorts before all others (0390, 3116)."""
    moment = policy["creation_time"]
    return 0 if moment == NEVER else 1, _descending(moment), -policy["id"]


def _newest_job(job: Any) -> Any:
    """Since 2.8 jobs are a view of executions."""
    return -job["id"]


def _latest_job(job: Any) -> Any:
    """Before, the job that changed last comes first: a retry moves it."""
    return _descending(job["update_time"]), -job["id"]


def _descending(moment: str) -> int:
    """Returns a sort key that puts later times first: all times have the same length and only digits matter."""
    return -int(re.sub(r"\D", "", moment)[:17].ljust(17, "0"))


def _time(text: str) -> str:
    """Returns the time as strfmt.DateTime formats it: UTC with milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        reason = f'parsing time "{text}"'
        raise invalid(f'parsing policy body from "" failed, because {reason}') from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    if moment.year == 1:
        return text[:19] + ".000Z"
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
