"""Addresses and Authorization values of a policy's targets: read out of its Secrets, kept out of what Harbor says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.webhook_policy import Target, ValueFrom, WebhookPolicy
from harborhook.harbor.errors import RefusedError, refusal
from harborhook.harbor.models import Policy
from harborhook.plan.target_values import (
    ResolvedTargets,
    TargetValues,
    UnusableError,
    address_of,
    header_of,
    values_in,
    without_values,
)
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link


async def resolve(context: Context, policy: WebhookPolicy) -> ResolvedTargets:
    """Raises NotReady where a Secret or key is missing or a value cannot be used."""
    versions: dict[str, str] = {}

    async def read(source: ValueFrom, use: Callable[[bytes], str]) -> str:
        ref = source.secret_key_ref
        secret = Key("Secret", policy.metadata.namespace, ref.name)
        versions[ref.name], raw = await context.secrets.versioned(secret, ref.key)
        try:
            return use(raw)
        except UnusableError as error:
            raise NotReady(Reason.INVALID_SPEC, f"Key {ref.key!r} of Secret {ref.name} {error}") from None

    async def values(target: Target) -> TargetValues:
        return TargetValues(
            address=await read(target.address_from, address_of) if target.address_from else target.address or "",
            header=await read(target.auth_header_from, header_of) if target.auth_header_from else "",
        )

    return ResolvedTargets(tuple([await values(target) for target in policy.spec.targets]), versions)


def refused(error: RefusedError, values: Iterable[TargetValues]) -> RefusedError:
    """The same without these values: Harbor quotes an address that it refuses, and so might a proxy a header."""
    return refusal(
        error.status,
        error.code,
        without_values(error.message, values),
        request=error.request,
        retry_after=error.retry_after,
    )


async def put_back(link: Link, project: str, observed: Policy, body: Mapping[str, Any]) -> None:
    """Writes a row that Harbor has shown, with changes. What was stored once may be refused by a newer Harbor."""
    link.policy_written(project, observed.id)
    try:
        await link.client.update_policy(project, observed.id, body)
    except RefusedError as error:
        raise refused(error, values_in(observed.raw.get("targets"))) from None
