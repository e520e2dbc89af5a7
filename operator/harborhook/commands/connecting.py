"""From what the options say to a Harbor that has let us in, by the operator's own steps and with its own sentences."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from harborhook import __version__
from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import AnyConnection, Limits, Principal
from harborhook.api.kinds import KINDS
from harborhook.commands.failures import FailedError
from harborhook.commands.options import ByConnection, ByUrl, Where
from harborhook.harbor.capabilities import Version, parse_version
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError
from harborhook.harbor.limiter import Limiter
from harborhook.harbor.models import SystemInfo
from harborhook.harbor.transport import Credentials, Transport
from harborhook.kube.gateway import Gateway, Gone, KubeError, NoClusterError
from harborhook.reconcile.credentials import ca_bundle_of, credentials_of, trust, trust_of
from harborhook.reconcile.introduction import introduce, judge, why_failed
from harborhook.reconcile.secrets import Secrets

LINE = 1000
"""The most characters that are said in one line, in case somebody's Harbor says very much."""


@dataclass(frozen=True)
class Reached:
    """A Harbor that has let us in."""

    client: HarborClient
    info: SystemInfo
    principal: Principal
    connection: AnyConnection | None = None
    """The one in the cluster, if that is how it was named."""

    @property
    def is_robot(self) -> bool:
        return self.principal.kind == "Robot"

    @property
    def version(self) -> str | None:
        return self.info.harbor_version

    @property
    def number(self) -> Version | None:
        return parse_version(self.version or "")


@dataclass(frozen=True)
class _Door:
    """All that it takes to ask."""

    client: HarborClient
    username: str
    connection: AnyConnection | None = None


@asynccontextmanager
async def reached(where: Where) -> AsyncIterator[Reached]:
    """Reaches Harbor and logs in; logs out at the end. Raises FailedError, at any time."""
    door = await _door(where)
    try:
        yield await _let_in(door, where)
    except NotReady as refusal:
        raise FailedError(refusal.verdict.message) from None
    except HarborError as error:
        raise FailedError(await _explained(door, where, error)) from None
    finally:
        await door.client.close()


async def _let_in(door: _Door, where: Where) -> Reached:
    found = await introduce(door.client)
    verdict = judge(found.info)
    if verdict.reason is not Reason.RECONCILED:
        raise NotReady(verdict.reason, verdict.message)
    return Reached(door.client, found.info, found.principal(door.username), door.connection)


async def _explained(door: _Door, where: Where, error: HarborError) -> str:
    verdict = await why_failed(door.client.url, error)
    is_by_url = isinstance(where, ByUrl) and verdict.reason is Reason.TLS_UNTRUSTED
    return f"{verdict.message} Here --ca-file names it." if is_by_url else verdict.message


async def _door(where: Where) -> _Door:
    try:
        return await _by_connection(where) if isinstance(where, ByConnection) else _by_url(where)
    except NotReady as refusal:
        raise FailedError(refusal.verdict.message) from None
    except (NoClusterError, KubeError, HarborError, OSError) as error:  # the last for a file that cannot be read
        raise FailedError(_sentence(str(error))) from None


def _by_url(where: ByUrl) -> _Door:
    bundle = where.ca_file.read_bytes() if where.ca_file else None
    verify = trust(bundle, f"The file {where.ca_file}", skip_verify=where.insecure_skip_verify)
    credentials = Credentials(where.username, where.password)
    return _Door(_client(where.url, credentials, verify, Limits()), where.username)


async def _by_connection(where: ByConnection) -> _Door:
    gateway = await Gateway.connect(where.kubeconfig, user_agent=_user_agent())
    try:
        connection = await _read(gateway, Key(where.kind, where.namespace, where.name))
        secrets = Secrets(read=gateway.data, watched=lambda _: False)
        credentials = await credentials_of(secrets, connection)
        verify = trust_of(connection, await ca_bundle_of(secrets, connection))
    finally:
        await gateway.close()
    client = _client(connection.spec.url, credentials, verify, connection.spec.limits)
    return _Door(client, credentials.username, connection)


async def _read(gateway: Gateway, key: Key) -> AnyConnection:
    try:
        found = KINDS[key.kind].model.model_validate({"kind": key.kind, **await gateway.get(key)})
    except Gone:
        raise FailedError(f"There is no {key} in the cluster.") from None
    except ValidationError:
        raise FailedError(f"{key} is not as this version of Harborhook knows it.") from None
    assert isinstance(found, AnyConnection)
    return found


def _client(url: str, credentials: Credentials, verify: ssl.SSLContext, limits: Limits) -> HarborClient:
    limiter = Limiter(limits.max_concurrent_requests, limits.requests_per_second)
    return HarborClient(Transport(url, credentials, verify=verify, limiters=(limiter,), user_agent=_user_agent()))


def _user_agent() -> str:
    return f"harborhook/{__version__} (command)"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
