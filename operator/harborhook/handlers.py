"""The kopf handlers: kopf logs in and watches, and they pass its events to the inventory.

The only module that imports kopf. It uses only kopf's low-level side, as informer and for the lifecycle. kopf's change
handlers would write additional annotations and finalizers to every object, repeatedly during an outage.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import kopf

from harborhook.api.base import GROUP, VERSION, Key
from harborhook.api.kinds import KINDS
from harborhook.inventory import Inventory, View
from harborhook.kube.backoffs import Backoffs
from harborhook.kube.gateway import PAGE_SIZE, Gateway, token_of
from harborhook.kube.watches import Watches, answering, metadata_only
from harborhook.tls import relaxed

WATCH_LIFE = 240
"""Seconds after which the API server ends the stream of a watch. Up to a minute is added, so that not all end at
once."""
WATCH_SILENCE = 70.0
"""Seconds without data after which kopf closes a stream. The API server sends a bookmark every minute."""
NOT_OF_HELM = "type!=helm.sh/release.v1"
"""Field selector for Secrets. Helm keeps each revision of each release in a Secret of up to 1 MB, to which no resource
refers."""
LOGIN_LIFE = timedelta(minutes=10)
LOGIN_PAUSE = 5.0
"""Minimum seconds between two logins: kopf requests another one at each 401, without a pause."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing. kopf copies each object, even Secrets, to find changes, which only its change handlers need."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Does nothing: there is no state to store."""


@dataclass
class Handlers:
    """The functions that kopf calls, and the registry that contains them."""

    view: View
    gateway: Gateway
    watches: Watches
    start: Callable[[], Awaitable[Inventory]]
    """Runs before kopf starts to watch."""
    user_agent: str = "harborhook"
    registry: kopf.OperatorRegistry = field(default_factory=kopf.OperatorRegistry)
    _inventory: Inventory | None = None
    _logged_in: float | None = None

    async def spawn(self) -> Collection[asyncio.Task[Any]]:
        """Starts kopf's tasks and returns them. They end only with an error or when they are cancelled."""
        self._register()
        return await kopf.spawn_tasks(
            registry=self.registry,
            standalone=True,
            # Only for peering, which is not used. By default kopf looks up the name of the user, and a user may have
            # none.
            identity="harborhook",  # type: ignore[arg-type]
            clusterwide=not self.view.settings.watch_namespaces,
            namespaces=self.view.namespaces,
        )

    def _register(self) -> None:
        registry = self.registry
        kopf.on.startup(registry=registry)(self._configure)
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.login(registry=registry, retries=None)(self._login)
        for kind in KINDS.values():
            kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)(self._saw)
        for source in self.view.source_kinds:
            kopf.on.event("", "v1", f"{source.lower()}s", registry=registry, param=source)(self._saw_source)

    async def _configure(self, settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.networking.error_backoffs = Backoffs()
        settings.networking.request_timeout = 30
        settings.networking.connect_timeout = 5
        settings.watching.server_timeout = WATCH_LIFE + random.randrange(60)  # noqa: S311 - no secret
        settings.watching.inactivity_timeout = WATCH_SILENCE
        settings.watching.connect_timeout = 10
        settings.watching.reconnect_backoff = 1
        settings.watching.chunk_size = PAGE_SIZE
        settings.queueing.idle_timeout = 1
        settings.scanning.disabled = True
        settings.posting.enabled = False
        for kind in KINDS.values():
            if self.view.selector(kind.name):
                settings.watching.label_selectors[GROUP, kind.plural] = self.view.selector(kind.name)
        settings.watching.field_selectors["", "v1", "secrets"] = NOT_OF_HELM
        # kopf removes its own finalizer wherever it finds it, so it must not be ours.
        settings.persistence.finalizer = f"{GROUP}/not-used-by-kopf"
        settings.persistence.diffbase_storage = NoDiffBase()
        settings.process.ultimate_exiting_timeout = None

    async def _start(self, **_: Any) -> None:
        self._inventory = await self.start()
        self._expect_watches()

    def _expect_watches(self) -> None:
        """Registers the watches that kopf starts next."""
        for kind in KINDS.values():
            for namespace in (self.view.namespaces if kind.namespaced else []) or [""]:
                self.watches.expect(self.gateway.path_of(kind.name, namespace))
        for path in self._paths_of_sources():
            self.watches.expect(path)

    def _paths_of_sources(self) -> frozenset[str]:
        """Returns the paths at which Secrets and ConfigMaps are watched."""
        namespaces = self.view.namespaces or [""]
        return frozenset(self.gateway.path_of(kind, name) for kind in self.view.source_kinds for name in namespaces)

    # Login

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """Returns a session with the gateway's credentials, which are read again before they can expire."""
        now = time.monotonic()
        early = self._logged_in is not None and now - self._logged_in < LOGIN_LIFE.total_seconds() / 2
        if self._logged_in is not None:
            await asyncio.sleep(max(0.0, self._logged_in + LOGIN_PAUSE - now))
        self._logged_in = time.monotonic()
        configuration = await self.gateway.refresh(force=early)
        info = kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=token_of(configuration),
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=configuration.proxy,
        )
        return kopf.AiohttpSession(
            server=info.server, aiohttp_session=self._session(info), expiration=datetime.now(UTC) + LOGIN_LIFE
        )

    def _session(self, info: kopf.ConnectionInfo) -> aiohttp.ClientSession:
        """Returns a session like kopf's own, which kopf closes. In addition it sends our User-Agent, reports to
        `watches`, and filters known versions. It omits the contents of Secrets and ConfigMaps: their values are read
        one by one, only where a resource refers to them."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=relaxed(info.as_ssl_context())),
            headers={**info.as_http_headers(), "User-Agent": self.user_agent},
            proxy=info.proxy_url,
            trace_configs=[self.watches.trace(), metadata_only(self._paths_of_sources())],
            response_class=answering(self._is_known, self._watch_from),
        )

    def _is_known(self, key: Key, resource_version: str) -> bool:
        return self._started().knows(key, resource_version)

    def _watch_from(self, path: str) -> str | None:
        return self._started().watch_from(path)

    # Events. Their type is None for objects from a list.

    async def _saw(self, event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        if event["type"] == "DELETED":
            self._started().saw_deleted(body)
        else:
            self._started().saw(body)

    async def _saw_source(self, event: kopf.RawEvent, body: kopf.Body, param: Any = None, **_: Any) -> None:
        """`param` is the kind, since metadata alone lacks it."""
        metadata = body["metadata"]
        source = Key(param, metadata["namespace"], metadata["name"])
        if event["type"] == "DELETED":
            self._started().saw_source(source, None)
        else:
            self._started().saw_source(source, metadata["resourceVersion"])

    def _started(self) -> Inventory:
        assert self._inventory is not None, "kopf watches only after its startup handlers"
        return self._inventory
