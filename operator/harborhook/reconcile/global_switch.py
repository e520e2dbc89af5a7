"""Enforces the global switch: one ConfigMap over all notifications of a Harbor.

A system administrator can set Harbor's own switch, which also applies to webhooks that no resource declares. Otherwise,
or if Harbor's environment has locked the setting, the operator disables each policy that it manages. The choice depends
on the known rights of the principal and the setting, never on one failed request.
"""

from __future__ import annotations

from harborhook.api.base import Metadata, Resource
from harborhook.api.connections import AnyConnection, ClusterHarborConnection, Notifications
from harborhook.plan.global_switch import SwitchRequest, switch_request
from harborhook.reconcile.context import Context
from harborhook.reconcile.links import Link, SwitchHistory
from harborhook.reconcile.visit import Visit

CONTESTED_WITHIN = 600.0
CONTESTED_AFTER = 3
"""If others changed Harbor's switch this many times within this many seconds, the operator stops setting it."""


async def enforce(visit: Visit[AnyConnection], link: Link) -> None:
    """Enforces the ConfigMap's value, and records how."""
    asked = await _request(visit)
    link.policies_off = False
    if asked.enabled is None:
        link.switch.set_to = None
        notifications = _as_harbor_has_it(link)
    elif await _is_ours_to_set(visit, link, asked.enabled):
        notifications = await _by_harbor(visit, link, asked.enabled)
    else:
        notifications = _by_policies(visit, link, asked.enabled)
    visit.record(notifications=notifications)


async def _request(visit: Visit[AnyConnection]) -> SwitchRequest:
    context = visit.context
    source = context.global_switch
    asked = switch_request(await context.secrets.data(source), _names(context, visit.resource))
    for complaint in asked.complaints:
        owner = Resource(kind="ConfigMap", metadata=Metadata(name=source.name, namespace=source.namespace))
        await context.recorder.record(owner, "Warning", "InvalidGlobalSwitch", complaint, action="Reconcile")
    if not asked.malformed:
        return asked
    last = visit.resource.status.notifications
    return SwitchRequest(last.enabled if last is not None and last.source == "ConfigMap" else None)


def _names(context: Context, connection: AnyConnection) -> list[str]:
    """Returns all ClusterHarborConnections to the same Harbor: the switch treats them as one."""
    names = []
    for key in context.store.all("ClusterHarborConnection"):
        other = context.load(key)
        if isinstance(other, ClusterHarborConnection) and other.spec.urls & connection.spec.urls:
            names.append(key.name)
    return names


def _as_harbor_has_it(link: Link) -> Notifications:
    return Notifications(
        enabled=link.notifications_enabled is not False,
        source="Harbor",
        enforcement="None",
        message="" if link.notifications_enabled is not False else "Harbor's own switch for notifications is off.",
    )


async def _is_ours_to_set(visit: Visit[AnyConnection], link: Link, wanted: bool) -> bool:
    """Whether we may set Harbor's switch. Reads the setting only if the switch differs from the wanted state."""
    principal = link.principal
    if not visit.context.reports_on(visit.resource.key):
        return False
    if not isinstance(visit.resource, ClusterHarborConnection) or principal is None or principal.kind != "SystemAdmin":
        return False
    return link.notifications_enabled is wanted or await link.client.notifications_editable()


async def _by_harbor(visit: Visit[AnyConnection], link: Link, wanted: bool) -> Notifications:
    history = link.switch
    if link.notifications_enabled is not wanted:
        if history.set_to is wanted and await _is_contested(visit, history):
            return Notifications(
                enabled=link.notifications_enabled is not False,
                source="Harbor",
                enforcement="None",
                message="Another client keeps reverting Harbor's switch; the operator does not set it again until the "
                "ConfigMap changes.",
            )
        await link.client.set_notifications(wanted)
        link.notifications_enabled = wanted
        if history.set_to is not wanted:
            history.restored.clear()
        await visit.inform(
            "NotificationsSwitched", f"Harbor's notifications were switched {'on' if wanted else 'off'}."
        )
    history.set_to = wanted
    return Notifications(enabled=wanted, source="ConfigMap", enforcement="Harbor")


async def _is_contested(visit: Visit[AnyConnection], history: SwitchHistory) -> bool:
    """Counts another change by somebody else."""
    now = visit.context.queue.clock()
    history.restored = [when for when in history.restored if now - when < CONTESTED_WITHIN]
    if len(history.restored) >= CONTESTED_AFTER:
        await visit.warn(
            "SwitchContested",
            f"Harbor's switch for notifications was changed {CONTESTED_AFTER} times against the ConfigMap: the "
            "operator no longer sets it. Decide on one of the two, then change the ConfigMap.",
        )
        return True
    history.restored.append(now)
    return False


def _by_policies(visit: Visit[AnyConnection], link: Link, wanted: bool) -> Notifications:
    link.policies_off = not wanted
    harbor_is_off = link.notifications_enabled is False
    message = (
        "Harbor's own switch cannot be set with these credentials or is locked by its environment: "
        "each managed policy is switched instead, other webhooks are not touched."
    )
    if wanted and harbor_is_off:
        message = "Harbor's own switch for notifications is off, and cannot be set over this connection."
    skipped = _suspended(visit.context, link) if not wanted else 0
    if skipped:
        message += f" {skipped} suspended {'policy was' if skipped == 1 else 'policies were'} skipped."
    return Notifications(
        enabled=wanted and not harbor_is_off, source="ConfigMap", enforcement="ManagedPolicies", message=message
    )


def _suspended(context: Context, link: Link) -> int:
    """Returns the number of suspended policies, which the switch does not reach."""
    bodies = (context.store.get(key) for key in context.store.dependents(link.key) if key.kind == "WebhookPolicy")
    return sum(1 for body in bodies if body is not None and body["spec"].get("suspend"))
