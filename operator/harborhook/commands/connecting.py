"""Logs in to the Harbor that the options select, with the operator's own code and error messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

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
from harborhook.plan.target_values import UnusableError, header_of
from harborhook.reconcile.connection_check import identify, judge, why_failed
from harborhook.reconcile.credentials import Admission, admission_of, check, check_usable
from harborhook.reconcile.secrets import Secrets
from harborhook.tls import ClientCertificate, TLSOptions

_OPTIONS = {
    "tls.caBundleRef": "--ca-file",
    "tls.serverName": "--server-name",
    "tls.clientCertificateRef": "--client-certificate",
    "headersFrom": "--header",
}
"""Options that replace the fields of a connection when a command runs without one."""

LINE = 1000
"""Maximum characters of a line, in case Harbor sends a very long message."""


@dataclass(frozen=True)
class Reached:
    """A Harbor with a logged-in session."""

    client: HarborClient
    info: SystemInfo
    principal: Principal
    connection: AnyConnection | None = None
    """The connection in the cluster, if the options name one."""

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
class _LoginInputs:
    """Everything needed to log in."""

    client: HarborClient
    username: str
    connection: AnyConnection | None = None


@asynccontextmanager
async def reached(where: Where) -> AsyncIterator[Reached]:
    """Logs in, and logs out at the end. Raises FailedError, at any time."""
    inputs = await _login_inputs(where)
    try:
        yield await _let_in(inputs, where)
    except NotReady as refusal:
        raise FailedError(refusal.verdict.message) from None
    except HarborError as error:
        raise FailedError(await _explained(inputs, where, error)) from None
    finally:
        await inputs.client.close()


async def _let_in(inputs: _LoginInputs, where: Where) -> Reached:
    found = await identify(inputs.client)
    verdict = judge(found.info)
    if verdict.reason is not Reason.RECONCILED:
        raise NotReady(verdict.reason, verdict.message)
    return Reached(inputs.client, found.info, found.principal(inputs.username), inputs.connection)


async def _explained(inputs: _LoginInputs, where: Where, error: HarborError) -> str:
    message = (await why_failed(error, inputs.client)).message
    if isinstance(where, ByConnection):
        return message
    options = [f"{option} is {field}" for field, option in _OPTIONS.items() if field in message]
    return f"{message} Here {' and '.join(options)}." if options else message


async def _login_inputs(where: Where) -> _LoginInputs:
    try:
        return await _by_connection(where) if isinstance(where, ByConnection) else _by_url(where)
    except NotReady as refusal:
        raise FailedError(refusal.verdict.message) from None
    except (NoClusterError, KubeError, HarborError, OSError) as error:  # OSError: a file cannot be read
        raise FailedError(_sentence(str(error))) from None


def _by_url(where: ByUrl) -> _LoginInputs:
    tls = TLSOptions(
        ca=where.ca_file.read_bytes() if where.ca_file else None,
        skip_verify=where.insecure_skip_verify,
        server_name=where.server_name,
        client=_client_certificate(where),
    )
    check_usable(tls, ca=f"The file {where.ca_file}", client=f"The file {where.client_certificate} or its key")
    headers = tuple([(name, _header(file)) for name, file in where.headers])
    admission = Admission(Credentials(where.username, where.password), tls, headers)
    return _LoginInputs(_client(where.url, admission, Limits()), where.username)


def _client_certificate(where: ByUrl) -> ClientCertificate | None:
    if where.client_certificate is None or where.client_key is None:
        return None
    return ClientCertificate(where.client_certificate.read_bytes(), where.client_key.read_bytes())


def _header(file: Path) -> str:
    try:
        return header_of(file.read_bytes())
    except UnusableError as error:
        raise FailedError(f"The file {file} {error}") from None


async def _by_connection(where: ByConnection) -> _LoginInputs:
    gateway = await Gateway.connect(where.kubeconfig, user_agent=_user_agent())
    try:
        connection = await _read(gateway, Key(where.kind, where.namespace, where.name))
        admission = await admission_of(Secrets(read=gateway.data, watched=lambda _: False), connection)
    finally:
        await gateway.close()
    check(connection, admission)
    client = _client(connection.spec.url, admission, connection.spec.limits)
    return _LoginInputs(client, admission.credentials.username, connection)


async def _read(gateway: Gateway, key: Key) -> AnyConnection:
    try:
        found = KINDS[key.kind].model.model_validate({"kind": key.kind, **await gateway.get(key)})
    except Gone:
        raise FailedError(f"There is no {key} in the cluster.") from None
    except ValidationError:
        raise FailedError(f"{key} is not as this version of Harborhook knows it.") from None
    assert isinstance(found, AnyConnection)
    return found


def _client(url: str, admission: Admission, limits: Limits) -> HarborClient:
    transport = Transport(
        url,
        admission.credentials,
        tls=admission.tls,
        headers=dict(admission.headers),
        limiters=(Limiter(limits.max_concurrent_requests, limits.requests_per_second),),
        user_agent=_user_agent(),
    )
    return HarborClient(transport)


def _user_agent() -> str:
    return f"harborhook/{__version__} (command)"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
