"""The published programs of a control plane: found locally, downloaded completely and verified, or refused with a
reason."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.control_plane import ControlPlaneError, binaries
from harness.control_plane.envtest import PROGRAMS, Envtest, UnavailableError

HERE = "linux-amd64"
NAME = f"envtest-v1.34.1-{HERE}.tar.gz"


def archive(*programs: str) -> bytes:
    """The published layout: the programs are below controller-tools/envtest."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for program in programs:
            content = f"#!/bin/sh\necho {program}\n".encode() + hashlib.sha512(program.encode()).digest() * 500
            member = tarfile.TarInfo(f"controller-tools/envtest/{program}")
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


ARCHIVE = archive(*PROGRAMS)


class Releases:
    """A server of releases on the loopback. `breaks_off` answers end after half of the rest."""

    def __init__(self, content: bytes = ARCHIVE) -> None:
        self.content = content
        self.status = 200
        self.breaks_off = 0
        self.silent = False
        self.resumes = True
        self.asked: list[tuple[str, str | None]] = []
        self.end = threading.Event()
        releases = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                releases.answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append((request.path, wanted))
        if self.silent:
            self.end.wait(30)
            return
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.resumes else 0
        rest = self.content[begin:]
        request.send_response(206 if begin and self.status == 200 else self.status)
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        if self.breaks_off:
            self.breaks_off -= 1
            rest = rest[: len(rest) // 2]
        request.wfile.write(rest)

    def close(self) -> None:
        self.end.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def releases() -> Iterator[Releases]:
    found = Releases()
    yield found
    found.close()


class Told(list[str]):
    """The reported progress."""

    def __call__(self, line: str) -> None:
        self.append(line)


@pytest.fixture
def told() -> Told:
    return Told()


def envtest(directory: Path, releases: Releases, **changed: object) -> Envtest:
    checksum = hashlib.sha512(ARCHIVE).hexdigest()
    stated = {
        "cache": directory / "cache",
        "others": directory / "others",
        "releases": releases.url,
        "platform": HERE,
        "silence": 5.0,
        "checksums": {NAME: checksum},
    }
    return Envtest(**{**stated, **changed})  # type: ignore[arg-type]


def test_the_right_archive_is_unpacked_once(tmp_path: Path, releases: Releases, told: Told) -> None:
    published = envtest(tmp_path, releases)
    assert published.at_hand() is None
    directory = published.download(told)
    assert sorted(path.name for path in directory.iterdir()) == sorted(PROGRAMS)
    assert (directory / "etcd").read_bytes().startswith(b"#!/bin/sh\necho etcd")
    assert published.at_hand() == directory
    assert published.download(told) == directory
    assert releases.asked == [(f"/envtest-v1.34.1/{NAME}", None)]
    assert [path.name for path in published.cache.iterdir() if path.name != ".lock"] == [directory.name]


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.content = archive("etcd", "kube-apiserver", "kubectl", "surprise")
    published = envtest(tmp_path, releases)
    with pytest.raises(UnavailableError, match="does not have the checksum that is in the repository"):
        published.download(told)
    assert published.at_hand() is None
    assert [path.name for path in published.cache.iterdir()] == [".lock"]


def test_a_download_that_breaks_off_goes_on_where_it_was(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.breaks_off = 2
    assert envtest(tmp_path, releases).download(told)
    half, quarter = len(ARCHIVE) // 2, (len(ARCHIVE) - len(ARCHIVE) // 2) // 2
    assert [wanted for _, wanted in releases.asked] == [None, f"bytes={half}-", f"bytes={half + quarter}-"]
    assert sum("broken off" in line for line in told) == 2


def test_a_download_that_failed_goes_on_at_the_next_start(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.breaks_off = 3
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1: peer closed connection"):
        envtest(tmp_path, releases).download(told)
    assert envtest(tmp_path, releases).download(told)
    assert releases.asked[3][1] is not None


def test_a_server_that_cannot_resume_sends_it_again(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.breaks_off, releases.resumes = 1, False
    assert envtest(tmp_path, releases).download(told)


def test_a_missing_archive_is_said_with_its_status(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.status = 404
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1 answered with status 404"):
        envtest(tmp_path, releases).download(told)
    assert len(releases.asked) == 1


def test_a_silent_server_is_not_waited_for(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.silent = True
    with pytest.raises(UnavailableError, match="no answer in time"):
        envtest(tmp_path, releases, silence=0.3).download(told)


def test_another_platform_has_no_archive(tmp_path: Path, releases: Releases, told: Told) -> None:
    with pytest.raises(UnavailableError, match="there is no archive for plan9-mips"):
        envtest(tmp_path, releases, platform="plan9-mips").download(told)
    assert envtest(tmp_path, releases, platform="plan9-mips").at_hand() is None


def test_an_archive_without_a_program_is_refused(tmp_path: Path, releases: Releases, told: Told) -> None:
    releases.content = archive("etcd", "kubectl")
    checksum = hashlib.sha512(releases.content).hexdigest()
    with pytest.raises(UnavailableError, match="lacks one of etcd, kube-apiserver, kubectl"):
        envtest(tmp_path, releases, checksums={NAME: checksum}).download(told)


def test_the_newest_of_setup_envtest_for_this_platform_is_used(tmp_path: Path, releases: Releases) -> None:
    published = envtest(tmp_path, releases)
    for name in (
        "1.28.3-linux-amd64",
        "1.31.0-linux-amd64",
        "1.9.0-linux-amd64",
        "1.35.0-linux-arm64",
        "x-linux-amd64",
    ):
        programs(published.others / name)
    (published.others / "1.34.1-linux-amd64").mkdir()  # it was not unpacked
    assert published.at_hand() == published.others / "1.31.0-linux-amd64"


def programs(directory: Path) -> None:
    directory.mkdir(parents=True)
    for name in PROGRAMS:
        (directory / name).touch(mode=0o755)


def test_the_checksums_are_those_of_one_version_for_four_platforms() -> None:
    names = list(Envtest.here().checksums)
    assert {name.removeprefix("envtest-v1.34.1-") for name in names} == {
        f"{system}-{machine}.tar.gz" for system in ("darwin", "linux") for machine in ("amd64", "arm64")
    }
    assert {len(checksum) for checksum in Envtest.here().checksums.values()} == {128}


# Order of the search


@pytest.fixture
def empty(tmp_path: Path, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of the programs, even without Go."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("CONTROL_PLANE", raising=False)
    monkeypatch.setenv("HARBORHOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ENVTEST_RELEASES", releases.url)
    published = envtest(tmp_path, releases, cache=tmp_path / "cache/envtest", others=tmp_path / "data/k8s")
    monkeypatch.setattr(Envtest, "here", lambda: published)
    return tmp_path


def test_what_is_named_comes_first(empty: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(empty / "assets")
    programs(empty / "data/k8s/1.34.1-linux-amd64")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(empty / "assets"))
    assert binaries.find(told, controllers=False).etcd == empty / "assets/etcd"


def test_what_is_there_is_not_downloaded(empty: Path, told: Told, releases: Releases) -> None:
    programs(empty / "data/k8s/1.34.1-linux-amd64")
    found = binaries.find(told, controllers=False)
    assert found.kubectl == empty / "data/k8s/1.34.1-linux-amd64/kubectl"
    assert found.kube_controller_manager is None
    assert releases.asked == []


def test_what_is_nowhere_is_downloaded_without_go(empty: Path, told: Told, releases: Releases) -> None:
    found = binaries.find(told, controllers=False)
    assert found.kube_apiserver.parent == empty / "cache/envtest" / NAME.removesuffix(".tar.gz")
    assert told == [f"Downloading {releases.url}/envtest-v1.34.1/{NAME} ..."]


def test_what_cannot_be_downloaded_is_built_and_the_reason_is_said(empty: Path, told: Told, releases: Releases) -> None:
    releases.status = 404
    with pytest.raises(ControlPlaneError, match="no go command"):
        binaries.find(told, controllers=False)
    assert told[-1] == (
        "The published control plane cannot be used: 127.0.0.1 answered with status 404. "
        "Building it from source instead."
    )


def test_a_build_can_be_demanded(empty: Path, told: Told, releases: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    programs(empty / "data/k8s/1.34.1-linux-amd64")
    monkeypatch.setenv("CONTROL_PLANE", "build")
    with pytest.raises(ControlPlaneError, match="no go command"):
        binaries.find(told, controllers=False)
    assert releases.asked == []


def test_with_the_controller_manager_everything_is_built(empty: Path, told: Told, releases: Releases) -> None:
    with pytest.raises(ControlPlaneError, match="no go command"):
        binaries.find(told)
    assert releases.asked == []
