"""A small client for the API server with the caller's own rights: plain JSON in and out, every refusal as a sentence.

One connection, one request after the other. kube/gateway.py is not used: its client takes longer to import than a
command runs.
"""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

from harborhook.api.names import API_VERSION, GROUP, KIND_NAMES, Body, Key
from harborhook.commands import kubeconfig
from harborhook.commands.failures import FailedError
from harborhook.commands.kubeconfig import Access

PAGE_SIZE = 500
REQUEST_TIMEOUT = 30.0
FIELD_MANAGER = "kubectl-harborhook"
MERGE_PATCH = "application/merge-patch+json"
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
BUSY_ATTEMPTS = 5
"""Attempts at a request that an overloaded API server asks to repeat."""


class ApiRefusedError(FailedError):
    """The API server refused a request."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class NotPermittedError(ApiRefusedError):
    """The caller lacks a right."""


class MissingError(ApiRefusedError):
    """There is no such object."""


@dataclass(frozen=True)
class Action:
    """A request in terms of RBAC, for a sentence about the missing right."""

    verb: str
    resource: str
    """In the form of `kubectl auth can-i`: plural.group."""
    namespace: str = ""
    """Empty: all namespaces, or a cluster-scoped resource."""
    name: str = ""

    def __str__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{named} {self.where}"

    @property
    def where(self) -> str:
        if self.namespace:
            return f"in namespace {self.namespace}"
        return "in the cluster" if self.resource == f"clusterharborconnections.{GROUP}" else "in all namespaces"

    @property
    def remedy(self) -> str:
        """The role that grants the right: one of ours, which the cluster's own role of the same name includes."""
        return f"The ClusterRole {_role(self)} gives that right"


def _role(action: Action) -> str:
    binding = f"bound {action.where}" if action.namespace else "bound by a ClusterRoleBinding"
    plural, _, group = action.resource.partition(".")
    reads = action.verb in ("get", "list", "watch")
    if group != GROUP:
        return f"{'view' if reads else 'edit'}, {binding},"
    if reads:
        return f"view (or harborhook-view), {binding},"
    if plural == "clusterharborconnections":
        return "cluster-admin"
    role = "admin" if plural == "harborconnections" else "edit"
    return f"{role} (or harborhook-{role}), {binding},"


@dataclass
class Cluster:
    """Create it with `connect`. Each call raises FailedError, or one of its subclasses above."""

    access: Access
    timeout: float = REQUEST_TIMEOUT
    """Seconds for one request."""
    _connection: http.client.HTTPConnection | None = None
    _headers: Sequence[tuple[str, str]] = field(default=(), repr=False)

    @classmethod
    def connect(
        cls, kubeconfig_file: str | None = None, context: str | None = None, *, timeout: float = REQUEST_TIMEOUT
    ) -> Cluster:
        """Reads the cluster's address and the user's credentials; sends no request yet."""
        return cls(kubeconfig.access(kubeconfig_file, context), timeout)

    @property
    def namespace(self) -> str:
        """The context's namespace."""
        return self.access.namespace

    # Our own kinds

    def objects(self, kind: str, namespace: str = "", *, field_selector: str = "") -> list[Body]:
        """Returns all objects of a kind, in one namespace or the whole cluster, page by page."""
        action = Action("list", _resource(kind), namespace)
        return self._pages(action, _path(kind, namespace), {"fieldSelector": field_selector})

    def names(self, kind: str, namespace: str = "", *, name: str = "") -> list[Key]:
        """Returns the keys of all objects of a kind, or of those with one name; fetches metadata only."""
        action = Action("list", _resource(kind), namespace)
        selector = f"metadata.name={name}" if name else ""
        items = self._pages(action, _path(kind, namespace), {"fieldSelector": selector}, accept=NAMES_ONLY)
        return [Key(kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]) for item in items]

    def get(self, key: Key) -> Body:
        body = self._send(Action("get", _resource(key.kind), key.namespace, key.name), "GET", _path(*key))
        return {"kind": key.kind, **body}

    def patch(self, key: Key, patch: Body) -> Body:
        """Applies a merge patch and returns the new object."""
        action = Action("patch", _resource(key.kind), key.namespace, key.name)
        return self._send(action, "PATCH", _path(*key), body=patch, content_type=MERGE_PATCH)

    # Other kinds

    def events(self, key: Key, uid: str) -> list[Body]:
        """Returns the Events about an object; those about a cluster-scoped one are in namespace default."""
        namespace = key.namespace or "default"
        selector = f"involvedObject.uid={uid}" if uid else f"involvedObject.name={key.name}"
        return self._pages(
            Action("list", "events", namespace), f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": selector}
        )

    def namespaces(self) -> list[str]:
        items = self._pages(Action("list", "namespaces"), "/api/v1/namespaces", {}, accept=NAMES_ONLY)
        return [item["metadata"]["name"] for item in items]

    def config_map(self, namespace: str, name: str) -> Body | None:
        """Returns None if there is no such ConfigMap."""
        try:
            return self._send(Action("get", "configmaps", namespace, name), "GET", _config_map(namespace, name))
        except MissingError:
            return None

    def write_config_map(self, namespace: str, name: str, data: Body, *, exists: bool) -> None:
        if exists:
            action = Action("patch", "configmaps", namespace, name)
            path = _config_map(namespace, name)
            self._send(action, "PATCH", path, body={"data": data}, content_type=MERGE_PATCH)
            return
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        self._send(Action("create", "configmaps", namespace, name), "POST", _config_map(namespace, ""), body=body)

    # Requests

    def _pages(
        self, action: Action, path: str, query: Mapping[str, str], *, accept: str = "application/json"
    ) -> list[Body]:
        found: list[Body] = []
        token = ""
        while True:
            asked = {"limit": str(PAGE_SIZE), "continue": token, **query}
            try:
                page = self._send(action, "GET", path, query=asked, accept=accept)
            except ApiRefusedError as error:
                if error.status != 410 or not token:
                    raise
                found, token = [], ""  # expired: the list took longer than the API server keeps its state
                continue
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    def _send(
        self,
        action: Action,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Body:
        stated = {name: value for name, value in (query or {}).items() if value}
        if method != "GET":
            stated["fieldManager"] = FIELD_MANAGER
        target = urlsplit(self.access.server).path.rstrip("/") + path + (f"?{urlencode(stated)}" if stated else "")
        headers = {"Accept": accept, "Accept-Encoding": "gzip", "Content-Type": content_type}
        content = json.dumps(body).encode() if body is not None else None
        status, answer = self._exchange(method, target, headers, content)
        if status == 401:  # a token may have expired: the kubeconfig or its exec plugin provides a new one
            self.close()
            status, answer = self._exchange(method, target, headers, content)
        if 200 <= status < 300:
            return _decoded(answer)
        raise self._refusal(action, status, _parsed(answer))

    def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> tuple[int, bytes]:
        """Sends one request; repeats it if the API server asks for that or had closed an idle connection."""
        try:
            for _ in range(BUSY_ATTEMPTS):
                answer = self._answer(method, target, headers, body)
                content = answer.read()
                if answer.status != 429:
                    break
                time.sleep(min(float(answer.headers.get("Retry-After") or 1), 10.0))
            is_packed = answer.headers.get("Content-Encoding") == "gzip"
            return answer.status, gzip.decompress(content) if is_packed else content
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise FailedError(self._unreachable(error)) from None

    def _answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> http.client.HTTPResponse:
        is_new = self._connection is None
        connection = self._connection or self._open()
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in [*self._headers, *headers.items(), ("Content-Length", str(len(body or b"")))]:
                connection.putheader(name, value)
            connection.endheaders(body)
            return connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if is_new:
                raise
            self.close()
            return self._answer(method, target, headers, body)

    def _open(self) -> http.client.HTTPConnection:
        credentials = self.access.credentials()
        self._headers = [("User-Agent", FIELD_MANAGER), *credentials.headers]
        url = urlsplit(self.access.server)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        context = self.access.trust(credentials) if url.scheme == "https" else None
        self._connection = _connection(host, port, context, self.access, self.timeout)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # Error messages

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({error.verify_message})"
        elif isinstance(error, TimeoutError):
            why = f"it did not answer within {self.timeout:.0f} seconds"
        else:
            why = getattr(error, "strerror", None) or type(error).__name__
        return f"The API server of {self.access.label}, {self.access.server}, cannot be reached: {why}."

    def _refusal(self, action: Action, status: int, answer: Body) -> ApiRefusedError:
        message = " ".join(str(answer.get("message") or "").split())[:500]
        if status == 401:
            label = self.access.label
            return ApiRefusedError(f"The API server of {label} does not accept your credentials: log in again.", 401)
        if status == 403:
            return NotPermittedError(_forbidden(action, message), 403)
        if status == 404 and not answer:  # for a missing object the API server answers with JSON
            return ApiRefusedError(self._not_installed(), 404)
        if status == 404:
            return MissingError(f"There is no {action.resource} {action.name} {action.where}.", 404)
        return ApiRefusedError(f"The API server refused to {action}: {message or status}", status)

    def _not_installed(self) -> str:
        return (
            f"Harborhook is not installed in {self.access.label}: it does not serve {API_VERSION}. Install it with its "
            "Helm chart, or choose another cluster with --context."
        )


def _forbidden(action: Action, message: str) -> str:
    """Includes the API server's message only if it adds something, such as the reason of an admission webhook."""
    if message and f"cannot {action.verb} resource" not in message:
        return f"The API server refused to {action}: {message}"
    return f"You may not {action}. {action.remedy}; ask an administrator of the cluster."


def _decoded(answer: bytes) -> Body:
    """Parses with the cyclic garbage collector off: JSON has no cycles, and for long lists it takes half of the
    time."""
    gc.disable()
    try:
        return dict(json.loads(answer))
    finally:
        gc.enable()


def _parsed(answer: bytes) -> Body:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _resource(kind: str) -> str:
    return f"{KIND_NAMES[kind].plural}.{GROUP}"


def _path(kind: str, namespace: str, name: str = "") -> str:
    within = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"/apis/{API_VERSION}{within}/{KIND_NAMES[kind].plural}" + (f"/{quote(name, safe='')}" if name else "")


def _config_map(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps" + (f"/{quote(name, safe='')}" if name else "")


# Connections


class _TLSConnection(http.client.HTTPSConnection):
    """Verifies the server name of the kubeconfig, if it has one."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, server_name: str, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._trust, self._server_name = context, server_name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._trust.wrap_socket(self.sock, server_hostname=self._server_name)


def _connection(
    host: str, port: int, context: ssl.SSLContext | None, access: Access, timeout: float
) -> http.client.HTTPConnection:
    """Connects through the proxy of the kubeconfig, or else of the environment, as kubectl does."""
    proxy = access.proxy or _proxy_of_environment(urlsplit(access.server).scheme, f"{host}:{port}")
    through = urlsplit(proxy) if proxy else None
    if through is not None and through.scheme not in ("http", ""):
        raise FailedError(f"The proxy for {access.label} is of a kind that is not supported: {through.scheme}.")
    first, first_port = (through.hostname or "", through.port or 80) if through is not None else (host, port)
    if context is None:
        connection = http.client.HTTPConnection(first, first_port, timeout=timeout)
    else:
        connection = _TLSConnection(first, first_port, context, access.server_name or host, timeout)
    if through is not None:
        connection.set_tunnel(host, port, _proxy_login(through.username, through.password))
    return connection


def _proxy_of_environment(scheme: str, host: str) -> str | None:
    if not any(name.lower() in (f"{scheme}_proxy", "all_proxy") for name in os.environ):
        return None
    import urllib.request

    proxies = urllib.request.getproxies()
    return None if urllib.request.proxy_bypass(host) else proxies.get(scheme)


def _proxy_login(username: str | None, password: str | None) -> dict[str, str]:
    if not username:
        return {}
    import base64

    login = f"{username}:{password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"}
