"""Calls to the Kubernetes API. Each write of a resource is a merge patch with only the changed fields.

Reconcilers, the inventory and the commands call it. A missing object raises `Gone`, any other failure `KubeError`.

Credentials are re-read before they can expire, since the kubelet rotates a service account's token file. `fence` is
called right before each write, and raises once this process must not write any more. The client library reads the
kubeconfig and creates the SSL context. Requests bypass the library: it would spend more CPU on preparing a request than
the request takes, and its models of Kubernetes' own kinds take 25 MB and most of a second to load.
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
"""Objects per page of a list. A page is held in memory as a whole, and annotations alone can take 256 kB per object."""
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30.0)
READ_BUFFER = 2**21
"""Bytes of an answer that are buffered until they are read."""
POOL_SIZE = 50
"""Maximum connections to the API server. Without a bound, memory would grow with the number of concurrent requests."""
TOKEN_LIFE = 300.0
"""Seconds until the token file is read again."""

RELOAD_PAUSE = 10.0
"""Seconds until another attempt after the credentials could not be read."""

_UNUSABLE = (ConfigException, OSError, ValueError, LookupError, TypeError, AttributeError, YAMLError)
"""Errors from reading a kubeconfig or a service account; ssl raises OSError for its certificates too."""
_WITHOUT_FORM = (LookupError, TypeError, AttributeError)
"""The errors among them whose text describes our program, not the file."""

NAMESPACE_TERMINATING = "NamespaceTerminating"
"""The cause that the API server states when it refuses a new object in a namespace that is being deleted."""

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
    """No usable kubeconfig and no service account were found, so the cluster is unknown."""


def _is_in_pod() -> bool:
    return (SERVICE_ACCOUNT / "token").exists()


def _source_of_credentials(kubeconfig: str | None) -> str:
    """Returns the subject of an error message: the errors themselves do not name a file that was found by default."""
    stated = kubeconfig or os.environ.get("KUBECONFIG")
    if stated:
        return f"The kubeconfig {stated}"
    if _is_in_pod():
        return f"The service account in {SERVICE_ACCOUNT}"
    return f"The kubeconfig {DEFAULT_KUBECONFIG} (KUBECONFIG is not set)"


def token_of(configuration: client.Configuration) -> str | None:
    """Returns the token without its prefix: `Bearer ...` from a kubeconfig, `bearer ...` from a service account."""
    stated = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or ""
    words = stated.split()
    return words[-1] if words else None


@dataclass
class _Fence:
    """Calls `check` before a write, and again once the write has its connection, so that no wait lies between check and
    write."""

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
    """One client for the whole operator; create it with `connect`."""

    configuration: client.Configuration
    _session: aiohttp.ClientSession
    _load: Callable[[client.Configuration], Awaitable[None]]
    _loaded: float
    _fence: _Fence
    clock: ServerClock
    """The API server's clock."""

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, *, user_agent: str = "harborhook") -> Gateway:
        """Reads the given kubeconfig, or that in KUBECONFIG, or the pod's service account, or else ~/.kube/config.
        Raises NoClusterError."""

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
            said = "its content is malformed" if isinstance(error, _WITHOUT_FORM) else " ".join(str(error).split())
            raise NoClusterError(f"{_source_of_credentials(kubeconfig)} cannot be used: {said[:200]}") from None
        fence = _Fence()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=POOL_SIZE, ssl=context),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            timeout=REQUEST_TIMEOUT,
            proxy=configuration.proxy,
            read_bufsize=READ_BUFFER,
            trace_configs=[fence.trace()],
            # Otherwise a thread reads ~/.netrc for each request; kopf ignores the environment's proxies too.
            trust_env=False,
        )
        return cls(configuration, session, load, time.monotonic(), fence, ServerClock())

    def fence(self, check: Callable[[], None]) -> None:
        """Sets the function that is called right before each write except of a Lease; an exception from it prevents the
        write."""
        self._fence.check = check

    async def close(self) -> None:
        await self._session.close()

    async def refresh(self, *, force: bool = False) -> client.Configuration:
        """Returns the configuration with a token that is not about to expire; `force` reads it again after a refused
        token. If reading fails, for example while the file is being written, the previous configuration is kept."""
        if force or time.monotonic() - self._loaded > TOKEN_LIFE:
            self._loaded = time.monotonic()
            try:
                await self._load(self.configuration)
            except _UNUSABLE as error:  # while a file is replaced, say; the old ones may still be valid
                self._loaded -= TOKEN_LIFE - RELOAD_PAUSE
                logger.warning("The credentials for Kubernetes cannot be read again: %s", type(error).__name__)
        return self.configuration

    def path_of(self, kind: str, namespace: str) -> str:
        """Returns the URL path at which objects of a kind are watched: one of our kinds, or Secret or ConfigMap."""
        base = urlsplit(self.configuration.host).path.rstrip("/")
        group, plural = (GROUP_PATH, KINDS[kind].plural) if kind in KINDS else (CORE_PATH, f"{kind.lower()}s")
        return base + _path(group, namespace, plural)

    # Our own kinds

    async def list(
        self, kind: str, namespace: str = "", selector: str = "", *, version: Callable[[str], None] = lambda _: None
    ) -> AsyncIterator[Body]:
        """Yields all objects of a kind, or those that match a label selector, page by page. At the end `version` gets
        the resourceVersion of the list, after which a watch reports all later changes."""
        token: str | None = None
        while True:
            page = await self._page(kind, namespace, selector, token=token)
            for item in page["items"]:
                yield {"kind": kind, **item}
            token = page["metadata"].get("continue")
            if not token:
                version(page["metadata"].get("resourceVersion", ""))
                return

    async def present_version(self) -> Body:
        """Returns the beginning of a list of our kind with the fewest objects. Its resourceVersion is the present one
        of etcd, not of an API server's cache, since the request states none."""
        return await self._page("ClusterHarborConnection", limit=1)

    async def _page(
        self, kind: str, namespace: str = "", selector: str = "", *, token: str | None = None, limit: int = PAGE_SIZE
    ) -> Body:
        stated = {"limit": limit, "continue": token, "labelSelector": selector}
        query: Query = [(name, value) for name, value in stated.items() if value]
        try:
            page = await self._send(
                f"LIST {kind}", "GET", _path(GROUP_PATH, namespace, KINDS[kind].plural), query=query
            )
        except Gone:
            # No single object is missing: the kind is not served (yet).
            raise KubeError(f"LIST {kind}", 404, "the kind is not served") from None
        return page

    async def get(self, key: Key) -> Body:
        """Returns the present object. Raises Gone."""
        return await self._send(f"GET {key}", "GET", _path(GROUP_PATH, key.namespace, KINDS[key.kind].plural, key.name))

    async def patch(self, key: Key, patch: Body) -> Body:
        """Merge-patches the object and returns the new one. Only its metadata may be changed."""
        return await self._patch(key, patch, status=False)

    async def patch_status(self, key: Key, status: Body) -> Body:
        """Merge-patches the status and returns the new object."""
        return await self._patch(key, {"status": status}, status=True)

    async def _patch(self, key: Key, patch: Body, *, status: bool) -> Body:
        path = _path(GROUP_PATH, key.namespace, KINDS[key.kind].plural, key.name, *(["status"] if status else []))
        return await self._send(f"PATCH {key}", "PATCH", path, body=patch, content_type=MERGE_PATCH)

    # Objects of other kinds

    async def data(self, source: Key) -> tuple[str, dict[str, bytes]] | None:
        """Returns resourceVersion and decoded data of a Secret or ConfigMap; None if it does not exist."""
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

        It finds out by the dry run of an Event, which needs no right to read namespaces.
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
        except Gone:  # the namespace itself does not exist
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
        """Creates a Lease, or replaces the version that `lease` names; the API server refuses an older version with
        409."""
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
        """Performs one exchange. Every failure becomes Gone or KubeError, whose texts quote nothing from the
        request."""
        try:
            status, reason, content = await self._exchange(method, path, query, body, content_type)
            if 200 <= status < 300:
                return cast(Body, json.loads(content))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, ConfigException) as error:
            # ValueError comes from malformed requests and answers.
            raise KubeError(what, 0, type(error).__name__) from None
        if status == 404:
            raise Gone(what)
        raise KubeError(what, status, _message(content) or reason, _causes(content))

    async def _exchange(
        self, method: str, path: str, query: Query | None, body: Body | None, content_type: str
    ) -> tuple[int, str, bytes]:
        """Returns the answer's status, reason and body."""
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
            allow_redirects=False,  # a login page in front of it must not count as an answer, nor get the request
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
    """Returns the path of a resource or a kind. An empty namespace means cluster scope, or all namespaces."""
    scope = ("namespaces", namespace) if namespace else ()
    return "/".join([group, *(quote(segment, safe="") for segment in (*scope, *segments))])


def _message(content: bytes) -> str:
    """Returns the message of the API server's Status object; "" for any other answer."""
    try:
        return str(json.loads(content)["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return ""
