"""The values that webhook targets take from Secrets: validation, change detection, and messages that do not reveal
them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from harborhook.api.webhook_policy import ADDRESS_LIMIT, ADDRESS_PATTERN, AppliedSecret
from harborhook.harbor.errors import RefusedError, refusal
from harborhook.plan.failures import masked, secrets_of

_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")


class UnusableError(ValueError):
    """A value that Harbor refuses, or stores but cannot use. The text does not show the value."""


@dataclass(frozen=True)
class TargetValues:
    """The address of a target and its Authorization value ("" for none); no repr shows them."""

    address: str = field(repr=False)
    header: str = field(default="", repr=False)


@dataclass(frozen=True)
class ResolvedTargets:
    """The values of each target, and the resource versions of their Secrets by name."""

    values: tuple[TargetValues, ...]
    versions: Mapping[str, str] = field(default_factory=dict)

    def applied_secrets(self) -> list[AppliedSecret]:
        """The rows of `status.appliedSecrets`."""
        return [AppliedSecret(name=name, resource_version=self.versions[name]) for name in sorted(self.versions)]

    def have_changed(self, recorded: Iterable[AppliedSecret], remembered: ResolvedTargets | None) -> bool:
        """Whether a value differs from the one last applied to Harbor.

        `recorded` are the versions in the status: an equal version means equal values. A different one need not mean a
        change, since tools rewrite Secrets with the same content. So values are compared if this process still has the
        applied ones (`remembered`). After a restart a new version counts as a change.
        """
        known = {secret.name: secret.resource_version for secret in recorded}
        if all(known.get(name) == version for name, version in self.versions.items()):
            return False
        if remembered is not None and remembered.versions == known:
            return remembered.values != self.values
        return True


def header_of(raw: bytes) -> str:
    """Returns the Authorization value of a Secret, without the newline that editors add. Raises UnusableError."""
    value = raw.rstrip(b"\r\n")
    if not value or any(byte < 0x20 or byte > 0x7E for byte in value):
        raise UnusableError("is empty or has characters that a header cannot have: use printable ASCII on one line.")
    return value.decode("ascii")


def address_of(raw: bytes) -> str:
    """Returns the address of a Secret, validated like one in a spec. Raises UnusableError."""
    try:
        address = raw.decode().strip("\r\n")
    except UnicodeDecodeError:
        raise UnusableError("is not an address: it is not UTF-8.") from None
    if not re.fullmatch(ADDRESS_PATTERN, address) or not address.isprintable():
        raise UnusableError("is not an address: it must be one line that begins with https:// or http:// and a host.")
    if len(address) > ADDRESS_LIMIT:
        raise UnusableError(f"is not an address: it is longer than {ADDRESS_LIMIT} characters.")
    if _BAD_ESCAPE.search(address) or not _has_host_and_port(address):
        raise UnusableError("is not an address: its host, its port or a % in it is wrong.")
    return address


def values_in(targets: Any) -> list[TargetValues]:
    """Returns the values in Harbor's row of a policy, which may differ from the spec's."""
    rows = [row for row in targets if isinstance(row, dict)] if isinstance(targets, list) else []
    return [TargetValues(str(row.get("address") or ""), str(row.get("auth_header") or "")) for row in rows]


def without_values(text: str, values: Iterable[TargetValues]) -> str:
    """Returns a message of Harbor without the credentials that it may quote."""
    listed = list(values)
    return masked(text, secrets_of((one.address for one in listed), (one.header for one in listed)))


def _has_host_and_port(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def refused(error: RefusedError, values: Iterable[TargetValues]) -> RefusedError:
    """Returns the error without these values: Harbor quotes an address that it refuses, and a proxy may quote a
    header."""
    return refusal(
        error.status,
        error.code,
        without_values(error.message, values),
        request=error.request,
        retry_after=error.retry_after,
    )
