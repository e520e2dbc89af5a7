"""The webhook receiver answers as its paths define and records requests."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness.paths import TESTS
from harness.receiver import Received, Receiver


@pytest.fixture(scope="module")
def shared() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def receiver(shared: Receiver) -> Receiver:
    shared.clear()
    return shared


@pytest.fixture
def client(receiver: Receiver) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=receiver.url, trust_env=False, timeout=10) as made:
        yield made


def test_it_keeps_everything_about_a_request(receiver: Receiver, client: httpx.Client) -> None:
    client.post("/ok/here?a=1&b=%20", content=b"\xff{}", headers={"Authorization": "Bearer x"})
    (got,) = receiver.received()
    assert (got.method, got.path, got.query, got.body) == ("POST", "/ok/here", "a=1&b=%20", b"\xff{}")
    assert got.headers["authorization"] == "Bearer x"
    assert got.answered == 200


def test_received_can_be_asked_by_path_and_cleared(receiver: Receiver, client: httpx.Client) -> None:
    for path in ("/ok/a", "/ok/a/deeper", "/ok/ab"):
        client.post(path)
    assert [got.path for got in receiver.received("/ok/a")] == ["/ok/a", "/ok/a/deeper"]
    receiver.clear()
    assert receiver.received() == []


@pytest.mark.parametrize("code", [200, 204, 301, 404, 500])
def test_status_answers_with_that_code(client: httpx.Client, code: int) -> None:
    answer = client.post(f"/status/{code}/anything")
    assert answer.status_code == code
    assert answer.text == ("" if code == 204 else f"receiver answered {code}")


def test_fail_times_fails_so_often_for_each_key(client: httpx.Client) -> None:
    codes = [client.post(f"/fail-times/2/{key}").status_code for key in ("one", "one", "other", "one", "one")]
    assert codes == [500, 500, 500, 200, 200]


def test_slow_is_received_when_it_is_answered(receiver: Receiver, client: httpx.Client) -> None:
    assert client.post("/slow/0.01").status_code == 200
    assert len(receiver.received("/slow")) == 1


def test_redirects_go_here_or_anywhere(client: httpx.Client) -> None:
    here = client.post("/redirect/307/ok/there")
    assert (here.status_code, here.headers["location"]) == (307, "/ok/there")
    elsewhere = client.post("/redirect/302/x", params={"to": "http://elsewhere.example/y?z=1"})
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (302, "http://elsewhere.example/y?z=1")
    assert client.post("/loop").headers["location"] == "/loop"


def test_close_drops_the_connection(receiver: Receiver, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
        client.post("/close/now")
    assert [got.path for got in receiver.received()] == ["/close/now"]


def test_echo_shows_the_requests_headers(client: httpx.Client) -> None:
    answer = client.post("/echo/500", headers={"Authorization": "Bearer secret"}, content=b"the body")
    assert answer.status_code == 500
    assert "authorization: Bearer secret" in answer.text.splitlines()
    assert answer.text.endswith("the body")


def test_lines_have_several_lines(client: httpx.Client) -> None:
    answer = client.post("/lines/503/6")
    assert (answer.status_code, len(answer.text.splitlines())) == (503, 6)


def test_a_toggle_can_be_set_from_the_test_and_from_outside(receiver: Receiver, client: httpx.Client) -> None:
    assert client.post("/toggle/some/key").status_code == 200
    receiver.set_status("some/key", 500)
    assert client.post("/toggle/some/key").text == "receiver answered 500"
    client.put("/_behaviour/some/key", json={"status": 202, "body": "as said"})
    answer = client.post("/toggle/some/key")
    assert (answer.status_code, answer.text) == (202, "as said")


def test_chunked_bodies_are_put_together(receiver: Receiver, client: httpx.Client) -> None:
    client.post("/ok", content=iter([b"one ", b"two"]))
    assert receiver.received()[0].body == b"one two"


def test_what_came_can_be_asked_by_http(receiver: Receiver, client: httpx.Client) -> None:
    client.post("/ok/a", content=b"\xff")
    client.post("/ok/b")
    asked = client.get("/_received", params={"path": "/ok/a"}).json()
    assert [Received.from_wire(one) for one in asked] == receiver.received("/ok/a")
    assert client.delete("/_received").status_code == 204
    assert client.get("/_received").json() == []


def test_waiting_gives_up_with_a_sentence(receiver: Receiver) -> None:
    with pytest.raises(AssertionError, match="0 of 1 requests came to /never"):
        receiver.wait(1, "/never", timeout=0)


def test_what_a_redelivery_is_known_by(receiver: Receiver, client: httpx.Client) -> None:
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json", "X-Harborhook-Redelivery": "41"}
    client.post("/ok", content=b"{}", headers=headers)
    client.post("/ok", content=b"{ }")
    again, first = receiver.received()
    assert (again.redelivery, again.authorization, again.content_type) == (41, "Bearer x", "application/json")
    assert (first.redelivery, first.authorization, first.body) == (None, None, b"{ }")


def test_requests_are_in_the_order_in_which_they_came(receiver: Receiver) -> None:
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(httpx.post, f"{receiver.url}/slow/0.5", trust_env=False)
        time.sleep(0.2)
        httpx.post(f"{receiver.url}/ok", trust_env=False)
        assert [got.path for got in receiver.received()] == ["/ok"], "the slow one has no answer yet"
        slow.result()
    assert [got.path for got in receiver.received()] == ["/slow/0.5", "/ok"]


@pytest.mark.parametrize("tls", [False, True])
def test_it_can_refuse_connections_for_a_while(tls: bool) -> None:
    with Receiver(tls=tls) as own, httpx.Client(base_url=own.url, verify=False, trust_env=False) as client:
        assert client.post("/ok/before").status_code == 200
        for _ in range(3):
            own.down()
            with pytest.raises(httpx.ConnectError, match="refused"):
                client.post("/ok/meanwhile")
            own.up()
            assert client.post("/ok/after").status_code == 200
        assert [got.path for got in own.received()] == ["/ok/before"] + ["/ok/after"] * 3
    with Receiver() as own:
        own.down()  # the block's end stops it while it is down


def test_it_can_answer_everything_with_an_error_for_a_while(receiver: Receiver, client: httpx.Client) -> None:
    receiver.set_status("key", 202)
    receiver.down(503)
    assert [client.post(path).status_code for path in ("/ok", "/toggle/key", "/echo/200")] == [503] * 3
    receiver.up()
    assert client.post("/toggle/key").status_code == 202
    assert [got.answered for got in receiver.received()] == [503, 503, 503, 202]


def test_it_can_be_down_and_up_from_outside(client: httpx.Client) -> None:
    assert client.put("/_down", json={"status": 500}).status_code == 204
    assert client.post("/ok").status_code == 500
    assert client.delete("/_down").status_code == 204
    assert client.post("/ok").status_code == 200


def test_tls_with_a_certificate_of_its_own() -> None:
    with Receiver.start(tls=True) as secured:
        assert secured.certificate is not None
        trusted = ssl.create_default_context(cafile=secured.certificate)
        assert httpx.post(secured.url + "/ok", verify=trusted, trust_env=False).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.post(secured.url + "/ok", verify=ssl.create_default_context(), trust_env=False)
        assert len(secured.received()) == 1


def test_it_runs_alone() -> None:
    command = [sys.executable, "-m", "harness.receiver", "--port", "0"]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            httpx.post(url + "/status/500", content=b"body", trust_env=False)
            (got,) = httpx.get(url + "/_received", trust_env=False).json()
            assert (got["path"], got["body"], got["answered"]) == ("/status/500", "body", 500)
        finally:
            process.terminate()


def test_stopping_does_not_wait_for_slow_answers() -> None:
    receiver = Receiver()
    with httpx.Client(trust_env=False) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(receiver.url + "/slow/600", timeout=0.05)
        receiver.stop()
