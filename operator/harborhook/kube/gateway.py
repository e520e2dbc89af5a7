"""Calls to the Kubernetes API. Every write is a merge patch of exactly what changed; a lost object is `Gone`.

Credentials are re-read before they can expire: a service account's token file is rotated by the kubelet.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from yaml import YAMLError

from harborhook.api.base import GROUP, VERSION, Key
from harborhook.api.kinds import KINDS

logger = logging.getLogger(__name__)

Body = dict[str, Any]
Result = TypeVar("Result")

MERGE_PATCH = "application/merge-patch+json"
PAGE_SIZE = 500
REQUEST_TIMEOUT = 30.0
POOL_SIZE = 50
"""Connections to the API server: without a bound, memory grows with the number of objects in work."""
TOKEN_LIFE = 300.0
"""Seconds after which the token file is read again."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Gone(Exception):  # noqa: N818 - reads as a fact: `except Gone`
    """The object does not exist any more."""


class KubeError(Exception):
    """The API server refused a request or did not answer. `status` is its HTTP status, 0 without an answer."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"the Kubernetes API answered {what} with {status} {reason}")


class NoClusterError(Exception):
    """There is no usable kubeconfig and no service account: nobody can say which cluster is meant."""


def token_of(configuration: client.Configuration) -> str | None:
    """The token alone. A kubeconfig's is read as `Bearer ...`, a service account's as `bearer ...`."""
    stated = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or ""
    words = stated.split()
    return words[-1] if words else None


@dataclass
class Gateway:
    """One client for the whole operator; make it with `connect`."""

    configuration: client.Configuration
    _api: client.ApiClient
    _load: Callable[[client.Configuration], Awaitable[None]]
    _loaded: float

    @classmethod
    async def connect(cls, kubeconfig: str | None = None) -> Gateway:
        """Reads the kubeconfig given, or KUBECONFIG's, or the pod's service account."""

        async def load(configuration: client.Configuration) -> None:
            if kubeconfig or not (SERVICE_ACCOUNT / "token").exists():
                await load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=kubeconfig or os.environ.get("KUBECONFIG"), client_configuration=configuration
                )
            else:
                load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]

        configuration = client.Configuration()
        try:
            await load(configuration)
        except (ConfigException, OSError, ValueError, LookupError, TypeError, YAMLError) as error:
            said = " ".join(str(error).split())[:200]
            raise NoClusterError(f"The kubeconfig {kubeconfig or '(by default)'} cannot be used: {said}") from None
        configuration.connection_pool_maxsize = POOL_SIZE
        return cls(configuration, client.ApiClient(configuration), load, time.monotonic())

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def refresh(self, *, anew: bool = False) -> client.Configuration:
        """The configuration with a token that is not about to expire; `anew` after one was refused."""
        if anew or time.monotonic() - self._loaded > TOKEN_LIFE:
            self._loaded = time.monotonic()
            await self._load(self.configuration)
        return self.configuration

    # Our own kinds

    async def list(self, kind: str, namespace: str = "") -> AsyncIterator[Body]:
        """All objects of a kind, by pages."""
        token: str | None = None
        while True:
            page = await self._page(kind, namespace, token)
            for item in page["items"]:
                yield {"kind": kind, **item}
            token = page["metadata"].get("continue")
            if not token:
                return

    async def _page(self, kind: str, namespace: str, token: str | None) -> Body:
        scope = (namespace,) if namespace else ()
        method = self._custom.list_namespaced_custom_object if scope else self._custom.list_cluster_custom_object
        call = method(
            GROUP,
            VERSION,
            *scope,
            KINDS[kind].plural,
            limit=PAGE_SIZE,
            _continue=token,
            _request_timeout=REQUEST_TIMEOUT,
        )
        try:
            page: Body = await self._call(f"LIST {kind}", call)
        except Gone:
            # No object is gone: the kind is not served (yet).
            raise KubeError(f"LIST {kind}", 404, "the kind is not served") from None
        return page

    async def patch(self, key: Key, patch: Body) -> Body:
        """Merge-patches metadata or spec parts and returns the new object."""
        return await self._patch(key, patch, status=False)

    async def patch_status(self, key: Key, status: Body) -> Body:
        """Merge-patches the status and returns the new object."""
        return await self._patch(key, {"status": status}, status=True)

    async def _patch(self, key: Key, patch: Body, *, status: bool) -> Body:
        scope = (key.namespace,) if KINDS[key.kind].namespaced else ()
        verb = "patch_namespaced_custom_object" if scope else "patch_cluster_custom_object"
        method = getattr(self._custom, f"{verb}_status" if status else verb)
        call = method(
            GROUP,
            VERSION,
            *scope,
            KINDS[key.kind].plural,
            key.name,
            patch,
            _content_type=MERGE_PATCH,
            _request_timeout=REQUEST_TIMEOUT,
        )
        result: Body = await self._call(f"PATCH {key}", call)
        return result

    # Others'

    async def data(self, source: Key) -> tuple[str, dict[str, bytes]] | None:
        """resourceVersion and decoded data of a Secret or ConfigMap; None if there is none of that name."""
        read = self._core.read_namespaced_secret if source.kind == "Secret" else self._core.read_namespaced_config_map
        try:
            found = await self._call(
                f"GET {source}", read(source.name, source.namespace, _request_timeout=REQUEST_TIMEOUT)
            )
        except Gone:
            return None
        decode = base64.b64decode if source.kind == "Secret" else str.encode
        return found.metadata.resource_version, {key: decode(value) for key, value in (found.data or {}).items()}

    async def namespace_uid(self, name: str) -> str:
        call = self._core.read_namespace(name, _request_timeout=REQUEST_TIMEOUT)
        found = await self._call(f"GET Namespace {name}", call)
        return str(found.metadata.uid)

    async def create_event(self, namespace: str, event: Body) -> None:
        call = self._custom.create_namespaced_custom_object(
            "events.k8s.io", "v1", namespace, "events", event, _request_timeout=REQUEST_TIMEOUT
        )
        await self._call("POST Event", call)

    # Plumbing

    @property
    def _custom(self) -> Any:
        return client.CustomObjectsApi(self._api)

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self._api)

    async def _call(self, what: str, call: Awaitable[Any]) -> Any:
        """Awaits a call; every failure becomes Gone or KubeError, whose texts hold no request."""
        try:
            await self.refresh()
            return await call
        except ApiException as error:
            if error.status == 404:
                raise Gone(what) from None
            raise KubeError(what, error.status or 0, _message(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise KubeError(what, 0, type(error).__name__) from None


def _message(error: ApiException) -> str:
    """What the API server says in its Status object, or else the HTTP reason."""
    try:
        return str(json.loads(error.body or "")["message"])[:300]
    except (ValueError, LookupError, TypeError):
        return str(error.reason)
