"""Resolves the addresses and Authorization values of a policy's targets from its Secrets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harborhook.api.base import Key
from harborhook.api.conditions import NotReady, Reason
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.webhook_policy import Target, ValueFrom, WebhookPolicy
from harborhook.plan.access import allows_host, host_of
from harborhook.plan.target_values import ResolvedTargets, TargetValues, UnusableError, address_of, header_of
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link


async def resolve(context: Context, policy: WebhookPolicy) -> ResolvedTargets:
    """Raises NotReady if a Secret or key is missing or a value is not usable."""
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


def check_hosts(link: Link, policy: WebhookPolicy, values: Sequence[TargetValues]) -> None:
    connection = link.connection
    if not isinstance(connection, ClusterHarborConnection):
        return
    for index, (target, value) in enumerate(zip(policy.spec.targets, values, strict=True)):
        if not allows_host(connection.spec.allowed_target_hosts, value.address):
            of_secret = target.address is None
            which = "of the address in its Secret" if of_secret else host_of(value.address)
            raise NotReady(
                Reason.TARGET_HOST_NOT_ALLOWED,
                f"targets[{index}]: {link.key} does not allow the host {which}. "
                "Allowed are the hosts in its allowedTargetHosts.",
            )
