"""The registry part of Harbor: enough of the OCI distribution API, with Harbor's token service, for clients to push and
pull, and the resulting events.

It follows Harbor: missing permissions are 401, not 403; a push over the quota is 403 DENIED and a QUOTA_EXCEED event;
GET causes a pull event and HEAD does not; deleting a tag sends no event; deleting a repository sends one event per
artifact, without the repository's creation time.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from harness.harbor._payloads import Event
from harness.harbor._registrystore import Artifact, RegistryStore, Repository, digest_of

__all__ = ["Registry"]

_SERVICE = "harbor-registry"
_TOKEN_SECONDS = 1800
_WARNING_PERCENT = 85
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_PATHS = {
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<reference>[^/]*)"),
    "blob": re.compile(rf"/v2/{_NAME}/blobs/(?P<reference>[^/]+)"),
}
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}
_ANONYMOUS = object()


class _RefusalError(Exception):
    """An answer in the registry's error format."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = JSONResponse(
            {"errors": [{"code": code, "message": message}]}, status, headers=_VERSION | (headers or {})
        )


@dataclass(frozen=True)
class _Token:
    principal: Any  # _ANONYMOUS for no credentials
    expires: float


@dataclass
class _Call:
    """One request to a repository."""

    request: Request
    repository: str
    reference: str
    principal: Any
    project: dict[str, Any]
    body: bytes = b""

    @property
    def project_name(self) -> str:
        return self.repository.partition("/")[0]


def _size_text(size: int) -> str:
    """Returns bytes in the form of Harbor's quota messages."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def _time(when: float) -> str:
    thousandths = int(when * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(thousandths // 1000)) + f".{thousandths % 1000:03d}Z"


class Registry:
    """An ASGI application for ``/v2/...`` and ``/service/token``.

    ``charge(project_id, bytes)`` is called before anything is stored and decides; for bytes freed by deletions it is
    called with a negative number, and its result is ignored. ``quota(project_id)`` returns limit and usage for the
    message of a refusal (-1: no limit). ``may`` is never called for anonymous callers: they may pull from public
    projects.
    """

    def __init__(
        self,
        *,
        directory: Path,
        authenticate: Callable[[str, str], Any | None],
        project: Callable[[str], dict[str, Any] | None],
        may: Callable[[Any, dict[str, Any], str], bool],
        principal_name: Callable[[Any], str],
        on_event: Callable[[Event], None],
        charge: Callable[[int, int], bool],
        public_url: str,
        quota: Callable[[int], tuple[int, int] | None] | None = None,
        read_only: Callable[[], bool] | None = None,
    ) -> None:
        self._authenticate = authenticate
        self._project = project
        self._may = may
        self._principal_name = principal_name
        self._on_event = on_event
        self._charge_project = charge
        self._quota = quota
        self._read_only = read_only
        self._public_url = public_url.rstrip("/")
        self._store = RegistryStore(directory)
        self._tokens: dict[str, _Token] = {}

    def close(self) -> None:
        self._store.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the registry speaks HTTP only")
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except _RefusalError as refusal:
            response = refusal.response
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = str(request.scope["path"])
        if path == "/service/token":
            return self._issue_token(request)
        if path in {"/v2", "/v2/"}:
            return self._ping(request)
        if path == "/v2/_catalog":
            raise _RefusalError(401, "UNAUTHORIZED", "unauthorized to list catalog", self._basic_challenge())
        for kind, pattern in _PATHS.items():
            if match := pattern.fullmatch(path):
                parts = match.groupdict()
                return await self._serve(request, kind, parts["name"], parts.get("reference") or "")
        raise _RefusalError(404, "NOT_FOUND", f"path {path} was not found")

    # Authorization

    def _base(self, request: Request) -> str:
        """Returns the address by which this client reaches Harbor: the scheme of the external URL, the requested
        host."""
        host = request.headers.get("host") or self._public_url.partition("://")[2]
        return f"{self._public_url.partition('://')[0]}://{host}"

    def _challenge(self, request: Request, scope: str = "") -> dict[str, str]:
        value = f'Bearer realm="{self._base(request)}/service/token",service="{_SERVICE}"'
        return {"Www-Authenticate": f'{value},scope="{scope}"' if scope else value}

    @staticmethod
    def _basic_challenge() -> dict[str, str]:
        return {"Www-Authenticate": 'Basic realm="harbor"'}

    def _login(self, header: str) -> Any | None:
        """Returns the principal of a Basic Authorization header; None if it is wrong."""
        try:
            user, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return self._authenticate(user, password)

    def _principal(self, request: Request) -> Any | None:
        """Returns the caller: by token, by Basic, or anonymous; None for wrong credentials."""
        header = request.headers.get("authorization", "")
        kind, _, value = header.partition(" ")
        if kind.lower() == "basic":
            return self._login(header)
        if kind.lower() == "bearer":
            token = self._tokens.get(value)
            return token.principal if token is not None and token.expires > time.time() else None
        return _ANONYMOUS

    def _issue_token(self, request: Request) -> Response:
        """GET /service/token: every caller gets one; its rights are evaluated on use."""
        header = request.headers.get("authorization", "")
        principal = self._login(header) if header.lower().startswith("basic ") else _ANONYMOUS
        if principal is None:
            raise _RefusalError(401, "UNAUTHORIZED", "unauthorized")
        now = time.time()
        self._tokens = {text: token for text, token in self._tokens.items() if token.expires > now}
        text = secrets.token_urlsafe(48)
        self._tokens[text] = _Token(principal, now + _TOKEN_SECONDS)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        body = {"token": text, "access_token": "", "expires_in": _TOKEN_SECONDS, "issued_at": issued}
        return JSONResponse(body)

    def _ping(self, request: Request) -> Response:
        principal = self._principal(request)
        if principal is None or principal is _ANONYMOUS:
            raise _RefusalError(401, "UNAUTHORIZED", "unauthorized: unauthorized", self._challenge(request))
        return JSONResponse({}, headers=_VERSION)

    def _authorize(self, request: Request, repository: str, action: str) -> tuple[Any, dict[str, Any]]:
        """Harbor's check: reading needs an Authorization header; a missing project and a missing right are both 401."""
        scope = f"repository:{repository}:{'pull' if action == 'pull' else 'pull,push'}"
        shown = "authorization" in request.headers
        challenge = self._basic_challenge() if shown else self._challenge(request, scope)
        if not shown and request.method in {"GET", "HEAD"}:
            text = "authorize header needed to send HEAD to repository"
            raise _RefusalError(401, "UNAUTHORIZED", f"{text}: {text}", challenge)
        principal = self._principal(request)
        if principal is None:
            raise _RefusalError(401, "UNAUTHORIZED", "unauthorized: unauthorized", self._challenge(request, scope))
        project = self._project(repository.partition("/")[0])
        if project is None:
            text = f"project {repository.partition('/')[0]} not found"
            raise _RefusalError(401, "UNAUTHORIZED", f"{text}: {text}", challenge)
        if not self._allowed(principal, project, action):
            text = f"unauthorized to access repository: {repository}, action: {action}"
            raise _RefusalError(401, "UNAUTHORIZED", f"{text}: {text}", challenge)
        return principal, project

    def _allowed(self, principal: Any, project: dict[str, Any], action: str) -> bool:
        if action == "pull" and _is_public(project):
            return True
        return principal is not _ANONYMOUS and self._may(principal, project, action)

    # The distribution API

    async def _serve(self, request: Request, kind: str, repository: str, reference: str) -> Response:
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
        method = request.method
        action = actions.get(method, "push") if kind != "upload" else "push"
        principal, project = self._authorize(request, repository, action)
        if "/" not in repository:
            raise _RefusalError(404, "NOT_FOUND", f"repository {repository} not found")
        if action != "pull" and method != "GET" and self._read_only is not None and self._read_only():
            text = "The system is in read only mode. Any modification is prohibited."
            raise _RefusalError(403, "DENIED", text)
        call = _Call(request, repository, reference, principal, project, await request.body())
        handlers: dict[tuple[str, str], Callable[[_Call], Response]] = {
            ("tags", "GET"): self._list_tags,
            ("manifest", "GET"): self._get_manifest,
            ("manifest", "HEAD"): self._get_manifest,
            ("manifest", "PUT"): self._put_manifest,
            ("manifest", "DELETE"): self._delete_manifest,
            ("blob", "GET"): self._get_blob,
            ("blob", "HEAD"): self._get_blob,
            ("upload", "POST"): self._start_upload,
            ("upload", "PATCH"): self._continue_upload,
            ("upload", "PUT"): self._finish_upload,
            ("upload", "GET"): self._show_upload,
            ("upload", "DELETE"): self._cancel_upload,
        }
        handler = handlers.get((kind, method))
        if handler is None:
            raise _RefusalError(405, "UNSUPPORTED", "The operation is unsupported.")
        return handler(call)

    def _list_tags(self, call: _Call) -> Response:
        if self._store.repository(call.repository) is None:
            raise _RefusalError(404, "NOT_FOUND", f"repository {call.repository} not found")
        tags = self._store.tags(call.repository)
        last = call.request.query_params.get("last", "")
        count = call.request.query_params.get("n", "")
        rest = [tag for tag in tags if tag > last]
        page = rest[: int(count)] if count.isdecimal() else rest
        headers = dict(_VERSION)
        if page and len(page) < len(rest):
            query = urlencode({"last": page[-1], "n": count})
            headers["Link"] = f'</v2/{call.repository}/tags/list?{query}>; rel="next"'
        return JSONResponse({"name": call.repository, "tags": page}, headers=headers)

    def _artifact(self, call: _Call) -> Artifact:
        artifact = self._store.artifact(call.repository, call.reference)
        if artifact is None:
            separator = "@" if call.reference.startswith("sha256:") else ":"
            text = f"artifact {call.repository}{separator}{call.reference} not found"
            raise _RefusalError(404, "NOT_FOUND", text)
        return artifact

    def _get_manifest(self, call: _Call) -> Response:
        artifact = self._artifact(call)
        headers = _VERSION | {"Docker-Content-Digest": artifact.digest, "Etag": f'"{artifact.digest}"'}
        headers["Content-Type"] = artifact.media_type
        if call.request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(artifact.size)})
        if call.request.headers.get("if-none-match", "").strip('"') == artifact.digest:
            return Response(status_code=304, headers=headers)
        self._store.count_pull(call.repository)
        tag = "" if _DIGEST.fullmatch(call.reference) else call.reference
        self._happened("PULL_ARTIFACT", call, tag=tag, digest=artifact.digest)
        return Response(self._store.blob(artifact.digest) or b"", headers=headers)

    def _put_manifest(self, call: _Call) -> Response:
        digest, by_digest = digest_of(call.body), bool(_DIGEST.fullmatch(call.reference))
        if by_digest and call.reference != digest:
            raise _RefusalError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        manifest = _parsed(call.body)
        needed = _references(manifest)
        for blob in needed:
            if not self._store.has_blob(call.project_name, blob):
                raise _RefusalError(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")
        tag = "" if by_digest else call.reference
        self._keep(call, digest, call.body, tag=tag)
        media_type = call.request.headers.get("content-type") or str(manifest.get("mediaType") or _MANIFEST_TYPE)
        artifact = Artifact(digest, media_type, len(call.body))
        self._store.add_artifact(call.repository, artifact, needed, tag)
        self._happened("PUSH_ARTIFACT", call, tag=tag, digest=digest)
        location = f"/v2/{call.repository}/manifests/{digest}"
        return Response(status_code=201, headers=_VERSION | {"Location": location, "Docker-Content-Digest": digest})

    def _delete_manifest(self, call: _Call) -> Response:
        self._artifact(call)
        name = call.repository.partition("/")[2]
        self.delete_artifact(call.project_name, name, call.reference, self._name(call.principal))
        return Response(status_code=202, headers=_VERSION)

    def _get_blob(self, call: _Call) -> Response:
        content = None
        if self._store.has_blob(call.project_name, call.reference):
            content = self._store.blob(call.reference)
        if content is None:
            raise _RefusalError(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = _VERSION | {"Docker-Content-Digest": call.reference, "Etag": f'"{call.reference}"'}
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(len(content))}
        return Response(b"" if call.request.method == "HEAD" else content, headers=headers)

    # Uploads

    def _start_upload(self, call: _Call) -> Response:
        """POST: mounts a blob that the project may have, stores a complete upload with a digest, otherwise starts a
        session."""
        query = call.request.query_params
        if "mount" in query and self._mount(call, query["mount"], query.get("from", "")):
            return self._blob_created(call, query["mount"])
        if "digest" in query:
            return self._store_blob(call, query["digest"], call.body)
        return self._upload_answer(call, self._store.start_upload(), 0, 202)

    def _mount(self, call: _Call, digest: str, source: str) -> bool:
        project = self._project(source.partition("/")[0]) if source else None
        if project is None or not self._allowed(call.principal, project, "pull"):
            return False
        content = self._store.blob(digest) if self._store.has_blob(source.partition("/")[0], digest) else None
        if content is None:
            return False
        self._keep(call, digest, content)
        return True

    def _upload_answer(self, call: _Call, number: str, size: int, status: int) -> Response:
        headers = _VERSION | {
            "Location": f"{self._base(call.request)}/v2/{call.repository}/blobs/uploads/{number}?_state=kept",
            "Docker-Upload-Uuid": number,
            "Range": f"0-{max(size - 1, 0)}",
        }
        return Response(status_code=status, headers=headers)

    def _received(self, call: _Call) -> bytes:
        content = self._store.upload(call.reference) if re.fullmatch(r"[0-9a-f-]{36}", call.reference) else None
        if content is None:
            raise _RefusalError(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return content

    def _continue_upload(self, call: _Call) -> Response:
        have = len(self._received(call))
        begins = call.request.headers.get("content-range", "").partition("-")[0]
        if begins.isdecimal() and int(begins) != have:
            return self._upload_answer(call, call.reference, have, 416)
        size = self._store.append_upload(call.reference, call.body)
        return self._upload_answer(call, call.reference, size, 202)

    def _finish_upload(self, call: _Call) -> Response:
        content = self._received(call) + call.body
        response = self._store_blob(call, call.request.query_params.get("digest", ""), content)
        self._store.end_upload(call.reference)
        return response

    def _show_upload(self, call: _Call) -> Response:
        return self._upload_answer(call, call.reference, len(self._received(call)), 204)

    def _cancel_upload(self, call: _Call) -> Response:
        self._received(call)
        self._store.end_upload(call.reference)
        return Response(status_code=204, headers=_VERSION)

    def _store_blob(self, call: _Call, digest: str, content: bytes) -> Response:
        if not _DIGEST.fullmatch(digest) or digest_of(content) != digest:
            raise _RefusalError(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self._keep(call, digest, content)
        return self._blob_created(call, digest)

    def _blob_created(self, call: _Call, digest: str) -> Response:
        location = f"{self._base(call.request)}/v2/{call.repository}/blobs/{digest}"
        return Response(status_code=201, headers=_VERSION | {"Location": location, "Docker-Content-Digest": digest})

    # Quota and events

    def _keep(self, call: _Call, digest: str, content: bytes, *, tag: str | None = None) -> None:
        """Stores what the project lacks; over the quota refuses, and sends QUOTA_EXCEED."""
        if self._store.has_blob(call.project_name, digest):
            return
        size, project_id = len(content), int(call.project["project_id"])
        shown = {"tag": "", "digest": ""} if tag is None else {"tag": tag, "digest": digest}
        if size and not self._charge_project(project_id, size):
            details = self._exceeded(project_id, size)
            self._happened("QUOTA_EXCEED", call, details=details, created=0, **shown)
            raise _RefusalError(403, "DENIED", details)
        self._store.add_blob(call.project_name, digest, content)
        self._warn(call, project_id, shown)

    def _warn(self, call: _Call, project_id: int, shown: dict[str, str]) -> None:
        """Sends QUOTA_WARNING after every write that leaves 85 % or more of the quota used."""
        limit, used = (self._quota(project_id) if self._quota is not None else None) or (-1, 0)
        if limit > 0 and used * 100 >= limit * _WARNING_PERCENT:
            usage = f"resource storage used {_size_text(used)} of {_size_text(limit)}"
            details = f"quota usage reach {_WARNING_PERCENT}%: {usage}"
            self._happened("QUOTA_WARNING", call, details=details, created=0, **shown)

    def _exceeded(self, project_id: int, size: int) -> str:
        """Returns Harbor's sentence, recorded in deliveries-quota."""
        limit, used = (self._quota(project_id) if self._quota is not None else None) or (0, 0)
        return (
            f"adding {_size_text(size)} of storage resource, which when updated to current usage of "
            f"{_size_text(used)} will exceed the configured upper limit of {_size_text(limit)}."
        )

    def _name(self, principal: Any) -> str:
        return "" if principal is _ANONYMOUS else self._principal_name(principal)

    def _happened(
        self, kind: str, call: _Call, *, tag: str, digest: str, details: str = "", created: int | None = None
    ) -> None:
        operator = self._name(call.principal)
        if created is None:
            repository = self._store.repository(call.repository)
            created = 0 if repository is None else int(repository.created)
        self._emit(kind, call.project, call.repository, operator, tag, digest, created, details)

    def _emit(
        self,
        kind: str,
        project: dict[str, Any],
        repository: str,
        operator: str,
        tag: str,
        digest: str,
        created: int,
        details: str = "",
    ) -> None:
        event = Event(
            type=kind,
            project_id=int(project["project_id"]),
            project_name=repository.partition("/")[0],
            operator=operator,
            repository=repository,
            tag=tag,
            digest=digest,
            public=_is_public(project),
            repository_created=created,
            details=details,
        )
        self._on_event(event)

    # Used by Harbor's API

    def repositories(self, project_name: str) -> list[dict[str, Any]]:
        """Returns repositories in the form of ``GET /projects/{p}/repositories``."""
        project_id = int((self._project(project_name) or {}).get("project_id") or 0)
        return [self._wire(repository, project_id) for repository in self._store.repositories(project_name)]

    def _wire(self, repository: Repository, project_id: int) -> dict[str, Any]:
        count = len(self._store.artifacts(repository.name))
        wire: dict[str, Any] = {
            "artifact_count": count,
            "creation_time": _time(repository.created),
            "id": repository.id,
            "name": repository.name,
            "project_id": project_id,
            "pull_count": repository.pulls,
            "update_time": _time(repository.updated),
        }
        return {key: value for key, value in wire.items() if value or key not in {"artifact_count", "pull_count"}}

    def repo_count(self, project_name: str) -> int:
        return self._store.repository_count(project_name)

    def artifacts(self, project_name: str, repository: str) -> list[dict[str, Any]] | None:
        """Returns digest and tags of each artifact; None if the repository does not exist."""
        name = _full(project_name, repository)
        if self._store.repository(name) is None:
            return None
        return [
            {"digest": artifact.digest, "tags": self._store.tags(name, artifact.digest)}
            for artifact in self._store.artifacts(name)
        ]

    def delete_artifact(self, project_name: str, repository: str, reference: str, operator: str = "admin") -> bool:
        """Deletes the artifact of a tag or digest, with all its tags: one DELETE_ARTIFACT. False: it does not exist."""
        name = _full(project_name, repository)
        artifact, found = self._store.artifact(name, reference), self._store.repository(name)
        if artifact is None or found is None:
            return False
        tags = self._store.tags(name, artifact.digest)
        self._store.remove_artifact(name, artifact.digest)
        self._emit_deleted(project_name, name, operator, [(artifact.digest, tags)], int(found.created))
        return True

    def delete_tag(self, project_name: str, repository: str, tag: str, operator: str = "admin") -> bool:
        """Deletes a tag without an event (deliveries-delete-tag)."""
        del operator
        return self._store.remove_tag(_full(project_name, repository), tag)

    def delete_repository(self, project_name: str, repository: str, operator: str = "admin") -> bool:
        """Deletes a repository: one DELETE_ARTIFACT per artifact, without its creation time. False: it does not
        exist."""
        name = _full(project_name, repository)
        if self._store.repository(name) is None:
            return False
        gone = [(one.digest, self._store.tags(name, one.digest)) for one in self._store.artifacts(name)]
        for digest, _ in gone:
            self._store.remove_artifact(name, digest)
        self._store.remove_repository(name)
        self._emit_deleted(project_name, name, operator, gone, 0)
        return True

    def _emit_deleted(
        self, project_name: str, name: str, operator: str, gone: Iterable[tuple[str, list[str]]], created: int
    ) -> None:
        freed = self._store.release_blobs(project_name)
        project = self._project(project_name)
        if project is None:
            return
        if freed:
            self._charge_project(int(project["project_id"]), -freed)
        for digest, tags in gone:
            self._emit("DELETE_ARTIFACT", project, name, operator, tags[0] if tags else "", digest, created)


def _full(project_name: str, repository: str) -> str:
    return f"{project_name}/{repository.removeprefix(project_name + '/')}"


def _is_public(project: dict[str, Any]) -> bool:
    return str((project.get("metadata") or {}).get("public", "")).lower() == "true"


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(body)
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict):
        raise _RefusalError(400, "MANIFEST_INVALID", "manifest invalid")
    return manifest


def _references(manifest: dict[str, Any]) -> list[str]:
    """Returns the blobs or manifests that a manifest or index refers to."""
    descriptors = [manifest.get("config"), *(manifest.get("layers") or []), *(manifest.get("manifests") or [])]
    return [str(one["digest"]) for one in descriptors if isinstance(one, dict) and "digest" in one]
