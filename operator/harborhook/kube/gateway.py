"""Calls to the Kubernetes API. Every write is a merge patch of exactly what changed; a lost object is `Gone`.

Credentials are re-read before they can expire: a service account's token file is rotated by the kubelet. `fence` is
asked right before each write, and raises when this process must not write any more. The client library reads the
kubeconfig and makes the SSL context. Requests are sent without it: its way to one costs more CPU than the request, and
its models of Kubernetes' own kinds take 25 MB and most of a second to load.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from yaml import YAMLError

from harborhook.api.base import GROUP, VERSION, Key
from harborhook.api.kinds import KINDS
from harborhook.api.names import Body
from harborhook.clock import ServerClock
from harborhook.tls import relaxed

logger = logging.getLogger(__name__)

Query = list[tuple[str, str | int]]

CORE_PATH = "/api/v1"
GROUP_PATH = f"/apis/{GROUP}/{VERSION}"

MERGE_PATCH = "application/merge-patch+json"
PAGE_SIZE = 100
"""Objects in one answer to a list. The page is held in memory as a whole, and annotations alone can make up 256 kB of
each object."""
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30.0)
READ_BUFFER = 2**21
"""Bytes of an answer that may wait to be read."""
POOL_SIZE = 50
"""Connections to the API server: without a bound, memory grows with the number of objects in work."""
TOKEN_LIFE = 300.0
"""Seconds after which the token file is read again."""

RELOAD_PAUSE = 10.0
"""Seconds before another attempt when that did not go well."""

_UNUSABLE = (ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError, YAMLError)
"""What reading a kubeconfig or a service account raises; OSError is also what ssl raises for its certificates."""
_WITHOUT_FORM = (LookupError, TypeError, AttributeError)
"""Those of them whose text speaks of our program, not of the file."""

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The cause with which the API server refuses a new object in a namespace that is being deleted."""

EVENTS_PATH = "/apis/events.k8s.io/v1"
LEASES_PATH = "/apis/coordination.k8s.io/v1"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG = "~/.kube/config"


class Gone(Exception):  # noqa: N818 - reads as a fact: `except Gone`
    """The object does not exist any more."""


class KubeError(Exception):
    """The API server refused a request or did not answer. `status` is its HTTP status, 0 without an answer."""

    def __init__(self, what: str, status: int, reason: str, causes: frozenset[str] = frozenset()) -> None:
        self.status = status
        self.causes = causes
        """The machine-readable causes in the API server's answer."""
        answered = f"answered {what} with {status} {reason}" if status else f"did not answer {what}: {reason}"
        super().__init__(f"the Kubernetes API {answered}")


class NoClusterError(Exception):
    """There is no usable kubeconfig and no service account: nobody can say which cluster is meant."""


def _is_in_pod() -> bool:
    return (SERVICE_ACCOUNT / "token").exists()


def _source_of_credentials(kubeconfig: str | None) -> str:
    """For a sentence; which file is meant where none is named goes unsaid by the errors themselves."""
    stated = kubeconfig or os.environ.get("KUBECONFIG")
    if stated:
        return f"The kubeconfig {stated}"
    if _is_in_pod():
        return f"The service account in {SERVICE_ACCOUNT}"
    return f"The kubeconfig {DEFAULT_KUBECONFIG} (KUBECONFIG is not set)"


def token_of(configuration: client.Configuration) -> str | None:
    """The token alone. A kubeconfig's is read as `Bearer ...`, a service account's as `bearer ...`."""
    stated = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or ""
    words = stated.split()
    return words[-1] if words else None


@dataclass
class _Fence:
    """Calls `check` before a write, and again when it has got its connection: no waiting may come between the two."""

    check: Callable[[], None] = field(default=lambda: None)

    def trace(self) -> aiohttp.TraceConfig:
        async def started(_: Any, request: SimpleNamespace, started: aiohttp.TraceRequestStartParams) -> None:
            is_of_lease = started.url.path.startswith(f"{LEASES_PATH}/")
            request.is_fenced = started.method not in ("GET", "HEAD") and not is_of_lease
            ask(request)

        async def connected(_: Any, request: SimpleNamespace, __: Any) -> None:
            ask(request)

        def ask(request: SimpleNamespace) -> None:
            if request.is_fenced:
                self.check()

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(started)
        trace.on_connection_create_end.append(connected)
        trace.on_connection_reuseconn.append(connected)
        return trace


@dataclass
class Gateway:
    """One client for the whole operator; make it with `connect`."""

    configuration: client.Configuration
    _session: aiohttp.ClientSession
    _load: Callable[[client.Configuration], Awaitable[None]]
    _loaded: float
    _fence: _Fence
    clock: ServerClock
    """The API server's."""

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, *, user_agent: str = "harborhook") -> Gateway:
        """Reads the kubeconfig given, or KUBECONFIG's, or the pod's service account."""

        async def load(configuration: client.Configuration) -> None:
            stated = kubeconfig or os.environ.get("KUBECONFIG")
            if stated or not _is_in_pod():
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=stated or None, client_configuration=configuration
                )
            else:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]

        configuration = client.Configuration()
        try:
            await load(configuration)
            context = relaxed(RESTClientObject(configuration).ssl_context)
        except _UNUSABLE as error:
            said = "it has not the form of one" if isinstance(error, _WITHOUT_FORM) else " ".join(str(error).split())
            raise NoClusterError(f"{_source_of_credentials(kubeconfig)} cannot be used: {said[:200]}") from None
        fence = _Fence()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=POOL_SIZE, ssl=context),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=REQUEST_TIMEOUT,
            proxy=configuration.proxy,
            read_bufsize=READ_BUFFER,
            trace_configs=[fence.trace()],
            # Else a thread reads ~/.netrc for each request; kopf does not look at the environment's proxies either.
            trust_env=False,
        )
        return cls(configuration, session, load, time.monotonic(), fence, ServerClock())

    def fence(self, check: Callable[[], None]) -> None:
        """Lets `check` be called right before each write, except of a Lease; what it raises prevents it."""
        self._fence.check = check

    async def close(self) -> None:
        await self._session.close()

    async def refresh(self, *, force: bool = False) -> client.Configuration:
        """The configuration with a token that is not about to expire; `force` after one was refused. While it cannot be
        read, as when its file is just being written, the one at hand is as good as any."""
        if force or time.monotonic() - self._loaded > TOKEN_LIFE:
            self._loaded = time.monotonic()
            try:
                await self._load(self.configuration)
            except _UNUSABLE as error:  # as while a file is replaced; what was read before may serve for a while
                self._loaded -= TOKEN_LIFE - RELOAD_PAUSE
                logger.warning("The credentials for Kubernetes cannot be read again: %s", type(error).__name__)
        return self.configuration

    def path_of(self, kind: str, namespace: str) -> str:
        """The path in a URL at which the objects of a kind are watched: one of ours, or Secret or ConfigMap."""
        base = urlsplit(self.configuration.host).path.rstrip("/")
        group, plural = (GROUP_PATH, KINDS[kind].plural) if kind in KINDS else (CORE_PATH, f"{kind.lower()}s")
        return base + _path(group, namespace, plural)

    # Our own kinds

    async def list(self, kind: str, namespace: str = "", selector: str = "") -> AsyncIterator[Body]:
        """All objects of a kind, or those with certain labels, by pages."""
        token: str | None = None
        while True:
            page = await self._page(kind, namespace, selector, token)
            for item in page["items"]:
                yield {"kind": kind, **item}
            token = page["metadata"].get("continue")
            if not token:
                return

    async def _page(self, kind: str, namespace: str, selector: str, token: str | None) -> Body:
        stated = {"limit": PAGE_SIZE, "continue": token, "labelSelector": selector}
        query: Query = [(name, value) for name, value in stated.items() if value]
        try:
            page = await self._send(
                f"LIST {kind}", "GET", _path(GROUP_PATH, namespace, KINDS[kind].plural), query=query
            )
        except Gone:
            # No object is gone: the kind is not served (yet).
            raise KubeError(f"LIST {kind}", 404, "the kind is not served") from None
        return page

    async def get(self, key: Key) -> Body:
        """The object as it is now. Raises Gone."""
        return await self._send(f"GET {key}", "GET", _path(GROUP_PATH, key.namespace, KINDS[key.kind].plural, key.name))

    async def patch(self, key: Key, patch: Body) -> Body:
        """Merge-patches the object, of which only the metadata is ours to change, and returns the new one."""
        return await self._patch(key, patch, status=False)

    async def patch_status(self, key: Key, status: Body) -> Body:
        """Merge-patches the status and returns the new object."""
        return await self._patch(key, {"status": status}, status=True)

    async def _patch(self, key: Key, patch: Body, *, status: bool) -> Body:
        path = _path(GROUP_PATH, key.namespace, KINDS[key.kind].plural, key.name, *(["status"] if status else []))
        return await self._send(f"PATCH {key}", "PATCH", path, body=patch, content_type=MERGE_PATCH)

    # Others'

    async def data(self, source: Key) -> tuple[str, dict[str, bytes]] | None:
        """resourceVersion and decoded data of a Secret or ConfigMap; None if there is none of that name."""
        path = _path(CORE_PATH, source.namespace, f"{source.kind.lower()}s", source.name)
        try:
            found = await self._send(f"GET {source}", "GET", path)
        except Gone:
            return None
        decode = base64.b64decode if source.kind == "Secret" else str.encode
        data = found.get("data") or {}
        return found["metadata"]["resourceVersion"], {key: decode(value) for key, value in data.items()}

    async def namespace_uid(self, name: str) -> str:
        found = await self._send(f"GET Namespace {name}", "GET", _path(CORE_PATH, "", "namespaces", name))
        return str(found["metadata"]["uid"])

    async def create_event(self, namespace: str, event: Body) -> None:
        await self._send("POST Event", "POST", _path(EVENTS_PATH, namespace, "events"), body=event)

    async def is_terminating(self, namespace: str) -> bool:
        """Whether a namespace refuses new objects because it is being deleted.

        Asked by the dry run of an Event, which takes no right to read namespaces.
        """
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": "dry-run-", "namespace": namespace},
            "type": "Normal",
            "reason": "DryRun",
            "action": "DryRun",
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{GROUP}/harborhook",
            "reportingInstance": "dry-run",
            "regarding": {"namespace": namespace},
        }
        path = _path(EVENTS_PATH, namespace, "events")
        try:
            await self._send(f"POST Event in {namespace}", "POST", path, query=[("dryRun", "All")], body=event)
        except Gone:  # so is the namespace
            return True
        except KubeError as error:
            if NAMESPACE_TERMINATING in error.causes:
                return True
            raise
        return False

    # Leases

    async def lease(self, namespace: str, name: str) -> Body | None:
        try:
            return await self._send(f"GET Lease {name}", "GET", _path(LEASES_PATH, namespace, "leases", name))
        except Gone:
            return None

    async def write_lease(self, lease: Body) -> Body:
        """Makes a Lease, or replaces the version that `lease` names; refused with 409 if that is not the newest."""
        metadata = lease["metadata"]
        path, what = _path(LEASES_PATH, metadata["namespace"], "leases"), f"Lease {metadata['name']}"
        if "resourceVersion" in metadata:
            return await self._send(f"PUT {what}", "PUT", f"{path}/{quote(metadata['name'], safe='')}", body=lease)
        return await self._send(f"POST {what}", "POST", path, body=lease)

    # Plumbing

    async def _send(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Body:
        """One exchange; every failure becomes Gone or KubeError, whose texts hold no request."""
        try:
            status, reason, content = await self._exchange(method, path, query, body, content_type)
            if 200 <= status < 300:
                return cast(Body, json.loads(content))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, ConfigException) as error:
            # ValueError is for what is no request or no answer.
            raise KubeError(what, 0, type(error).__name__) from None
        if status == 404:
            raise Gone(what)
        raise KubeError(what, status, _message(content) or reason, _causes(content))

    async def _exchange(
        self, method: str, path: str, query: Query | None, body: Body | None, content_type: str
    ) -> tuple[int, str, bytes]:
        """The answer's status, reason and body."""
        configuration = await self.refresh()
        headers, data = {}, None
        token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"], data = content_type, json.dumps(body)
        async with self._session.request(
            method,
            f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            data=data,
            headers=headers,
            server_hostname=configuration.tls_server_name,
        ) as response:
            content = await response.read()
        self.clock.hear(response.headers.get("Date"))
        return response.status, response.reason or "", content


def _causes(content: bytes) -> frozenset[str]:
    try:
        return frozenset(str(cause["reason"]) for cause in json.loads(content)["details"]["causes"])
    except (ValueError, LookupError, TypeError):
        return frozenset()


def _path(group: str, namespace: str, *segments: str) -> str:
    """Of a resource or one of its kinds; without a namespace it is one of the cluster, or of all namespaces."""
    scope = ("namespaces", namespace) if namespace else ()
    return "/".join([group, *(quote(segment, safe="") for segment in (*scope, *segments))])


def _message(content: bytes) -> str:
    """What the API server says in its Status object; "" for another answer."""
    try:
        return str(json.loads(content)["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return ""
