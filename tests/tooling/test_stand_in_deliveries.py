"""The stand-in's delivery engine behaves like recorded Harbors; recordings are in tests/data/deliveries."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.harbor.deliveries import NEVER, Deliveries, Event, overwrite
from harness.paths import DATA
from harness.receiver import Receiver

RECORDINGS = DATA / "deliveries"
Engine = Callable[..., Deliveries]
Wire = dict[str, Any]

RECORDED_HARBOR = "http://127.0.0.1:18000"
RECORDED_RECEIVER = "127.0.0.1:19000"
RECORDED = Event(
    type="PUSH_ARTIFACT",
    project_id=2,
    project_name="alpha",
    operator="admin",
    repository="alpha/app",
    tag="v2",
    digest="sha256:c5a29c6b76b4a7af472d70eaee943f455d6dce96fd00848b4753b42a20a57de1",
    repository_created=1795570301,
    occur_at=1795570340,
)


def recording(name: str) -> Any:
    """Returns a recorded exchange's answer, or a receiver's requests."""
    (path,) = RECORDINGS.glob(name + "*.json")
    content = json.loads(path.read_text())
    return content["response"]["body"] if isinstance(content, dict) else content


def event(**changes: Any) -> Event:
    values: Wire = {
        "type": "PUSH_ARTIFACT",
        "project_id": 2,
        "project_name": "alpha",
        "operator": "admin",
        "repository": "alpha/app",
        "tag": "v1",
        "digest": "sha256:" + "1" * 64,
    }
    return Event(**(values | changes))


def target(address: str, **more: Any) -> Wire:
    return {"type": "http", "address": address, "payload_format": "Default"} | more


def policy(*targets: Wire | str, number: int = 7, **more: Any) -> Wire:
    full = [target(one) if isinstance(one, str) else one for one in targets]
    values = {"id": number, "name": f"p{number}", "enabled": True, "event_types": ["PUSH_ARTIFACT"], "targets": full}
    return values | more


class Steady(random.Random):
    """Removes Harbor's randomness: the shortest pauses and lags, or those that a test sets."""

    lag = 0.0
    pause = 0

    def uniform(self, a: float, b: float) -> float:
        return self.lag or a

    def randrange(self, *_: Any, **__: Any) -> int:
        return self.pause


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


class Setup:
    """The Harbor around the engine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.policies: list[Wire] = []
        self.notifications = True
        self.jobservice = True
        self.running: list[Deliveries] = []

    def policies_of(self, project_id: int) -> list[Wire]:
        return self.policies if project_id == 2 else []

    async def start(self, *policies: Wire, **options: Any) -> Deliveries:
        self.policies = list(policies) or self.policies
        values: Wire = {"legacy": False, "time_scale": 0.001, "public_url": RECORDED_HARBOR}
        engine = Deliveries(
            policies_of=self.policies_of,
            notification_enabled=lambda: self.notifications,
            jobservice_running=lambda: self.jobservice,
            directory=self.directory,
            **(values | options),
        )
        engine.random = Steady()
        self.running.append(engine)
        await engine.start()
        return engine

    async def stop(self, engine: Deliveries) -> None:
        self.running.remove(engine)
        await engine.stop()


@pytest.fixture
async def harbor(tmp_path: Path) -> AsyncIterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    for engine in setup.running:
        await engine.stop()


async def until(condition: Callable[[], Any]) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def settled(engine: Deliveries) -> None:
    await until(lambda: engine.pending() == 0)


def only_task(engine: Deliveries, policy_id: int = 7) -> Wire:
    (execution,) = engine.executions(policy_id)
    tasks = engine.tasks(policy_id, execution["id"])
    assert tasks is not None
    (task,) = tasks
    return task


def only_log(engine: Deliveries, policy_id: int = 7) -> str:
    task = only_task(engine, policy_id)
    text = engine.log(policy_id, task["execution_id"], task["id"])
    assert text is not None
    return text


def timeless(log: str) -> str:
    return re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", "", log, flags=re.MULTILINE)


def same_shape(mine: Any, theirs: Any) -> bool:
    """Checks for the same keys and types at all levels, and the same format of times."""
    if isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(same_shape(mine[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(same_shape, mine, theirs))
    if isinstance(theirs, str) and re.match(r"\d{4}-\d\d-\d\dT", theirs):
        return re.sub(r"\d", "9", mine) == re.sub(r"\d", "9", theirs)
    return type(mine) is type(theirs)


# Requests to a receiver


async def test_a_default_payload_is_what_a_receiver_of_a_real_harbor_got(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(target(receiver.url + "/default", auth_header="Bearer abc")))
    theirs = recording("deliveries-formats")[3]
    body = theirs["body"]
    harbor.policies[0]["id"] = 1
    engine.trigger(_event_of(body))
    (got,) = await asyncio.to_thread(receiver.wait, 1)
    assert got.text == json.dumps(body, separators=(",", ":"))
    expected = {name.lower(): value for name, value in theirs["headers"].items()}
    assert got.headers == expected | {"host": receiver.url.partition("://")[2]}


def _event_of(body: Wire) -> Event:
    """The event behind a recorded body of the default format."""
    data = body["event_data"]
    resource = data.get("resources", [{}])[0]
    repository = data["repository"]
    return Event(
        type=body["type"],
        project_id=2,
        project_name=repository["namespace"],
        operator=body["operator"],
        repository=repository["repo_full_name"],
        tag=resource.get("tag", ""),
        digest=resource.get("digest", ""),
        repository_created=repository.get("date_created", 0),
        details=data.get("custom_attributes", {}).get("Details", ""),
        occur_at=body["occur_at"],
    )


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("deliveries-pull", 0),
        ("deliveries-delete-repository", 0),
        ("deliveries-quota", 0),
        ("deliveries-quota", 1),
    ],
)
async def test_each_kind_of_event_has_the_body_harbor_sends(
    harbor: Setup, receiver: Receiver, name: str, number: int
) -> None:
    theirs = recording(name)[number]["body"]
    engine = await harbor.start(policy(receiver.url + "/ev", event_types=[theirs["type"]]))
    engine.trigger(_event_of(theirs))
    (got,) = await asyncio.to_thread(receiver.wait, 1)
    assert got.text == json.dumps(theirs, separators=(",", ":"))


async def test_cloud_events_are_structured_and_name_the_policy(harbor: Setup, receiver: Receiver) -> None:
    default, theirs = recording("deliveries-formats")[3], recording("deliveries-formats")[2]
    address = receiver.url + "/cloudevents"
    engine = await harbor.start(
        policy(target(address, payload_format="CloudEvents", auth_header="Bearer abc"), number=2)
    )
    engine.trigger(_event_of(default["body"]))
    (got,) = await asyncio.to_thread(receiver.wait, 1)
    mine = got.json()
    assert list(mine) == list(theirs["body"])
    chance = {"id", "requestid"}
    assert {k: v for k, v in mine.items() if k not in chance} == {
        k: v for k, v in theirs["body"].items() if k not in chance
    }
    assert got.headers["content-type"] == "application/cloudevents+json"
    assert len(got.body) == int(theirs["headers"]["Content-Length"])


async def test_slack_gets_blocks_and_no_authorization(harbor: Setup, receiver: Receiver) -> None:
    default, theirs = recording("deliveries-formats")[3], recording("deliveries-formats")[1]
    address = receiver.url + "/slack"
    slack = {"type": "slack", "address": address, "auth_header": "Bearer abc"}
    engine = await harbor.start(policy(slack))
    engine.trigger(_event_of(default["body"]))
    (got,) = await asyncio.to_thread(receiver.wait, 1)
    assert got.text == theirs["body"]
    assert got.headers.keys() == {name.lower() for name in theirs["headers"]}


async def test_without_a_tag_the_digest_is_the_tag(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url))
    digest = "sha256:" + "2" * 64
    engine.trigger(event(tag="", digest=digest))
    (got,) = await asyncio.to_thread(receiver.wait, 1)
    resource = {"digest": digest, "tag": digest, "resource_url": f"127.0.0.1:18000/alpha/app@{digest}"}
    assert got.json()["event_data"]["resources"] == [resource]


async def test_query_user_information_and_header_reach_the_receiver(harbor: Setup, receiver: Receiver) -> None:
    with_user = receiver.url.replace("://", "://user:p%40ss@") + "/user?a=1&b=%20x"
    engine = await harbor.start(policy(with_user, target(receiver.url + "/header", auth_header="  Any thing ")))
    engine.trigger(event())
    await asyncio.to_thread(receiver.wait, 2)
    (user,), (header,) = receiver.received("/user"), receiver.received("/header")
    assert user.headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert user.query == "a=1&b=%20x"
    assert header.headers["authorization"] == "Any thing"


async def test_after_302_a_get_without_body_after_307_the_post_again(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(
        policy(
            target(receiver.url + "/redirect/302/ok/get", auth_header="Bearer abc"),
            target(receiver.url + "/redirect/307/ok/post", auth_header="Bearer abc"),
        )
    )
    engine.trigger(event())
    await settled(engine)
    (get,), (post,) = receiver.received("/ok/get"), receiver.received("/ok/post")
    assert (get.method, get.body, "content-type" in get.headers) == ("GET", b"", False)
    assert (post.method, post.json()["type"]) == ("POST", "PUSH_ARTIFACT")
    assert get.headers["authorization"] == post.headers["authorization"] == "Bearer abc"
    assert [execution["status"] for execution in engine.executions(7)] == ["Success", "Success"]


async def test_authorization_follows_to_the_same_host_only(harbor: Setup, receiver: Receiver) -> None:
    with Receiver() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/ok"
        addresses = [f"{receiver.url}/redirect/307/x?to={where}" for where in (elsewhere, other.url + "/same")]
        engine = await harbor.start(policy(*[target(one, auth_header="Bearer abc") for one in addresses]))
        engine.trigger(event())
        await asyncio.to_thread(other.wait, 2)
        (stripped,), (kept,) = other.received("/ok"), other.received("/same")
        assert "authorization" not in stripped.headers
        assert kept.headers["authorization"] == "Bearer abc"  # another port is the same host


async def test_user_information_follows_a_relative_redirect(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url.replace("://", "://user:pass@") + "/redirect/307/ok/with-user"))
    engine.trigger(event())
    (got,) = await asyncio.to_thread(receiver.wait, 1, "/ok/with-user")
    assert got.headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert "user" not in got.headers["referer"].partition("/ok")[0]


# Executions of an event


async def test_one_execution_per_policy_and_target_and_a_duplicate_event_type_delivers_twice(
    harbor: Setup, receiver: Receiver
) -> None:
    engine = await harbor.start(
        policy(receiver.url + "/one", number=1, event_types=["PUSH_ARTIFACT", "PUSH_ARTIFACT"]),
        policy(receiver.url + "/a", receiver.url + "/b", number=2),
        policy(receiver.url + "/off", number=3, enabled=False),
        policy(receiver.url + "/pull", number=4, event_types=["PULL_ARTIFACT"]),
    )
    engine.trigger(event())
    engine.trigger(event(project_id=3))
    await settled(engine)
    assert [len(engine.executions(number)) for number in (1, 2, 3, 4)] == [2, 2, 0, 0]
    assert sorted(got.path for got in receiver.received()) == ["/a", "/b", "/one", "/one"]
    ids = [one["id"] for number in (1, 2) for one in engine.executions(number)]
    assert sorted(ids) == [1, 2, 3, 4]


async def test_the_global_switch_drops_events_without_a_trace(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url))
    harbor.notifications = False
    engine.trigger(event())
    assert engine.executions(7) == []
    assert engine.last_trigger(7, "PUSH_ARTIFACT") == NEVER


# Forms on the wire


async def test_executions_tasks_and_logs_look_as_recorded(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/ok"))
    engine.trigger(RECORDED)
    await settled(engine)
    assert same_shape(engine.executions(7), recording("0291"))
    assert same_shape([only_task(engine)], recording("0292"))
    assert timeless(only_log(engine)) == timeless(recording("0293"))
    assert engine.executions(7)[0]["extra_attrs"] == recording("0291")[0]["extra_attrs"]


async def test_a_failed_execution_looks_as_recorded(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/status/500"), max_attempts=2)
    engine.trigger(RECORDED)
    await settled(engine)
    assert same_shape(engine.executions(7), recording("0303"))
    assert same_shape([only_task(engine)], recording("0304"))
    assert only_task(engine)["run_count"] == 2


async def test_a_pending_task_has_no_run_count_and_no_log(harbor: Setup) -> None:
    harbor.policies = [policy("http://127.0.0.1:1/")]
    engine = await harbor.start(time_scale=1000.0)
    engine.trigger(event())
    task = only_task(engine)
    assert task.keys() == recording("0292")[0].keys() - {"run_count"}
    assert (task["status"], task["start_time"], task["end_time"]) == (
        "Pending",
        "0001-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
    )
    assert engine.log(7, task["execution_id"], task["id"]) is None
    (execution,) = engine.executions(7)
    assert execution["metrics"] == {"pending_task_count": 1, "task_count": 1}
    assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", engine.last_trigger(7, "PUSH_ARTIFACT"))


async def test_tasks_and_logs_of_something_else_are_not_found(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url))
    engine.trigger(event())
    await settled(engine)
    task = only_task(engine)
    number = task["execution_id"]
    assert engine.tasks(8, number) is None
    assert engine.tasks(7, 99) is None
    assert engine.log(7, number, 99) is None
    assert engine.log(8, number, task["id"]) is None
    assert (engine.execution_policy(number), engine.execution_policy(99)) == (7, None)


# Logs


async def _log_of(harbor: Setup, receiver: Receiver, address: str, **more: Any) -> str:
    engine = await harbor.start(policy(target(address, **more)), max_attempts=1)
    engine.trigger(RECORDED)
    await settled(engine)
    text = only_log(engine).replace(receiver.url.partition("://")[2], RECORDED_RECEIVER)
    return timeless(text)


def _recorded_log(name: str) -> str:
    """A recorded log, with the payload of the event used here (some were made by other pushes)."""
    mine = recording("0291")[0]["extra_attrs"]["payload"]
    return re.sub(
        r'(?<=endpoint, body: )\{"type".*\}\}\}$', lambda _: mine, timeless(recording(name)), flags=re.MULTILINE
    )


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("0305-log-e500", "{receiver}/status/500"),
        ("0320-log-slow", "{receiver}/slow/10"),
        ("0326-log-noscheme", "127.0.0.1:19000/noscheme"),
        ("0329-log-badport", "http://127.0.0.1:99999/x"),
        ("1004-log2-loop", "{receiver}/loop"),
        ("1104-log2-lead", " http://127.0.0.1:19000/lead"),
        ("1105-log2-nohost", "http:///x"),
    ],
)
async def test_a_log_is_word_for_word_the_recorded_one(harbor: Setup, receiver: Receiver, name: str, path: str) -> None:
    log = await _log_of(harbor, receiver, path.format(receiver=receiver.url))
    assert log == _recorded_log(name)


async def test_a_header_that_cannot_be_sent_is_named(harbor: Setup, receiver: Receiver) -> None:
    log = await _log_of(harbor, receiver, receiver.url + "/ah2", auth_header="a\nb")
    assert log == _recorded_log("0406-auth-header-newline-log")
    assert receiver.received() == []


async def test_a_body_of_several_lines_is_quoted_uncut(harbor: Setup, receiver: Receiver) -> None:
    theirs = _recorded_log("1008-log2-html503")
    receiver.set_status("html", 503, theirs.partition("code: 503, body: ")[2].removesuffix("\n"))
    assert await _log_of(harbor, receiver, receiver.url + "/toggle/html") == theirs


async def test_a_dropped_connection_is_eof(harbor: Setup, receiver: Receiver) -> None:
    log = await _log_of(harbor, receiver, receiver.url + "/close")
    assert log == _recorded_log("1010-log2-close").replace("127.0.0.1:19081", RECORDED_RECEIVER)


async def test_a_refused_connection_names_the_address(harbor: Setup, receiver: Receiver) -> None:
    log = await _log_of(harbor, receiver, "http://127.0.0.1:1/x")
    assert log == _recorded_log("0311-log-closed").replace("127.0.0.1:19999", "127.0.0.1:1")


async def test_an_unknown_host_names_the_name_server(
    harbor: Setup, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    log = await _log_of(harbor, receiver, "http://no-such-host.invalid/hook")
    theirs = _recorded_log("0990-log2-dns")
    server = re.compile(r" on [\d.:a-f]+:53: ")
    assert server.sub(" on it:53: ", log) == server.sub(" on it:53: ", theirs)


async def test_no_route_is_worded_as_go_does(
    harbor: Setup, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", unreachable)
    log = await _log_of(harbor, receiver, "http://192.0.2.1/hook")
    assert log.endswith('Post "http://192.0.2.1/hook": dial tcp 192.0.2.1:80: connect: no route to host\n')


@pytest.mark.parametrize("address", ["localhost", "//host/x"])
async def test_without_a_scheme_nothing_is_sent(harbor: Setup, receiver: Receiver, address: str) -> None:
    log = await _log_of(harbor, receiver, address)
    assert log.endswith(f'error to send request: Post "{address}": unsupported protocol scheme ""\n')


async def test_a_password_in_the_address_is_starred_out(harbor: Setup, receiver: Receiver) -> None:
    log = await _log_of(harbor, receiver, "http://user:secret@127.0.0.1:1/x")
    assert 'Post "http://user:***@127.0.0.1:1/x": dial tcp' in log


async def test_slack_has_its_own_log(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy({"type": "slack", "address": receiver.url + "/slack"}))
    engine.trigger(RECORDED)
    await settled(engine)
    assert timeless(only_log(engine)) == timeless(recording("0323-log-slack"))
    assert engine.executions(7)[0]["vendor_type"] == "SLACK"


async def test_a_longer_log_of_the_attempt_before_sticks_out(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/fail-times/1/flaky"))
    engine.trigger(RECORDED)
    await settled(engine)
    assert timeless(only_log(engine)) == timeless(recording("0314-log-flaky"))


def test_a_log_file_is_overwritten_not_emptied() -> None:
    assert overwrite(None, "abc") == "abc"
    assert overwrite("12345", "abc") == "abc45"
    assert overwrite("12", "abc") == "abc"


# Certificates


async def test_a_certificate_nobody_vouches_for_is_refused_unless_told_otherwise(harbor: Setup) -> None:
    with Receiver(tls=True) as secured:
        engine = await harbor.start(
            policy(secured.url + "/hook", number=1),
            policy(target(secured.url + "/skipped", skip_cert_verify=True), number=2),
            max_attempts=1,
        )
        engine.trigger(event())
        await settled(engine)
        log = only_log(engine, 1)
        assert '/hook": tls: failed to verify certificate: x509: certificate signed by unknown authority\n' in log
        assert only_task(engine, 2)["status"] == "Success"
        assert [got.path for got in secured.received()] == ["/skipped"]


async def test_a_certificate_for_another_name_is_refused_for_that(harbor: Setup) -> None:
    with Receiver(tls=True, names=("localhost",)) as by_ip, Receiver(tls=True, names=("other.example",)) as other:
        named = other.url.replace("127.0.0.1", "localhost")
        engine = await harbor.start(policy(by_ip.url, number=1), policy(named, number=2), max_attempts=1)
        engine.trigger(event())
        await settled(engine)
        theirs = recording("0999-log2-tls-name").partition('/hook": ')[2]
        assert only_log(engine, 1).endswith(f'Post "{by_ip.url}": {theirs}')
        assert only_log(engine, 2).endswith("x509: certificate is valid for other.example, not localhost\n")


async def test_an_answer_that_is_not_tls_is_told(harbor: Setup, receiver: Receiver) -> None:
    log = await _log_of(harbor, receiver, receiver.url.replace("http:", "https:"))
    assert log.endswith("tls: first record does not look like a TLS handshake\n")


async def _answering(reply: bytes) -> asyncio.Server:
    """A server that answers everything with the same bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(reply)
        writer.write_eof()
        await reader.read()  # closing with unread data would reset the connection
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("scheme", "reply", "reason"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "http: server gave HTTP response to HTTPS client"),
        (
            "http",
            b"garbage\r\n\r\n",
            'net/http: HTTP/1.x transport connection broken: malformed HTTP response "garbage"',
        ),
    ],
)
async def test_answers_that_make_no_sense_are_told(
    harbor: Setup, receiver: Receiver, scheme: str, reply: bytes, reason: str
) -> None:
    async with await _answering(reply) as server:
        port = server.sockets[0].getsockname()[1]
        log = await _log_of(harbor, receiver, f"{scheme}://127.0.0.1:{port}")
    assert log.endswith(f'error to send request: Post "{scheme}://127.0.0.1:{port}": {reason}\n')


async def test_a_body_that_breaks_off_is_told_before_the_code(harbor: Setup, receiver: Receiver) -> None:
    async with await _answering(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nshort") as server:
        port = server.sockets[0].getsockname()[1]
        log = await _log_of(harbor, receiver, f"http://127.0.0.1:{port}")
    read, exit_ = log.splitlines()[-2:]
    assert read.endswith("webhook_job.go:129]: error to read response body, error: unexpected EOF")
    assert exit_.endswith("exit webhook job, error: abnormal response code: 500, body: short")


# Attempts


@pytest.mark.parametrize("code", [200, 201, 204, 299])
async def test_every_2xx_is_a_success(harbor: Setup, receiver: Receiver, code: int) -> None:
    engine = await harbor.start(policy(f"{receiver.url}/status/{code}"))
    engine.trigger(event())
    await settled(engine)
    assert only_task(engine)["status"] == "Success"


async def test_error_is_not_final_until_the_third_attempt(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(
        policy(receiver.url + "/fail-times/2/twice", number=1), policy(receiver.url + "/fail-times/3/thrice", number=2)
    )
    engine.trigger(event())
    await settled(engine)
    for number, status in ((1, "Success"), (2, "Error")):
        task = only_task(engine, number)
        assert (task["status"], task["run_count"]) == (status, 3)
        assert engine.executions(number)[0]["status"] == status


async def test_a_task_says_error_while_it_waits_for_its_next_attempt(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/status/500"))
    engine.random.pause = 10**9  # type: ignore[attr-defined]
    engine.trigger(event())
    await until(lambda: engine.executions(7)[0]["status"] == "Error")
    assert (only_task(engine)["status"], only_task(engine)["run_count"]) == ("Error", 1)
    assert engine.pending() == 1


def test_pauses_are_those_of_jobservice(tmp_path: Path) -> None:
    engine = Deliveries(
        policies_of=lambda _: [],
        notification_enabled=lambda: True,
        jobservice_running=lambda: True,
        legacy=False,
        time_scale=1.0,
        directory=tmp_path,
        public_url="http://h",
    )
    seen = {fails: {engine._pause(fails) for _ in range(5000)} for fails in (1, 2, 9)}
    assert (min(seen[1]), max(seen[1])) == (16, 74)
    assert (min(seen[2]), max(seen[2])) == (31, 118)
    assert (min(seen[9]), max(seen[9])) == (9**4 + 15, 9**4 + 15 + 290)
    engine._store.close()


async def test_an_execution_says_running_after_its_task_ended(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url))
    original = engine.random.uniform

    def never(a: float, b: float) -> float:
        return 1e9 if b == 31.0 else original(a, b)

    engine.random.uniform = never  # type: ignore[method-assign]
    engine.trigger(event())
    await until(lambda: only_task(engine)["status"] == "Success")
    (execution,) = engine.executions(7)
    assert (execution["status"], execution["end_time"]) == ("Running", "0001-01-01T00:00:00Z")
    assert execution["metrics"] == {"success_task_count": 1, "task_count": 1}
    assert engine.open_executions(7) == 1


@pytest.mark.parametrize("change", ["forgotten", "disabled", "moved", "switched off"])
async def test_pending_retries_are_still_sent_to_the_old_address(
    harbor: Setup, receiver: Receiver, change: str
) -> None:
    engine = await harbor.start(policy(receiver.url + "/fail-times/2/old"), time_scale=0.004)
    engine.random.pause = 29  # type: ignore[attr-defined]
    engine.trigger(event())
    await until(lambda: engine.open_executions(7) == 0)
    if change == "forgotten":
        harbor.policies.clear()
        engine.forget_policy(7)
        assert engine.executions(7) == []
    elif change == "disabled":
        harbor.policies[0]["enabled"] = False
    elif change == "moved":
        harbor.policies[0]["targets"] = [target(receiver.url + "/new")]
    else:
        harbor.notifications = False
    await settled(engine)
    assert len(receiver.received("/fail-times/2/old")) == 3
    assert receiver.received("/new") == []
    assert len(engine.executions(7)) == (0 if change == "forgotten" else 1)


# Jobservice


async def test_an_event_while_jobservice_is_down_stays_running_without_a_task_for_ever(
    harbor: Setup, receiver: Receiver
) -> None:
    engine = await harbor.start(policy(receiver.url))
    harbor.jobservice = False
    engine.trigger(event())
    assert same_shape(engine.executions(7), recording("0436"))
    assert engine.tasks(7, engine.executions(7)[0]["id"]) == recording("0437") == []
    harbor.jobservice = True
    engine.jobservice_changed()
    engine.trigger(event())
    await settled(engine)
    statuses = sorted(execution["status"] for execution in engine.executions(7))
    assert statuses == ["Running", "Success"]
    assert engine.open_executions(7) == 1
    assert len(receiver.received()) == 1


async def test_a_retry_waits_for_jobservice(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/fail-times/1/x"), time_scale=0.004)
    engine.random.pause = 29  # type: ignore[attr-defined]
    engine.trigger(event())
    await until(lambda: only_task(engine)["status"] == "Error")
    harbor.jobservice = False
    await until(lambda: engine._held)
    assert only_task(engine)["run_count"] == 1
    harbor.jobservice = True
    engine.jobservice_changed()
    await settled(engine)
    assert only_task(engine)["status"] == "Success"


# Restarts


async def test_executions_and_pending_retries_survive_a_stop(harbor: Setup, receiver: Receiver) -> None:
    first = await harbor.start(policy(receiver.url + "/fail-times/1/x"), time_scale=0.004)
    first.random.pause = 29  # type: ignore[attr-defined]
    first.trigger(event())
    await until(lambda: only_task(first)["status"] == "Error")
    before = first.executions(7)
    triggered = first.last_trigger(7, "PUSH_ARTIFACT")
    await harbor.stop(first)
    second = await harbor.start()
    assert [one["id"] for one in second.executions(7)] == [one["id"] for one in before]
    assert second.last_trigger(7, "PUSH_ARTIFACT") == triggered
    await settled(second)
    assert only_task(second)["status"] == "Success"
    second.trigger(event())
    assert sorted(one["id"] for one in second.executions(7)) == [1, 2]


async def test_an_attempt_cut_off_by_a_kill_is_made_again(harbor: Setup, receiver: Receiver) -> None:
    first = await harbor.start(policy(receiver.url + "/toggle/x"), legacy=False)
    harbor.policies[0]["targets"] = [target(receiver.url + "/slow/60")]
    first = await _replaced(harbor, first, time_scale=1.0)
    first.random.lag = 0.001  # type: ignore[attr-defined]
    first.trigger(event())
    await until(lambda: only_task(first)["status"] == "Running")
    await harbor.stop(first)
    second = await harbor.start(time_scale=0.001, max_attempts=1)
    await settled(second)
    assert (only_task(second)["status"], only_task(second)["run_count"]) == ("Error", 1)


async def _replaced(harbor: Setup, engine: Deliveries, **options: Any) -> Deliveries:
    await harbor.stop(engine)
    return await harbor.start(**options)


# Sweeping


async def test_the_sweep_keeps_fifty_and_an_old_trigger_falls_back(harbor: Setup, receiver: Receiver) -> None:
    both = ["PUSH_ARTIFACT", "PULL_ARTIFACT"]
    slack = {"type": "slack", "address": receiver.url}
    engine = await harbor.start(policy(target(receiver.url), slack, event_types=both))
    engine.trigger(event())
    await settled(engine)
    assert engine.last_trigger(7, "PUSH_ARTIFACT") != NEVER
    for _ in range(60):
        engine.trigger(event(type="PULL_ARTIFACT"))
    await settled(engine)
    last = engine.last_trigger(7, "PULL_ARTIFACT")
    engine.sweep()
    assert len(engine.executions(7)) == 100  # fifty of each vendor type
    assert engine.last_trigger(7, "PUSH_ARTIFACT") == NEVER
    assert engine.last_trigger(7, "PULL_ARTIFACT") == last
    again = await _replaced(harbor, engine)
    assert len(again.executions(7)) == 100


async def test_logs_can_be_swept_alone(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url))
    engine.trigger(event())
    await settled(engine)
    engine.sweep_logs()
    task = only_task(engine)
    assert engine.log(7, task["execution_id"], task["id"]) is None


# Harbor 2.7


async def test_before_2_8_jobs_go_to_the_last_target_in_the_default_format(harbor: Setup, receiver: Receiver) -> None:
    last = target(receiver.url + "/last", payload_format="CloudEvents", auth_header="Bearer last")
    engine = await harbor.start(policy(receiver.url + "/first", last), legacy=True)
    engine.trigger(_event_of(json.loads(recording("2813")[0]["job_detail"])))
    await settled(engine)
    assert receiver.received("/first") == []
    assert [got.headers["authorization"] for got in receiver.received("/last")] == ["Bearer last"] * 2
    for job in engine.jobs(7):
        assert same_shape([job], recording("2813"))
        assert (job["status"], job["notify_type"]) == ("finished", "http")
        assert json.loads(job["job_detail"])["type"] == "PUSH_ARTIFACT"
    assert engine.open_executions(7) == 0


async def test_before_2_8_slack_gets_blocks_and_the_job_shows_harbors_own_format(
    harbor: Setup, receiver: Receiver
) -> None:
    default, theirs = recording("deliveries-formats")[3], recording("deliveries-formats")[1]
    engine = await harbor.start(policy({"type": "slack", "address": receiver.url + "/slack"}), legacy=True)
    engine.trigger(_event_of(default["body"]))
    await settled(engine)
    (got,) = receiver.received()
    assert got.text == theirs["body"]
    (job,) = engine.jobs(7)
    assert (job["notify_type"], json.loads(job["job_detail"])) == ("slack", default["body"])


async def test_before_2_8_there_are_ten_attempts(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url + "/status/500"), legacy=True, time_scale=0.00001)
    engine.trigger(event())
    await settled(engine)
    assert len(receiver.received()) == 10
    assert [job["status"] for job in engine.jobs(7)] == ["error"]


async def test_before_2_8_a_job_is_in_error_at_once_when_jobservice_is_down(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url), legacy=True)
    harbor.jobservice = False
    engine.trigger(event())
    (job,) = engine.jobs(7)
    assert job["status"] == recording("3033")[0]["status"] == "error"
    harbor.jobservice = True
    engine.jobservice_changed()
    assert engine.pending() == 0


async def test_before_2_8_nothing_is_swept(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(policy(receiver.url), legacy=True)
    for _ in range(60):
        engine.trigger(event())
    await settled(engine)
    engine.sweep()
    assert len(engine.jobs(7)) == 60


async def test_a_hundred_pushes_to_several_policies_all_arrive(harbor: Setup, receiver: Receiver) -> None:
    engine = await harbor.start(*[policy(f"{receiver.url}/p{number}", number=number) for number in range(1, 6)])
    for number in range(100):
        engine.trigger(event(tag=f"v{number}"))
    await settled(engine)
    assert len(receiver.received()) == 500
    assert sum(len(engine.executions(number)) for number in range(1, 6)) == 500
