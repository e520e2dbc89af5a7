"""WebhookPolicy: creates or adopts the policy, changes it in place, deletes it.

A visit locates the policy's project, reads the values of its Secrets, runs all checks that need no write, obtains the
policy in Harbor, and writes or reports the differences. The worker calls `reconcile`, `take_news` and `delete`.
"""

from __future__ import annotations

from dataclasses import replace

from harborhook.api.base import DeliveriesKey, Key
from harborhook.api.conditions import NotReady, Reason, Verdict
from harborhook.api.webhook_policy import AppliedSecret, WebhookPolicy
from harborhook.harbor.capabilities import Version, parse_version
from harborhook.harbor.errors import ConflictError, NotFoundError, PreconditionError, RefusedError
from harborhook.harbor.models import Policy
from harborhook.plan import webhook_policy as plan
from harborhook.plan.drift import drift_rows, drift_verdict
from harborhook.plan.ownership import creator, foreign_cluster, parse_creator
from harborhook.plan.switch import EffectiveSwitch
from harborhook.plan.target_values import ResolvedTargets, refused
from harborhook.reconcile import claims, deliveries, endpoint_test, redelivery, switches
from harborhook.reconcile.context import Context, Wait
from harborhook.reconcile.drift import record_written, report
from harborhook.reconcile.links import Link
from harborhook.reconcile.policy_in_harbor import find_own, obtain
from harborhook.reconcile.policy_location import (
    PolicyLocation,
    PolicyVisit,
    check_unmoved,
    locate,
    locate_for_deletion,
)
from harborhook.reconcile.target_values import check_hosts, resolve
from harborhook.reconcile.verdicts import harbors_refusal
from harborhook.runtime.queue import Cause

SEVERAL_TARGETS: Version = (2, 11, 0)
"""The first Harbor known to send to each of several targets."""


async def reconcile(visit: PolicyVisit) -> Verdict:
    policy = visit.resource
    await _take_from_senders(visit)
    if policy.status.origin is not None and not visit.has_finalizer and policy.effective_deletion_policy == "Delete":
        await visit.prepare(finalizer=True)  # first, since later steps may fail
    if policy.spec.suspend:
        return Verdict(Reason.SUSPENDED, "Nothing is written to Harbor while suspend is true.")
    location = await _locate(visit)
    try:
        claims.check_policy_owner(visit.context, location.link, policy, location.project)
        await claims.hold(visit, location.link)
        return await _apply(visit, location)
    except NotReady as refusal:
        await switches.disable_if_off(visit, location, refusal.verdict.reason)
        raise


async def _locate(visit: PolicyVisit) -> PolicyLocation:
    """Returns the location, which has not changed since the last visit, over a connection that allows it."""
    policy = visit.resource
    try:
        location = await locate(visit)
    except NotReady as refusal:
        if refusal.verdict.reason is Reason.PROJECT_NOT_READY:
            await switches.disable_without_project(visit)
        raise
    claims.check_unmoved(policy.status.connection, location.link)
    await check_unmoved(visit, location)
    claims.check_access(location.link, policy, location.project)
    return location


async def _apply(visit: PolicyVisit, location: PolicyLocation) -> Verdict:
    policy, link = visit.resource, location.link
    resolved = await resolve(visit.context, policy)
    check_hosts(link, policy, resolved.values)
    await _check_supported(visit, location)
    switch = switches.effective(visit.context, link, policy)
    desired = replace(plan.desired_policy(policy, resolved.values), enabled=switch.enabled)
    try:
        async with link.writing(location.project):
            changes = await _settle(visit, location, desired, switch, rotated=_have_changed(visit, link, resolved))
    except RefusedError as error:
        raise refused(error, resolved.values) from None
    visit.record(
        project_id=location.project_id,
        project_name=location.project,
        policy_name=changes.name,
        connection=claims.recorded(link),
        enabled=switch.sends(changes.enabled),
        drift=drift_rows(changes.reported),
        applied_generation=policy.metadata.generation,
        applied_secrets=_applied_secrets(policy, resolved),
    )
    link.applied_values[policy.key] = resolved
    await deliveries.take_news(visit, link)
    deliveries.begin(visit.context, DeliveriesKey(link.key, location.project))
    if changes.reported:
        return drift_verdict(changes.reported)
    return Verdict(Reason.RECONCILED, _conclusion(location, desired))


def _conclusion(location: PolicyLocation, desired: plan.DesiredPolicy) -> str:
    said = f"Webhook policy {desired.name} of project {location.project} matches the spec."
    version = parse_version(location.link.version or "")
    if len(desired.targets) > 1 and version is not None and version < SEVERAL_TARGETS:
        said += " Before Harbor 2.11 all notifications may go to the last target: declare a policy for each target."
    return said


def _have_changed(visit: PolicyVisit, link: Link, resolved: ResolvedTargets) -> bool:
    """Whether values from Secrets have changed. Under driftPolicy Report the status records the applied ones. Otherwise
    only this process remembers them, and right after a start the cause of the visit decides."""
    policy, remembered = visit.resource, link.applied_values.get(visit.resource.key)
    if policy.spec.drift_policy == "Report":
        return resolved.have_changed(policy.status.applied_secrets or [], remembered)
    return Cause.SECRET in visit.causes if remembered is None else remembered.values != resolved.values


def _applied_secrets(policy: WebhookPolicy, resolved: ResolvedTargets) -> list[AppliedSecret] | None:
    return resolved.applied_secrets() if policy.spec.drift_policy == "Report" and resolved.versions else None


# Checks without a write


async def _check_supported(visit: PolicyVisit, location: PolicyLocation) -> None:
    """Harbor refuses an unknown event type; before 2.8 it drops a payload format silently."""
    link = location.link
    asked_before = link.supported is not None
    supported = await link.what_is_supported(location.project)
    if supported is None:
        return
    if not asked_before:
        visit.context.queue.add(link.key, Cause.DEPENDENT)  # shows it in the connection's status
    spec = visit.resource.spec
    unknown = sorted(set(spec.event_types) - supported.event_types)
    if unknown:
        raise NotReady(
            Reason.UNSUPPORTED_EVENT_TYPE,
            f"Harbor {link.version} has no event type {', '.join(unknown)}. "
            f"It has {', '.join(sorted(supported.event_types))}.",
        )
    for index, target in enumerate(spec.targets):
        if target.payload_format not in (None, plan.DEFAULT_FORMAT, *supported.payload_formats):
            raise NotReady(
                Reason.UNSUPPORTED_PAYLOAD_FORMAT,
                f"targets[{index}]: Harbor {link.version} does not offer payloadFormat {target.payload_format}; "
                "formats other than Default came with Harbor 2.8.",
            )


# Writing


async def _settle(
    visit: PolicyVisit,
    location: PolicyLocation,
    desired: plan.DesiredPolicy,
    switch: EffectiveSwitch,
    *,
    rotated: bool,
) -> plan.PolicyChanges:
    """Writes or reports the differences of Harbor's policy; returns what was written and what was left."""
    observed = await obtain(visit, location, desired, switch)
    if observed is None:
        return plan.as_created(desired)
    changes = _changes(visit, observed, desired, switch, rotated=rotated)
    if changes.body is not None and visit.may_share_reading:
        # A shared reading may be some seconds old; the PUT has to contain the present row.
        observed = await location.link.client.policy(location.project, observed.id)
        if observed is None:
            raise Wait(after=1.0)
        changes = _changes(visit, observed, desired, switch, rotated=rotated)
    if changes.body is not None:
        await _write(visit, location, observed, changes)
    if parse_creator(observed.creator) is not None:
        visit.record(cluster_name=visit.context.cluster)
    await report(visit, changes.reported)
    return changes


def _changes(
    visit: PolicyVisit, observed: Policy, desired: plan.DesiredPolicy, switch: EffectiveSwitch, *, rotated: bool
) -> plan.PolicyChanges:
    policy, turned = visit.resource, switch.is_turned or Cause.SWITCH in visit.causes
    return plan.changes(
        observed,
        desired,
        writable=plan.writable_groups(policy, visit.status.origin, switch, rotated=rotated),
        asked_for=plan.asked_for(policy, turned=turned, rotated=rotated),
        creator=_creator_to_write(visit, observed),
    )


def _creator_to_write(visit: PolicyVisit, observed: Policy) -> str | None:
    """Returns our mark if the policy carries the name of another cluster. In a takeover it makes that cluster leave the
    policy alone; after a rename of our cluster it replaces the former name."""
    cluster = visit.context.cluster
    is_foreign = foreign_cluster(observed.creator, cluster=cluster) is not None
    return creator(cluster, visit.resource.key) if is_foreign else None


async def _write(visit: PolicyVisit, location: PolicyLocation, observed: Policy, changes: plan.PolicyChanges) -> None:
    """Updates in place, which keeps the id and the history."""
    claims.check_writable(location.link)
    try:
        await location.link.readings.put_back(location.project, observed, changes.body or {})
    except ConflictError as error:
        raise NotReady(
            Reason.ALREADY_EXISTS,
            f"{harbors_refusal(error)} The project has another webhook policy {changes.name!r}: choose another "
            f"policyName. This one is still called {observed.name!r} in Harbor and unchanged.",
        ) from None
    what = f"webhook policy {changes.name}"
    await record_written(visit, what, changes.asked_for, asked_for=True)
    await record_written(visit, what, changes.corrected, asked_for=False)
    was_ours = visit.resource.status.applied_generation is not None
    if was_ours and _creator_to_write(visit, observed) is not None:
        await visit.inform("Updated", f"Wrote the cluster's present name {visit.context.cluster} into {what}.")


# Status only


async def take_news(visit: PolicyVisit) -> None:
    """Puts the readings of the poll and the results of senders into the status, without requests to Harbor about the
    policy."""
    await _take_from_senders(visit)
    link = claims.link_of_record(visit)
    if link is None:
        return
    if switches.effective(visit.context, link, visit.resource).is_lifted:
        visit.context.queue.add(visit.resource.key, Cause.SWITCH)
    else:
        await deliveries.take_news(visit, link)


async def _take_from_senders(visit: PolicyVisit) -> None:
    """Puts the results of senders into the status; the next sending waits until it is written."""
    context, key = visit.context, visit.resource.key
    endpoint_test.record(visit)
    await redelivery.record(visit)
    visit.once_written.append(lambda: _let_send(context, key))


def _let_send(context: Context, key: Key) -> None:
    link, policy = claims.link_of(context, key), context.load(key)
    if link is not None and isinstance(policy, WebhookPolicy):
        endpoint_test.ask_for(context, policy)
        redelivery.schedule(context, link, key)


# Deletion


async def delete(visit: PolicyVisit) -> None:
    """Applies the deletion policy. Returning releases the resource; NotReady keeps it."""
    policy = visit.resource
    if policy.effective_deletion_policy != "Delete":
        await switches.undo(visit)
        return
    location = await locate_for_deletion(visit)
    if location is None:
        return
    if not claims.is_allowed(location.link.connection, policy.metadata.namespace, location.project):
        note = f"The connection no longer allows project {location.project}: the policy stays unchanged in Harbor."
        await visit.warn("Released", note)
        return
    async with location.link.writing(location.project):
        observed = await find_own(visit, location)
        if observed is not None:
            claims.check_writable(location.link)
            await _delete_in_harbor(location, observed)


async def _delete_in_harbor(location: PolicyLocation, observed: Policy) -> None:
    """Disables it first: even if Harbor refuses the deletion, nothing new is sent."""
    client, readings = location.link.client, location.link.readings
    readings.policy_written(location.project, observed.id)
    try:
        if plan.is_enabled(observed.raw):
            await readings.put_back(location.project, observed, plan.switching_body(observed, enabled=False))
        await client.delete_policy(location.project, observed.id)
    except NotFoundError:
        return
    except PreconditionError as error:
        in_progress = await _counted_notifications(location, observed)
        raise NotReady(
            Reason.DELIVERIES_PENDING,
            f"{harbors_refusal(error)} {in_progress}The policy is disabled, and its "
            "deletion is tried again with growing pauses. Annotation harborhook.io/release=true releases it at once.",
        ) from None


async def _counted_notifications(location: PolicyLocation, observed: Policy) -> str:
    """Returns a sentence with a trailing space; empty if none is open or Harbor does not report them."""
    try:
        count = await location.link.client.open_executions(location.project, observed.id)
    except RefusedError:
        return ""
    one, several = "1 notification is still in progress. ", f"{count} notifications are still in progress. "
    return {0: "", 1: one}.get(count, several)
