"""Harbor's API as typed calls, one method per endpoint in use. Projects are always addressed by name.

Harbor takes a path segment of digits for an id unless `X-Is-Resource-Name: true` is sent. The transport sends it with
every request, so a project named "32" is never mistaken for the one with id 32. A name that could escape its path
segment is never sent (`_named`); all other variable parts of paths are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, TypeVar

from harborhook.foreign_text import clip
from harborhook.harbor.errors import (
    NAME_SHOWN,
    ForbiddenError,
    NotFoundError,
    NotHarborError,
    PreconditionError,
    ProjectNameError,
    RefusedError,
)
from harborhook.harbor.executions import Execution, Job, Stored, Task
from harborhook.harbor.models import (
    Allowlist,
    LastTrigger,
    Policy,
    Project,
    Quota,
    Registry,
    Right,
    Supported,
    SystemInfo,
    User,
    mapping,
    number,
    whole_number,
)
from harborhook.harbor.payloads import slack_message
from harborhook.harbor.transport import Answer, Transport
from harborhook.harbor.window import Window
from harborhook.tls import TLSOptions

Row = TypeVar("Row")
Notification = TypeVar("Notification", Execution, Job)

PAGE_SIZE = 100
"""The maximum number of rows in one page of Harbor's answers."""
UNDELIVERED_PAGES = 5
"""Maximum pages of undelivered notifications to read: each row contains the notification's body."""
PAGES_LIMIT = 1000
"""Maximum pages of one listing: 100,000 projects are more than any Harbor has."""
LISTING_LIMIT = 64 * 1024 * 1024
"""Maximum bytes of all pages of a listing; a project takes one kilobyte."""


class HarborClient:
    """Typed calls over one transport. All methods raise HarborError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @property
    def url(self) -> str:
        return self._transport.url

    @property
    def username(self) -> str:
        """The name in the credentials. A robot has no other name."""
        return self._transport.username

    @property
    def tls(self) -> TLSOptions:
        return self._transport.tls

    @property
    def authentication(self) -> Literal["Session", "Basic"]:
        return self._transport.authentication

    @property
    def window(self) -> Window:
        """How many callers may begin."""
        return self._transport.window

    def now(self) -> datetime:
        """The time by Harbor's own clock, which also sets the timestamps in its answers."""
        return self._transport.clock.now()

    async def close(self) -> None:
        await self._transport.close()

    async def log_in(self) -> bool:
        """Logs a user in once, to avoid a password hash with each request. Returns False if Harbor refuses."""
        return await self._transport.log_in()

    async def system_info(self) -> SystemInfo:
        return SystemInfo.parse(_object(await self._get("/systeminfo", endpoint="/systeminfo")))

    async def current_user(self) -> User | None:
        """Returns the authenticated user; None for a robot, which Harbor answers with 412."""
        try:
            return User.parse(_object(await self._get("/users/current", endpoint="/users/current")))
        except PreconditionError:
            return None

    async def probe(self) -> None:
        """Returns if the API answers at all, even with a refusal."""
        with suppress(RefusedError):
            await self._get("/projects", endpoint="/projects", params={"page_size": 1})

    async def rights(self, project_id: int) -> frozenset[str]:
        """Returns the rights of the principal, robot or user, in a project, such as `project:read`."""
        params: dict[str, str | int] = {"scope": f"/project/{project_id}", "relative": "true"}
        answer = await self._get("/users/current/permissions", endpoint="/users/current/permissions", params=params)
        return frozenset(right.name for right in _rows(answer, Right.parse))

    async def may_list(self, what: Literal["quotas", "registries"]) -> bool:
        """Whether the principal may list these. It requests one row, since an account cannot read its rights on the
        whole Harbor."""
        try:
            await self._get(f"/{what}", endpoint=f"/{what}", params={"page_size": 1})
        except ForbiddenError:
            return False
        return True

    # Harbor's switch over all notifications

    async def notifications_editable(self) -> bool:
        """Whether a system administrator may set the switch. Nobody may while Harbor's environment fixes the
        configuration."""
        answer = await self._get("/configurations", endpoint="/configurations")
        setting = _object(answer).get("notification_enable")
        return isinstance(setting, dict) and setting.get("editable") is True

    async def set_notifications(self, enabled: bool) -> None:
        body = {"notification_enable": enabled}
        await self._transport.request("PUT", "/configurations", endpoint="/configurations", body=body)

    # Projects

    async def create_project(
        self,
        name: str,
        metadata: Mapping[str, str],
        *,
        storage_limit: int | None = None,
        registry_id: int | None = None,
    ) -> int | None:
        """Creates a project and returns its id, or None if the answer does not contain it. ConflictError: it exists.

        `storage_limit` in bytes is honoured for administrators and robots, and ignored for other users.
        """
        body: dict[str, Any] = {"project_name": name, "metadata": dict(metadata)}
        if storage_limit is not None:
            body["storage_limit"] = storage_limit
        if registry_id is not None:
            body["registry_id"] = registry_id
        answer = await self._transport.request("POST", "/projects", endpoint="/projects", body=body)
        return _id_of_location(answer)

    async def project(self, name: str) -> Project | None:
        """Returns the project of that name, or None. Harbor answers 403 both for a missing project and for one that the
        principal may not see, so existence is checked with HEAD, which answers correctly for any login."""
        try:
            answer = await self._get(_project_path(name), endpoint="/projects/{project}")
        except NotFoundError:
            return None
        except ForbiddenError:
            if not await self.project_exists(name):
                return None
            raise
        project = Project.parse(answer.body)
        if project is None:
            raise NotHarborError(f"Harbor's answer for project {name} has no name and id.")
        if project.name != name:
            raise NotHarborError(
                f'Asked for project {name}, Harbor answered with "{clip(project.name, NAME_SHOWN)}"',
                "a proxy in front of it may change paths, or lose the header X-Is-Resource-Name",
            )
        return project

    async def project_exists(self, name: str) -> bool:
        try:
            params = {"project_name": _named(name)}
            await self._transport.request("HEAD", "/projects", endpoint="/projects", params=params)
        except NotFoundError:
            return False
        return True

    async def projects(self) -> list[Project]:
        """Returns all projects that the principal sees."""
        return await self._pages("/projects", "/projects", "project_id", Project.parse)

    async def update_project(self, name: str, metadata: Mapping[str, str], allowlist: Allowlist | None = None) -> None:
        """Changes the given metadata and keeps other keys. An allowlist replaces the whole present one; None keeps
        it."""
        body: dict[str, Any] = {"metadata": dict(metadata)} if metadata or allowlist is None else {}
        if allowlist is not None:
            body["cve_allowlist"] = allowlist.body()
        await self._transport.request("PUT", _project_path(name), endpoint="/projects/{project}", body=body)

    async def delete_project(self, name: str) -> None:
        """Deletes a project. PreconditionError: it is not empty. NotFoundError, or ForbiddenError for a robot: it does
        not exist."""
        await self._transport.request("DELETE", _project_path(name), endpoint="/projects/{project}")

    async def repository_count(self, name: str) -> int:
        summary = await self._get(f"{_project_path(name)}/summary", endpoint="/projects/{project}/summary")
        return number(_object(summary).get("repo_count")) or 0

    # Quotas and registry endpoints

    async def observed_quota(self, name: str) -> Quota | None:
        """Returns the quota, without its id, from the project's summary, which is four times cheaper than reading the
        quota itself.

        None: the project has no quota, or the principal may not see it.
        """
        summary = await self._get(f"{_project_path(name)}/summary", endpoint="/projects/{project}/summary")
        return Quota.parse(_object(summary).get("quota"))

    async def quota(self, project_id: int) -> Quota | None:
        """Returns the quota of a project with the quota's id; None if Harbor keeps none for it."""
        params: dict[str, str | int] = {"reference": "project", "reference_id": project_id}
        answer = await self._get("/quotas", endpoint="/quotas", params=params)
        return next((quota for quota in _rows(answer, Quota.parse) if quota.id is not None), None)

    async def quota_in_sight(self, project: Project, *, is_robot: bool) -> Quota | None:
        """Returns the quota of a project with the rights of the principal; None if Harbor keeps none. Raises
        ForbiddenError."""
        quota = await self.observed_quota(project.name)
        if quota is None and is_robot:  # without the right quota:read the summary omits it
            quota = await self.quota(project.id)
        return quota

    async def set_quota(self, quota_id: int, hard: int) -> None:
        """`hard` in bytes, -1 for no limit."""
        body = {"hard": {"storage": hard}}
        await self._transport.request("PUT", f"/quotas/{quota_id}", endpoint="/quotas/{quota}", body=body)

    async def registries(self) -> list[Registry]:
        """Returns all registry endpoints. Harbor could take a name in a query for a pattern, so callers compare the
        names."""
        return await self._pages("/registries", "/registries", "id", Registry.parse)

    # Webhook policies

    async def policies(self, project: str) -> list[Policy]:
        return await self._pages(_policies_path(project), _POLICIES, "id", Policy.parse)

    async def policy(self, project: str, policy_id: int) -> Policy | None:
        try:
            answer = await self._get(f"{_policies_path(project)}/{policy_id}", endpoint=_POLICY)
        except NotFoundError:
            return None
        except ForbiddenError:
            if not await self.project_exists(project):
                return None
            raise
        policy = Policy.parse(answer.body)
        if policy is None:
            raise NotHarborError(f"Harbor's answer for webhook policy {policy_id} has no id.")
        return policy

    async def create_policy(self, project: str, body: Mapping[str, Any]) -> int | None:
        answer = await self._transport.request("POST", _policies_path(project), endpoint=_POLICIES, body=dict(body))
        return _id_of_location(answer)

    async def update_policy(self, project: str, policy_id: int, body: Mapping[str, Any]) -> None:
        """Replaces the whole policy: Harbor empties all fields that `body` lacks."""
        await self._transport.request(
            "PUT", f"{_policies_path(project)}/{policy_id}", endpoint=_POLICY, body=dict(body)
        )

    async def delete_policy(self, project: str, policy_id: int) -> None:
        """PreconditionError: notifications are in progress."""
        await self._transport.request("DELETE", f"{_policies_path(project)}/{policy_id}", endpoint=_POLICY)

    async def open_executions(self, project: str, policy_id: int) -> int:
        """Returns the number of a policy's notifications in state Running (Harbor 2.8 and later); 0 if Harbor does not
        state it."""
        params: dict[str, str | int] = {"q": "status=Running", "page_size": 1}
        path = f"{_policies_path(project)}/{policy_id}/executions"
        answer = await self._get(path, endpoint=f"{_POLICY}/executions", params=params)
        return _total(answer)

    async def executions(
        self, project: str, policy_id: int, *, above: int | None = None, newest_first: bool = True, page: int = 1
    ) -> tuple[list[Execution], int]:
        """Returns one page of a policy's notifications (Harbor 2.8 and later), and their number in all pages."""
        path = f"{_policies_path(project)}/{policy_id}/executions"
        answer = await self._get(
            path, endpoint=f"{_POLICY}/executions", params=_newer_than(above, newest_first=newest_first, page=page)
        )
        return _rows(answer, Execution.parse), _total(answer)

    async def tasks(self, project: str, policy_id: int, execution_id: int) -> list[Task]:
        path = f"{_policies_path(project)}/{policy_id}/executions/{execution_id}/tasks"
        return _rows(await self._get(path, endpoint=f"{_POLICY}/executions/{{execution}}/tasks"), Task.parse)

    async def task_log(self, project: str, policy_id: int, execution_id: int, task_id: int) -> str | None:
        """Returns the log of a task's last attempt; None before the first attempt, and after Harbor has swept the
        log."""
        path = f"{_policies_path(project)}/{policy_id}/executions/{execution_id}/tasks/{task_id}/log"
        try:
            answer = await self._get(path, endpoint=f"{_POLICY}/executions/{{execution}}/tasks/{{task}}/log")
        except NotFoundError:
            return None
        return answer.body if isinstance(answer.body, str) else None

    async def jobs(
        self, project: str, policy_id: int, *, above: int | None = None, newest_first: bool = True, page: int = 1
    ) -> tuple[list[Job], int]:
        """The counterpart of `executions` before Harbor 2.8."""
        params = {"policy_id": policy_id, **_newer_than(above, newest_first=newest_first, page=page)}
        path = f"{_project_path(project)}/webhook/jobs"
        answer = await self._get(path, endpoint="/projects/{project}/webhook/jobs", params=params)
        return _rows(answer, Job.parse), _total(answer)

    async def undelivered_executions(self, project: str, policy_id: int) -> list[Execution]:
        """Returns the newest undelivered executions (2.8 and later). Harbor keeps the newest 50 of each vendor type,
        and sweeps the others once a day."""
        path = f"{_policies_path(project)}/{policy_id}/executions"
        return await self._newest(path, f"{_POLICY}/executions", {"q": "status={Error Running}"}, Execution.parse)

    async def undelivered_jobs(self, project: str, policy_id: int) -> list[Job]:
        """The counterpart before Harbor 2.8, which keeps all jobs."""
        params: dict[str, str | int] = {"policy_id": policy_id, "q": "status={error pending}"}
        path = f"{_project_path(project)}/webhook/jobs"
        return await self._newest(path, "/projects/{project}/webhook/jobs", params, Job.parse)

    async def stored_execution(self, project: str, policy_id: int, execution_id: int) -> Stored | None:
        """Returns one notification with its body (Harbor 2.8 and later); None after Harbor has swept it."""
        path = f"{_policies_path(project)}/{policy_id}/executions"
        params = {**_newer_than(execution_id - 1, newest_first=False, page=1), "page_size": 1}
        answer = await self._get(path, endpoint=f"{_POLICY}/executions", params=params)
        return _stored(answer, execution_id, Execution.parse, _payload_of_execution)

    async def stored_job(self, project: str, policy_id: int, job_id: int) -> Stored | None:
        """The counterpart of `stored_execution` before Harbor 2.8."""
        params = {"policy_id": policy_id, **_newer_than(job_id - 1, newest_first=False, page=1), "page_size": 1}
        path = f"{_project_path(project)}/webhook/jobs"
        answer = await self._get(path, endpoint="/projects/{project}/webhook/jobs", params=params)
        return _stored(answer, job_id, Job.parse, _payload_of_job)

    async def supported(self, project: str) -> Supported:
        """Returns the event types and payload formats that policies can have; the same for all projects."""
        endpoint = "/projects/{project}/webhook/events"
        return Supported.parse(_object(await self._get(f"{_project_path(project)}/webhook/events", endpoint=endpoint)))

    async def last_triggers(self, project: str) -> list[LastTrigger]:
        """Returns one row per policy and event type of the project."""
        answer = await self._get(
            f"{_project_path(project)}/webhook/lasttrigger", endpoint="/projects/{project}/webhook/lasttrigger"
        )
        return _rows(answer, LastTrigger.parse)

    # Plumbing

    async def _get(self, path: str, *, endpoint: str, params: Mapping[str, str | int] | None = None) -> Answer:
        return await self._transport.request("GET", path, endpoint=endpoint, params=params)

    async def _pages(self, path: str, endpoint: str, sort: str, parse: Callable[[Any], Row | None]) -> list[Row]:
        """Reads all pages by ascending id: in Harbor's default orders a row can move to another page between two reads.
        Raises NotHarborError if the list does not end."""
        rows: list[Row] = []
        before, size = None, 0
        for page in range(1, PAGES_LIMIT + 1):
            params: dict[str, str | int] = {"page": page, "page_size": PAGE_SIZE, "sort": sort}
            answer = await self._get(path, endpoint=endpoint, params=params)
            rows += _rows(answer, parse)
            size += answer.size
            if len(answer.body) < PAGE_SIZE:
                return rows
            if size > LISTING_LIMIT:
                break
            if answer.body == before:  # such a list never ends
                raise NotHarborError(f"Pages {page - 1} and {page} of {endpoint} are the same.")
            before = answer.body
        raise NotHarborError(f"The list of {endpoint} does not end: {page} pages with {size} bytes were read.")

    async def _newest(
        self,
        path: str,
        endpoint: str,
        params: Mapping[str, str | int],
        parse: Callable[[Any], Notification | None],
    ) -> list[Notification]:
        """Returns the newest notifications that match a query, by descending id, each once even if new ones arrive
        meanwhile."""
        found: dict[int, Notification] = {}
        for page in range(1, UNDELIVERED_PAGES + 1):
            asked = {**params, **_newer_than(None, newest_first=True, page=page)}
            answer = await self._get(path, endpoint=endpoint, params=asked)
            found |= {row.id: row for row in _rows(answer, parse)}
            if len(answer.body) < PAGE_SIZE:
                break
        return list(found.values())


_POLICIES = "/projects/{project}/webhook/policies"
_POLICY = "/projects/{project}/webhook/policies/{policy}"


_PROJECT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
"""The names that Harbor accepts in a path. Harbor is stricter with a new project's name, but early versions created
such projects. Encoding a name does not protect: Harbor's own front proxy decodes and normalises paths before Harbor
sees them, so `none%2F..%2Fvictim` is the project `victim` (measured on Harbor 2.16)."""


def _named(name: str) -> str:
    """Returns the name if it is safe in a path. Raises ProjectNameError."""
    if _PROJECT_NAME.fullmatch(name) is None:
        raise ProjectNameError(name)
    return name


def _project_path(name: str) -> str:
    """The only place that puts a name into a path."""
    return f"/projects/{_named(name)}"


def _policies_path(project: str) -> str:
    return f"{_project_path(project)}/webhook/policies"


def _rows(answer: Answer, parse: Callable[[Any], Row | None]) -> list[Row]:
    if not isinstance(answer.body, list):
        raise NotHarborError("Harbor's answer is not a JSON list.")
    return [row for row in map(parse, answer.body) if row is not None]


def _stored(
    answer: Answer, wanted: int, parse: Callable[[Any], Notification | None], payload: Callable[[Any], Any]
) -> Stored | None:
    """Returns the wanted notification. The answer starts with the first one from that id on, which can be a later
    one."""
    if not isinstance(answer.body, list):
        raise NotHarborError("Harbor's answer is not a JSON list.")
    for row in answer.body:
        notification = parse(row)
        if notification is not None and notification.id == wanted and isinstance(payload(row), str):
            return Stored(notification, payload(row).encode())
    return None


def _payload_of_execution(row: Any) -> Any:
    return mapping(mapping(row).get("extra_attrs")).get("payload")


def _payload_of_job(row: Any) -> Any:
    """For a Slack target, Harbor before 2.8 stores the Default payload, and builds the Slack message when it sends
    it."""
    payload = mapping(row).get("job_detail")
    is_slack = mapping(row).get("notify_type") == "slack"
    return slack_message(payload) if is_slack and isinstance(payload, str) else payload


def _total(answer: Answer) -> int:
    return whole_number(answer.headers.get("x-total-count", "")) or 0


def _newer_than(above: int | None, *, newest_first: bool, page: int) -> dict[str, str | int]:
    """Sorts by id, a total order in which no row moves to a page that has been read."""
    params: dict[str, str | int] = {"page": page, "page_size": PAGE_SIZE, "sort": "-id" if newest_first else "id"}
    return params if above is None else {**params, "q": f"id=[{above + 1}~]"}


def _object(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer.body, dict):
        raise NotHarborError("Harbor's answer is not a JSON object.")
    return answer.body


def _id_of_location(answer: Answer) -> int | None:
    """Returns the id of the object that a POST created; None if the answer contains no number."""
    return whole_number(answer.headers.get("location", "").rpartition("/")[2])
