"""The operator's own client against a Harbor: correct and complete objects, and a HarborError for every failure."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.conftest import TARGET, Api, grant, unique
from harborhook.foreign_text import TEXT_LIMIT
from harborhook.harbor import errors, transport
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError, RefusedError
from harborhook.harbor.models import Policy, Project
from harborhook.harbor.transport import Credentials, Transport
from harborhook.tls import TLSOptions
from harness.certificates import Authority
from harness.harbor.process import StandIn
from harness.harbor_fixtures import HarborUnderTest, standing_in

Auth = tuple[str, str]
Call = Callable[[HarborClient, str], Awaitable[object]]

CANARY = "Canary7Passw0rd"
HEADER = "Bearer canary-of-a-target"


@dataclass
class Connector:
    """Makes clients, and closes them when the test is over."""

    url: str
    clients: list[HarborClient] = field(default_factory=list)

    async def __call__(
        self, auth: Auth, *, url: str | None = None, session: bool = False, **options: Any
    ) -> HarborClient:
        options = {"tls": TLSOptions(skip_verify=True), "confirm_after": 0.0, **options}
        client = HarborClient(Transport(url or self.url, Credentials(*auth), **options))
        self.clients.append(client)
        if session:
            assert await client.log_in()
        return client


@pytest.fixture
async def connect(harbor: HarborUnderTest) -> AsyncIterator[Connector]:
    connector = Connector(harbor.url)
    yield connector
    for client in connector.clients:
        await client.close()


@pytest.fixture(params=["Basic", "Session"])
async def client(request: pytest.FixtureRequest, connect: Connector, harbor: HarborUnderTest) -> HarborClient:
    """The administrator, with both kinds of authentication."""
    found = await connect(harbor.auth, session=request.param == "Session")
    assert found.authentication == request.param
    return found


@pytest.fixture(scope="module")
def canary_harbor() -> Iterator[StandIn]:
    """A stand-in whose administrator has a password that is easy to search for."""
    with StandIn.start(admin_password=CANARY) as found:
        yield found


@pytest.fixture
def broken(canary_harbor: StandIn) -> Iterator[StandIn]:
    """A stand-in to break, repaired after each test."""
    canary_harbor.clear_requests()
    yield canary_harbor
    canary_harbor.clear_faults()
    canary_harbor.settings(read_only=False, database="up", core="up", jobservice="running")


@pytest.fixture
async def victim(broken: StandIn, connect: Connector) -> HarborClient:
    """A client of the stand-in that is broken."""
    return await connect(broken.admin, url=broken.url)


@pytest.fixture
def broken_api(broken: StandIn) -> Iterator[Api]:
    """Requests that prepare objects in it."""
    api = Api(standing_in(broken, "2.16"), broken.admin)
    yield api
    broken.clear_faults()
    broken.settings(read_only=False, database="up", core="up", jobservice="running")
    api.clean_up()


def policy_body(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "enabled": True, "event_types": ["PUSH_ARTIFACT"], "targets": [TARGET], **fields}


# Its clock


async def test_the_time_that_its_answers_tell_is_that_of_the_times_it_states(api: Api, client: HarborClient) -> None:
    """The operator's own clock does not matter: Harbor's clock decides how long a notification has waited."""
    name = api.project()

    project = await client.project(name)

    assert project is not None
    assert project.creation_time is not None
    assert client._transport.clock._heard is not None, "no answer has told the time"
    assert abs(client.now() - project.creation_time) < timedelta(seconds=30)


# Names and ids


async def test_every_request_for_a_project_named_like_an_id_hits_the_named_one(api: Api, client: HarborClient) -> None:
    bystander = api.project(metadata={"auto_scan": "false"})
    bystander_id = api.get(f"/projects/{bystander}")["project_id"]
    bystanders_policy = api.policy(bystander, name="same name")
    name = str(bystander_id)

    named_id = await client.create_project(name, {"public": "true"})
    assert named_id not in (None, bystander_id)
    assert await client.project_exists(name)
    found = await client.project(name)
    assert found is not None
    assert (found.id, found.name) == (named_id, name)
    await client.update_project(name, {"auto_scan": "true"})
    assert await client.repository_count(name) == 0

    policy_id = await client.create_policy(name, policy_body("same name"))
    assert policy_id is not None
    assert [policy.id for policy in await client.policies(name)] == [policy_id]
    policy = await client.policy(name, policy_id)
    assert policy is not None
    assert policy.project_id == named_id
    await client.update_policy(name, policy_id, {**policy.raw, "description": "of the named one"})
    assert await client.open_executions(name, policy_id) == 0
    assert await client.executions(name, policy_id) == ([], 0)
    assert "PUSH_ARTIFACT" in (await client.supported(name)).event_types
    assert {row.policy_name for row in await client.last_triggers(name)} == {"same name"}
    await client.delete_policy(name, policy_id)
    assert await client.policies(name) == []
    await client.delete_project(name)
    assert await client.project(name) is None

    left = api.get(f"/projects/{bystander}")
    assert (left["project_id"], left["metadata"]["auto_scan"]) == (bystander_id, "false")
    (kept,) = api.get(f"/projects/{bystander}/webhook/policies")
    assert (kept["id"], kept.get("description", "")) == (bystanders_policy, "")


async def test_a_project_named_like_the_id_of_another_is_missing_when_there_is_none(
    api: Api, client: HarborClient
) -> None:
    bystander = api.project()
    name = str(api.get(f"/projects/{bystander}")["project_id"])

    assert await client.project(name) is None
    assert not await client.project_exists(name)
    for attempt in (client.delete_project(name), client.update_project(name, {"public": "true"})):
        with pytest.raises(errors.NotFoundError):
            await attempt
    with pytest.raises(errors.NotFoundError):
        await client.create_policy(name, policy_body("orphan"))

    assert api.get(f"/projects/{bystander}")["metadata"]["public"] == "false"


@pytest.mark.parametrize(
    "name",
    [
        "none/../{}",
        "./{}",
        "/{}",
        "x\\..\\{}",
        "{}?x=y",
        "{}#x",
        "{}%00",
        "%2e%2e",
        "-{}",
        " {}",
        "{}\n",
        "..",
        ".",
        "",
        "é",
    ],
)
async def test_what_is_not_the_name_of_a_project_is_not_sent(
    broken: StandIn, broken_api: Api, victim: HarborClient, name: str
) -> None:
    """Harbor's front proxy decodes and normalises paths, so encoding a name does not protect it."""
    other = broken_api.project()
    key = broken_api.policy(other)
    broken.clear_requests()
    wrong = name.format(other)

    for call in [*[CALLS[name] for name in _BELOW_PROJECTS], HarborClient.delete_project, HarborClient.project_exists]:
        with pytest.raises(errors.ProjectNameError, match="cannot be the name of a Harbor project"):
            await call(victim, wrong)

    assert broken.requests() == []
    assert broken_api.get(f"/projects/{other}/webhook/policies/{key}")["enabled"] is True


_BELOW_PROJECTS = (
    "project", "update_project", "repository_count", "observed_quota", "policies", "policy", "create_policy",
    "update_policy", "delete_policy", "open_executions", "executions", "tasks", "task_log", "jobs", "supported",
    "last_triggers", "undelivered_executions", "undelivered_jobs", "stored_execution", "stored_job",
)  # fmt: skip
"""The calls that have a project's name in their path."""


@pytest.mark.parametrize("name", ["32", "0", "a.b_c-d", "9" * 255, "Former_Name"])
async def test_every_name_that_harbor_takes_is_asked_for(broken: StandIn, victim: HarborClient, name: str) -> None:
    broken.clear_requests()

    assert await victim.project(name) is None

    assert [request.path for request in broken.requests()] == [f"/api/v2.0/projects/{name}"]


async def test_a_project_of_another_name_than_asked_for_is_not_taken(broken: StandIn, victim: HarborClient) -> None:
    """A proxy may rewrite paths, or drop the header that marks digits as a name."""
    broken.set_fault({}, status=200, body=json.dumps({"project_id": 7, "name": "other"}))

    with pytest.raises(errors.NotHarborError, match='Asked for project mine, Harbor answered with "other"'):
        await victim.project("mine")


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "1_0", "٣", "x", ""])
async def test_a_number_in_a_header_that_is_none_is_not_known(
    broken: StandIn, broken_api: Api, victim: HarborClient, number: str
) -> None:
    """The id of the created object is then looked up. Python refuses to parse thousands of digits."""
    headers = {"Location": f"/api/v2.0/projects/{number}", "X-Total-Count": number}
    broken.set_fault({"method": "POST"}, status=201, headers=headers, empty=True)
    broken.set_fault({"method": "GET"}, status=200, headers=headers, body="[]")

    assert await victim.create_project("x", {}) is None
    assert await victim.create_policy("x", policy_body("p")) is None
    assert await victim.open_executions("x", 1) == 0
    assert await victim.executions("x", 1) == ([], 0)
    assert await victim.jobs("x", 1) == ([], 0)


# Sessions and cookies


async def test_two_writes_through_one_client_both_pass(api: Api, client: HarborClient) -> None:
    name = api.project()
    await client.projects()  # its answer sets a cookie, and so does each that follows

    await client.update_project(name, {"auto_scan": "true"})
    await client.update_project(name, {"auto_scan": "false"})
    first = await client.create_policy(name, policy_body("first"))
    second = await client.create_policy(name, policy_body("second"))

    assert first != second
    assert {policy.name for policy in await client.policies(name)} == {"first", "second"}


@pytest.fixture
async def session(broken: StandIn, connect: Connector) -> HarborClient:
    """A client of the stand-in that has logged in."""
    return await connect(broken.admin, url=broken.url, session=True)


async def test_a_logged_in_user_costs_harbor_no_more_password_hashes(
    broken: StandIn, broken_api: Api, session: HarborClient
) -> None:
    name = broken_api.project()
    before = broken.counters()["password_hashes"]

    for value in ("true", "false", "true"):
        await session.update_project(name, {"auto_scan": value})
        await session.projects()

    assert broken.counters()["password_hashes"] == before


async def test_after_its_session_ended_a_client_misses_nothing(
    broken: StandIn, broken_api: Api, session: HarborClient
) -> None:
    name = broken_api.project()

    broken.expire_sessions()
    assert name in [project.name for project in await session.projects()], "only what anybody sees"
    broken.expire_sessions()
    await session.update_project(name, {"auto_scan": "true"})
    broken.expire_sessions()
    assert (await session.system_info()).notification_enable is True
    broken.expire_sessions()
    assert await session.project_exists(name)

    assert session.authentication == "Session"


async def test_requests_that_find_the_session_ended_together_share_one_new_login(
    broken: StandIn, broken_api: Api, session: HarborClient
) -> None:
    name = broken_api.project()
    broken.expire_sessions()
    before = broken.counters()["password_hashes"]

    found = await asyncio.gather(*[session.project(name) for _ in range(20)])

    assert all(project is not None and project.name == name for project in found)
    assert broken.counters()["password_hashes"] == before + 1


async def test_a_token_that_is_out_of_date_is_renewed_without_a_login(
    broken: StandIn, broken_api: Api, session: HarborClient
) -> None:
    name = broken_api.project()
    before = broken.counters()["password_hashes"]
    broken.expire_csrf()

    await session.update_project(name, {"auto_scan": "true"})
    await session.update_project(name, {"auto_scan": "false"})

    assert broken.counters()["password_hashes"] == before
    assert session.authentication == "Session"


async def test_a_harbor_that_refuses_every_token_is_written_to_with_credentials(
    broken: StandIn, broken_api: Api, session: HarborClient
) -> None:
    name = broken_api.project()
    broken.set_fault({"method": "PUT"}, times=2, status=403, body=error_body("FORBIDDEN", "CSRF token invalid"))

    await session.update_project(name, {"auto_scan": "true"})

    assert session.authentication == "Basic"
    project = await session.project(name)
    assert project is not None
    assert project.metadata["auto_scan"] == "true"


async def test_a_robot_has_no_session_and_works_without(api: Api, connect: Connector) -> None:
    name = api.project()
    client = await connect(api.robot(grant("*", "project:read")))

    assert await client.log_in() is False

    assert client.authentication == "Basic"
    assert await client.project(name) is not None


async def test_a_wrong_password_has_no_session_and_is_unauthorized(broken: StandIn, connect: Connector) -> None:
    client = await connect(("admin", "Wrong12345"), url=broken.url)

    assert await client.log_in() is False
    with pytest.raises(errors.UnauthorizedError):
        await client.current_user()


async def test_a_401_is_asked_about_again_before_it_is_believed(broken: StandIn, victim: HarborClient) -> None:
    broken.set_fault({"path": "/projects"}, times=1, status=401, body=error_body("UNAUTHORIZED", "unauthorized"))

    assert [project.name for project in await victim.projects()] == ["library"]


async def test_a_login_by_plain_http_works_where_the_external_url_is_https(connect: Connector) -> None:
    with StandIn.start(extra=["--external-url=https://harbor.example.com"]) as inside:
        client = await connect(inside.admin, url=inside.url, session=True)
        name = unique("p")

        assert await client.create_project(name, {}) is not None
        assert client.authentication == "Session"


@pytest.mark.parametrize("fault", [{"close": True}, {"status": 502, "html": True}, {"status": 200, "html": True}])
async def test_a_login_that_meets_a_fault_is_a_harbor_error_or_no_session(
    broken: StandIn, victim: HarborClient, fault: dict[str, Any]
) -> None:
    broken.set_fault({}, **fault)

    error = await failure_of(victim.log_in())

    assert error is None or isinstance(error, errors.TransportError)
    assert victim.authentication == "Basic"


# All of it


async def test_more_projects_than_fit_in_a_page_are_all_found_once(stand_in: StandIn, connect: Connector) -> None:
    names = {f"p{number}" for number in range(205)}
    seed_projects(stand_in, names)
    stand_in.clear_requests()

    found = await (await connect(stand_in.admin, url=stand_in.url)).projects()

    assert sorted(project.name for project in found) == sorted(names | {"library"})
    assert len(stand_in.requests()) == 3


async def test_a_project_that_is_made_between_two_pages_hides_no_other(stand_in: StandIn, connect: Connector) -> None:
    names = {f"p{number}" for number in range(150)}
    seed_projects(stand_in, names)
    newcomers = iter(["a-first", "zz-last"])

    def observe(method: str, endpoint: str, status: int) -> None:
        if name := next(newcomers, None):
            seed_projects(stand_in, {name})

    client = await connect(stand_in.admin, url=stand_in.url, observer=observe)
    found = [project.name for project in await client.projects()]

    assert names <= set(found)
    assert len(found) == len(set(found))


async def test_more_policies_than_fit_in_a_page_are_all_found_once(stand_in: StandIn, connect: Connector) -> None:
    seed_projects(stand_in, {"busy"})
    client = await connect(stand_in.admin, url=stand_in.url)
    made = [await client.create_policy("busy", policy_body(f"w{number}")) for number in range(100)]
    assert sorted(policy.id for policy in await client.policies("busy")) == made

    made.append(await client.create_policy("busy", policy_body("one more")))

    assert sorted(policy.id for policy in await client.policies("busy")) == made


def seed_projects(stand_in: StandIn, names: set[str]) -> None:
    with httpx.Client(base_url=f"{stand_in.url}/api/v2.0", auth=stand_in.admin, trust_env=False) as http:
        for name in sorted(names):
            http.cookies.clear()
            assert http.post("/projects", json={"project_name": name}).status_code == 201


# Missing objects


@pytest.mark.parametrize("caller", ["administrator", "user", "robot"])
async def test_a_missing_project_is_none_for_everybody(api: Api, connect: Connector, caller: str) -> None:
    if caller == "administrator":
        auth = api.harbor.auth
    elif caller == "user":
        auth = api.user()
    else:
        auth = api.robot(grant("*", "project:read", "notification-policy:read"))
    client = await connect(auth)
    name = unique("none")

    assert await client.project(name) is None
    assert not await client.project_exists(name)
    assert await client.policy(name, 1) is None


async def test_a_project_that_one_may_not_see_is_forbidden_and_not_missing(api: Api, connect: Connector) -> None:
    name = api.project()
    policy_id = api.policy(name)
    client = await connect(api.user())

    assert await client.project_exists(name)
    with pytest.raises(errors.ForbiddenError):
        await client.project(name)
    with pytest.raises(errors.ForbiddenError):
        await client.policy(name, policy_id)


async def test_a_missing_policy_is_none(api: Api, client: HarborClient) -> None:
    assert await client.policy(api.project(), 999_999_999) is None


# Identity


async def test_a_user_is_known_and_a_robot_is_none(api: Api, connect: Connector) -> None:
    user = api.user()
    administrator = await (await connect(api.harbor.auth)).current_user()
    ordinary = await (await connect(user)).current_user()

    assert administrator is not None
    assert (administrator.username, administrator.sysadmin) == (api.harbor.username, True)
    assert ordinary is not None
    assert (ordinary.username, ordinary.sysadmin) == (user[0], False)
    assert await (await connect(api.robot(grant("*", "project:read")))).current_user() is None


async def test_a_caller_can_read_its_rights_in_a_project(api: Api, connect: Connector) -> None:
    project = api.project()
    project_id = api.get(f"/projects/{project}")["project_id"]
    robot = await connect(api.robot(grant(project, "project:read", "notification-policy:list")))

    assert await robot.rights(project_id) == {"project:read", "notification-policy:list"}
    rights = await (await connect(api.harbor.auth)).rights(project_id)
    assert rights > {"project:read", "project:update", "project:delete", "notification-policy:delete"}
    assert await (await connect(api.user())).rights(project_id) == frozenset()


async def test_a_list_that_is_refused_tells_of_a_right_on_the_whole_harbor(api: Api, connect: Connector) -> None:
    robot = await connect(api.robot(grant("/", "quota:list", kind="system")))

    assert await robot.may_list("quotas")
    assert not await robot.may_list("registries")


async def test_a_robot_sees_a_quota_by_either_right(api: Api, connect: Connector) -> None:
    name = api.project(storage_limit=4096)
    project = Project(api.get(f"/projects/{name}")["project_id"], name)
    in_project, listing = grant(name, "project:read", "quota:read"), grant("/", "quota:list", kind="system")
    for rights in ([in_project], [grant(name, "project:read"), listing]):
        quota = await (await connect(api.robot(*rights))).quota_in_sight(project, is_robot=True)
        assert quota is not None
        assert quota.hard == 4096

    without = await connect(api.robot(grant(name, "project:read")))
    with pytest.raises(errors.ForbiddenError):
        await without.quota_in_sight(project, is_robot=True)


async def test_harbor_shows_its_version_and_state_to_callers_with_credentials(api: Api, connect: Connector) -> None:
    for auth in (api.harbor.auth, api.robot(grant("*", "project:read"))):
        info = await (await connect(auth)).system_info()

        assert (info.harbor_version or "").startswith(f"v{api.harbor.version}")
        assert (info.read_only, info.notification_enable) == (False, True)


# Policies


async def test_a_policy_is_made_with_its_creator_and_sent_back_unchanged(api: Api, client: HarborClient) -> None:
    project = api.project()
    targets = [{**TARGET, "auth_header": HEADER, "payload_format": "CloudEvents"}]
    policy_id = await client.create_policy(
        project, policy_body("hook", creator="harborhook/c/ns/hook", targets=targets)
    )
    assert policy_id is not None
    before = await client.policy(project, policy_id)
    assert before is not None
    assert before.creator == "harborhook/c/ns/hook"

    await client.update_policy(project, policy_id, before.raw)

    assert await client.policy(project, policy_id) == before


# Refusals that a Harbor can be made to send


async def test_wrong_credentials_are_unauthorized(api: Api, connect: Connector) -> None:
    client = await connect((unique("nobody"), "Wrong12345"))
    for attempt in (client.current_user(), client.project_exists("library"), client.policies("library")):
        with pytest.raises(errors.UnauthorizedError) as refusal:
            await attempt
        assert refusal.value.status == 401


async def test_what_one_may_not_do_is_forbidden(api: Api, connect: Connector) -> None:
    name = api.project()
    client = await connect(api.user())
    for attempt in (client.update_project(name, {"public": "true"}), client.policies(name), client.last_triggers(name)):
        with pytest.raises(errors.ForbiddenError) as refusal:
            await attempt
        assert not isinstance(refusal.value, errors.ReadOnlyError)


async def test_what_is_missing_is_not_found(api: Api, client: HarborClient) -> None:
    name = unique("none")
    for attempt in (client.update_project(name, {}), client.delete_project(name), client.policies(name)):
        with pytest.raises(errors.NotFoundError):
            await attempt
    with pytest.raises(errors.NotFoundError):
        await client.delete_policy(api.project(), 999_999_999)


async def test_what_exists_is_a_conflict(api: Api, client: HarborClient) -> None:
    name = api.project()
    api.policy(name, name="hook")
    other = api.policy(name, name="other")

    with pytest.raises(errors.ConflictError):
        await client.create_project(name, {})
    with pytest.raises(errors.ConflictError):
        await client.create_policy(name, policy_body("hook"))
    with pytest.raises(errors.ConflictError):
        await client.update_policy(name, other, policy_body("hook", id=other))


@pytest.mark.parametrize(
    ("what", "status"),
    [("name", 400), ("event type", 400), ("no target", 400), ("a boolean as metadata", 422)],
)
async def test_what_cannot_be_is_invalid(api: Api, client: HarborClient, what: str, status: int) -> None:
    name = api.project()
    metadata: Any = {"public": True}
    attempts: dict[str, Callable[[], Awaitable[object]]] = {
        "name": lambda: client.create_project("Upper", {}),
        "event type": lambda: client.create_policy(name, policy_body("w", event_types=["NO_SUCH"])),
        "no target": lambda: client.create_policy(name, policy_body("w", targets=[])),
        "a boolean as metadata": lambda: client.update_project(name, metadata),
    }
    with pytest.raises(errors.InvalidError) as refusal:
        await attempts[what]()

    assert refusal.value.status == status
    assert refusal.value.message


async def test_a_policy_with_notifications_under_way_is_a_failed_precondition_and_they_are_counted(
    broken: StandIn, broken_api: Api, victim: HarborClient
) -> None:
    project = broken_api.project()
    policy_id = broken_api.policy(project)
    broken.settings(jobservice="stopped")
    broken.happen("PUSH_ARTIFACT", project)
    broken.happen("PUSH_ARTIFACT", project)

    with pytest.raises(errors.PreconditionError):
        await victim.delete_policy(project, policy_id)

    assert await victim.open_executions(project, policy_id) == 2


async def test_read_only_mode_has_an_error_of_its_own(broken: StandIn, broken_api: Api, victim: HarborClient) -> None:
    name = broken_api.project()
    policy_id = broken_api.policy(name)
    broken.settings(read_only=True)

    assert (await victim.system_info()).read_only is True
    attempts = [
        victim.create_project(unique("p"), {}),
        victim.update_project(name, {"public": "true"}),
        victim.create_policy(name, policy_body("w")),
        victim.update_policy(name, policy_id, policy_body("w")),
        victim.delete_policy(name, policy_id),
        victim.delete_project(name),
    ]
    for attempt in attempts:
        with pytest.raises(errors.ReadOnlyError):
            await attempt
    assert await victim.project(name) is not None


async def test_without_its_database_harbor_has_an_error_of_the_server(broken: StandIn, victim: HarborClient) -> None:
    broken.settings(database="down")

    with pytest.raises(errors.HarborError) as failure:
        await victim.projects()

    assert isinstance(failure.value, errors.ServerError | errors.UnauthorizedError)


async def test_a_stopped_harbor_behind_a_living_proxy_is_unreachable(broken: StandIn, victim: HarborClient) -> None:
    broken.settings(core="down")

    with pytest.raises(errors.UnreachableError):
        await victim.projects()


# Faults on the way


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (405, errors.RefusedError),
        (409, errors.ConflictError),
        (412, errors.PreconditionError),
        (418, errors.RefusedError),
        (422, errors.InvalidError),
        (500, errors.ServerError),
        (503, errors.ServerError),
    ],
)
async def test_each_status_has_its_error_with_harbors_own_words(
    broken: StandIn, victim: HarborClient, status: int, kind: type[RefusedError]
) -> None:
    broken.set_fault({}, status=status, body=error_body("CODE", "what Harbor says"))

    with pytest.raises(RefusedError) as refusal:
        await victim.projects()

    assert type(refusal.value) is kind
    assert (refusal.value.status, refusal.value.code) == (status, "CODE")
    assert refusal.value.message == "what Harbor says"
    assert refusal.value.request == "GET /api/v2.0/projects"
    assert str(refusal.value) == f"Harbor answered GET /api/v2.0/projects with {status} CODE: what Harbor says"


def error_body(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message}]})


@pytest.mark.parametrize("html", [False, True])
async def test_a_throttled_request_says_when_to_come_back(broken: StandIn, victim: HarborClient, html: bool) -> None:
    broken.set_fault({}, status=429, html=html, headers={"Retry-After": "600"})

    with pytest.raises(errors.ThrottledError) as refusal:
        await victim.projects()

    assert refusal.value.retry_after == 600.0


async def test_a_throttled_request_is_repeated_after_the_pause_that_was_asked_for(
    broken: StandIn, victim: HarborClient
) -> None:
    broken.set_fault({}, times=1, status=429, headers={"Retry-After": "0"})

    assert [project.name for project in await victim.projects()] == ["library"]


NOT_HARBOR: list[dict[str, Any]] = [
    {"status": 200, "html": True},
    {"status": 404, "html": True},
    {"status": 500, "html": True},
    {"status": 200, "empty": True},
    {"status": 200, "body": "{"},
    {"status": 200, "body": '{"an": "object"}'},
    {"status": 200, "body": "null"},
    {"status": 200, "body": "[" * 100_000},
    {"status": 400, "body": "no JSON"},
    {"status": 400, "body": "[]"},
    {"status": 400, "body": '{"errors": []}'},
    {"status": 400, "body": '{"errors": null}'},
    {"redirect": "https://elsewhere.example.com/login"},
    {"redirect": "/c/login", "status": 307},
]


@pytest.mark.parametrize("fault", NOT_HARBOR, ids=lambda fault: json.dumps(fault)[:50])
async def test_an_answer_that_is_not_harbors_is_recognised(
    broken: StandIn, victim: HarborClient, fault: dict[str, Any]
) -> None:
    broken.set_fault({}, **fault)

    with pytest.raises(errors.NotHarborError) as failure:
        await victim.projects()

    assert "GET /api/v2.0/projects" in str(failure.value) or "not a JSON list" in str(failure.value)


async def test_a_redirect_is_not_followed(broken: StandIn, victim: HarborClient) -> None:
    broken.set_fault({"path": "/projects"}, redirect=f"{broken.url}/api/v2.0/ping")

    with pytest.raises(errors.NotHarborError):
        await victim.projects()

    assert [request.path for request in broken.requests()] == ["/api/v2.0/projects"]


@pytest.mark.parametrize(
    "fault",
    [{"close": True}, {"truncate": True, "status": 200, "body": "[1,2,3]"}, {"status": 502, "html": True}],
    ids=["closed", "truncated", "bad gateway"],
)
async def test_a_broken_connection_is_unreachable(broken: StandIn, victim: HarborClient, fault: dict[str, Any]) -> None:
    broken.set_fault({}, **fault)

    with pytest.raises(errors.UnreachableError):
        await victim.projects()


async def test_an_answer_that_never_comes_is_unreachable(broken: StandIn, connect: Connector) -> None:
    broken.set_fault({}, delay=60)
    client = await connect(broken.admin, url=broken.url, read_timeout=0.05)

    with pytest.raises(errors.UnreachableError, match="in time"):
        await client.projects()


async def test_an_answer_that_never_ends_is_cut(
    broken: StandIn, victim: HarborClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "BODY_LIMIT", 200_000)
    broken.set_fault({}, endless=True)

    with pytest.raises(HarborError):
        await victim.projects()


async def test_a_lost_answer_to_a_post_does_not_make_a_second_post(
    broken: StandIn, broken_api: Api, victim: HarborClient
) -> None:
    name = broken_api.project()
    broken.set_fault({"method": "POST", "path": "/policies$"}, times=1, close=True, after=True)

    with pytest.raises(errors.UnreachableError):
        await victim.create_policy(name, policy_body("hook"))

    posts = [request for request in broken.requests() if request.path.endswith("/policies") and request.writes]
    assert len(posts) == 1
    assert [policy.name for policy in await victim.policies(name)] == ["hook"]


async def test_nobody_at_the_address_is_unreachable(connect: Connector) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = await connect(("admin", CANARY), url=f"http://127.0.0.1:{unused.getsockname()[1]}")

        with pytest.raises(errors.UnreachableError):
            await client.projects()


async def test_https_to_a_port_that_speaks_http_is_unreachable(broken: StandIn, connect: Connector) -> None:
    client = await connect(broken.admin, url=broken.url.replace("http://", "https://"))

    with pytest.raises(errors.TransportError):
        await client.projects()


async def test_a_certificate_is_trusted_only_if_its_authority_is(tmp_path: Path, connect: Connector) -> None:
    certificate, key = Authority().certify(tmp_path, "127.0.0.1")
    extra = [f"--tls-cert={certificate}", f"--tls-key={key}"]
    with StandIn.start(tmp_path / "harbor", extra=extra) as stand_in:
        doubtful = await connect(stand_in.admin, url=stand_in.url, tls=TLSOptions())
        trusting = await connect(stand_in.admin, url=stand_in.url, tls=TLSOptions(ca=certificate.read_bytes()))

        with pytest.raises(errors.UntrustedError, match="not trusted"):
            await doubtful.projects()
        assert [project.name for project in await trusting.projects()] == ["library"]


# No other exceptions, and no secrets in them

CALLS: dict[str, Call] = {
    "system_info": lambda client, _: client.system_info(),
    "current_user": lambda client, _: client.current_user(),
    "probe": lambda client, _: client.probe(),
    "rights": lambda client, _: client.rights(1),
    "may_list": lambda client, _: client.may_list("quotas"),
    "notifications_editable": lambda client, _: client.notifications_editable(),
    "set_notifications": lambda client, _: client.set_notifications(True),
    "create_project": lambda client, _: client.create_project(unique("p"), {"public": "false"}),
    "project": lambda client, project: client.project(project),
    "project_exists": lambda client, project: client.project_exists(project),
    "projects": lambda client, _: client.projects(),
    "update_project": lambda client, project: client.update_project(project, {"public": "false"}),
    "delete_project": lambda client, _: client.delete_project(unique("none")),
    "repository_count": lambda client, project: client.repository_count(project),
    "observed_quota": lambda client, project: client.observed_quota(project),
    "quota": lambda client, _: client.quota(1),
    "quota_in_sight": lambda client, project: client.quota_in_sight(Project(1, project), is_robot=True),
    "set_quota": lambda client, _: client.set_quota(999_999, -1),
    "registries": lambda client, _: client.registries(),
    "policies": lambda client, project: client.policies(project),
    "policy": lambda client, project: client.policy(project, 1),
    "create_policy": lambda client, project: client.create_policy(project, policy_with_header()),
    "update_policy": lambda client, project: client.update_policy(project, 1, policy_with_header()),
    "delete_policy": lambda client, project: client.delete_policy(project, 999_999),
    "open_executions": lambda client, project: client.open_executions(project, 1),
    "executions": lambda client, project: client.executions(project, 1),
    "tasks": lambda client, project: client.tasks(project, 1, 1),
    "task_log": lambda client, project: client.task_log(project, 1, 1, 1),
    "jobs": lambda client, project: client.jobs(project, 1),
    "undelivered_executions": lambda client, project: client.undelivered_executions(project, 1),
    "undelivered_jobs": lambda client, project: client.undelivered_jobs(project, 1),
    "stored_execution": lambda client, project: client.stored_execution(project, 1, 1),
    "stored_job": lambda client, project: client.stored_job(project, 1, 1),
    "supported": lambda client, project: client.supported(project),
    "last_triggers": lambda client, project: client.last_triggers(project),
}

FAULTS: list[dict[str, Any]] = [
    {},
    *NOT_HARBOR,
    {"close": True},
    {"truncate": True, "status": 200, "body": "[1,2,3]"},
    *[{"status": status, "body": error_body("CODE", "message")} for status in (400, 401, 403, 404, 409, 412, 422, 500)],
    {"status": 403, "body": error_body("DENIED", "The system is in read only mode.")},
    {"status": 403, "body": error_body("FORBIDDEN", "CSRF token invalid")},
    {"status": 401, "empty": True},
    *[{"status": 200, "body": body} for body in ("[]", "[null]", "[[]]", "5", '"text"', "{}", '[{"id": {}}]', "NaN")],
    {"status": 201, "empty": True, "headers": {"Location": "/api/v2.0/projects/x/y/99999999999999999999"}},
    {"status": 200, "body": "[]", "headers": {"X-Total-Count": "many"}},
    {"status": 200, "body": "[]", "headers": {"Content-Type": "text/html"}},
    {"status": 204, "empty": True},
    {"status": 429, "headers": {"Retry-After": "600"}},  # the last one: the client then asks nothing for a minute
]


def policy_with_header() -> dict[str, Any]:
    return policy_body(unique("w"), targets=[{**TARGET, "auth_header": HEADER}])


def secrets_of(stand_in: StandIn) -> list[str]:
    name, password = stand_in.admin
    return [password, base64.b64encode(f"{name}:{password}".encode()).decode(), HEADER]


def said_by(error: BaseException) -> str:
    """Returns all texts of an exception that a log could show."""
    parts = []
    seen: BaseException | None = error
    while seen is not None:
        parts += [str(seen), repr(seen), repr(seen.args), repr(vars(seen)) if hasattr(seen, "__dict__") else ""]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(parts)


def test_no_call_of_the_client_is_left_out_below() -> None:
    calls = {name for name, value in vars(HarborClient).items() if inspect.iscoroutinefunction(value)}

    assert {name for name in calls if not name.startswith("_")} - {"close", "log_in"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
async def test_every_failure_is_a_harbor_error_without_secrets(
    broken: StandIn, broken_api: Api, victim: HarborClient, name: str
) -> None:
    project = broken_api.project()
    for fault in FAULTS:
        broken.clear_faults()
        if fault:
            broken.set_fault({}, **fault)
        error = await failure_of(CALLS[name](victim, project))
        if error is not None:
            assert not [secret for secret in secrets_of(broken) if secret in said_by(error)], fault
            assert str(error).isprintable()
            assert 20 < len(str(error)) < 600


async def failure_of(call: Awaitable[object]) -> HarborError | None:
    """Returns the HarborError that a call raises; any other exception fails the test."""
    try:
        await call
    except HarborError as error:
        return error
    return None


async def test_nothing_that_is_kept_shows_a_secret(broken: StandIn, broken_api: Api, connect: Connector) -> None:
    project = broken_api.project()
    policy_id = broken_api.policy(project, targets=[{**TARGET, "auth_header": HEADER}])
    wire = Transport(broken.url, Credentials(*broken.admin))
    client = HarborClient(wire)
    connect.clients.append(client)
    policy = await client.policy(project, policy_id)
    assert isinstance(policy, Policy)
    assert HEADER in str(policy.raw)

    for thing in (Credentials(*broken.admin), wire, client, policy, await client.projects(), vars(client)):
        for secret in secrets_of(broken):
            assert secret not in repr(thing)
            assert secret not in str(thing)


def test_every_error_is_a_harbor_error_and_its_text_one_clipped_line() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, HarborError) for kind in kinds)

    refusal = errors.refusal(500, "UNKNOWN", "a\n\tb\x00\x1b[31m" + "x" * 10_000, request="GET /x")

    assert str(refusal).startswith("Harbor answered GET /x with 500 UNKNOWN: a b")
    assert str(refusal).isprintable()
    assert len(refusal.message) == TEXT_LIMIT


async def test_a_page_that_comes_again_and_again_is_no_list(broken: StandIn, victim: HarborClient) -> None:
    rows = json.dumps([{"project_id": number, "name": f"p{number}"} for number in range(1, 101)])
    broken.set_fault({}, status=200, body=rows)

    with pytest.raises(errors.NotHarborError):
        await victim.projects()
    assert len(broken.requests()) < 10


@pytest.mark.parametrize("body", ["[]", "5", '"x"', "null"])
@pytest.mark.parametrize("name", ["system_info", "current_user", "supported", "repository_count"])
async def test_an_answer_that_is_no_object_is_not_harbors(
    broken: StandIn, victim: HarborClient, name: str, body: str
) -> None:
    broken.set_fault({}, status=200, body=body)

    with pytest.raises(errors.NotHarborError):
        await CALLS[name](victim, "library")


async def test_an_error_nested_beyond_measure_is_not_harbors(broken: StandIn, victim: HarborClient) -> None:
    broken.set_fault({}, status=500, body="[" * 100_000)

    with pytest.raises(errors.HarborError):
        await victim.projects()
