"""Checks a connection: which Harbor it is, whether it accepts the credentials, and which principal they belong to.

Called by reconcile/connection.py and by the commands that log in themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.connections import Principal
from harborhook.harbor.capabilities import FLOOR, parse_version, short
from harborhook.harbor.certificates import alert_of, details_of, tls_error
from harborhook.harbor.client import HarborClient
from harborhook.harbor.errors import HarborError, UnauthorizedError, UnreachableError, UntrustedError
from harborhook.harbor.models import SystemInfo, User
from harborhook.reconcile.verdicts import verdict_of


@dataclass(frozen=True)
class Identity:
    info: SystemInfo
    user: User | None
    """None for a robot."""
    wants_session: bool
    """Whether to try a login the next time: Harbor has not refused one."""

    @property
    def is_robot(self) -> bool:
        return self.user is None

    @property
    def version(self) -> str | None:
        return self.info.harbor_version

    def principal(self, username: str) -> Principal:
        """Returns the principal for the status. For a robot, `username` of the credentials is all that is known."""
        if self.user is None:
            return Principal(name=username, kind="Robot")
        return Principal(name=self.user.username, kind="SystemAdmin" if self.user.sysadmin else "User")


async def identify(client: HarborClient, *, wants_session: bool = True) -> Identity:
    """Identifies Harbor and principal, and starts a session for a user. Raises NotReady if Harbor refuses."""
    info = await client.system_info()
    try:
        user = await client.current_user()
        if user is not None and wants_session and client.authentication == "Basic":
            wants_session = await client.log_in()
        if info.anonymous:  # answered before the login, or during the check of a wrong password
            info = await client.system_info()
    except UnauthorizedError:
        raise NotReady(Reason.UNAUTHORIZED, _why_refused(info)) from None
    if info.anonymous:
        raise NotReady(Reason.UNAUTHORIZED, _why_refused(info))
    return Identity(info, user, wants_session)


def judge(info: SystemInfo) -> Verdict:
    """Returns whether Harborhook can work with this Harbor, as a verdict."""
    version = parse_version(info.harbor_version or "")
    if version is not None and version < FLOOR:
        return Verdict(
            Reason.UNSUPPORTED_HARBOR_VERSION,
            f"This is Harbor {info.harbor_version}; {short(FLOOR)} is the oldest that is supported. "
            "Nothing is written to it.",
        )
    return Verdict(Reason.RECONCILED, f"Connected to Harbor {info.harbor_version}.")


async def why_failed(error: HarborError, client: HarborClient | None) -> Verdict:
    """Returns the verdict with details of the certificate, such as its issuer, for the administrator who has to fix it.
    `client` is None if none could be created."""
    verdict = verdict_of(error)
    if client is None:
        return verdict
    if isinstance(error, UntrustedError):
        details = await details_of(client.url, error.failure, client.tls)
        return Verdict(verdict.reason, f"{verdict.message} {details}".rstrip())
    if isinstance(error, UnreachableError) and error.broke_off:
        failure = await alert_of(client.url, client.tls)
        return verdict_of(tls_error(client.url, failure, failure.name)) if failure is not None else verdict
    return verdict


def _why_refused(info: SystemInfo) -> str:
    if info.auth_mode == "oidc_auth":
        return (
            "Harbor does not accept these credentials. Its users come from OIDC, whose passwords do not work in "
            "the API: use a robot account, or a local administrator."
        )
    return (
        "Harbor does not accept these credentials: check name and password; "
        "for a robot, that it is neither disabled nor expired."
    )
