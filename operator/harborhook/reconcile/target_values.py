"""Addresses and Authorization values of a policy's targets, read out of its Secrets."""

from __future__ import annotations

from collections.abc import Callable

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.webhook_policy import Target, ValueFrom, WebhookPolicy
from harborhook.plan.target_values import ResolvedTargets, TargetValues, UnusableError, address_of, header_of
from harborhook.reconcile.context import Context


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
