"""Reads one notification with its body from Harbor and sends it again, or finds out why it must not be sent."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import NamedTuple

from harborhook.api.conditions import NotReady, shorten
from harborhook.api.connections import ClusterHarborConnection
from harborhook.api.deliveries import MESSAGE_LIMIT, Deliveries
from harborhook.api.webhook_policy import WebhookPolicy
from harborhook.harbor.executions import Execution, Job, Stored
from harborhook.harbor.payloads import CONTENT_TYPES, PayloadFormat
from harborhook.plan.access import allows_host, host_of, names_host
from harborhook.plan.deliveries import Delivery, judge, judge_job
from harborhook.plan.redelivery import AMBIGUOUS, NO_TARGET, AttemptOutcome, targets_for
from harborhook.reconcile import claims, switches
from harborhook.reconcile.context import Context
from harborhook.reconcile.credentials import ca_bundle_of
from harborhook.reconcile.delivery_history import is_legacy, patience_with
from harborhook.reconcile.links import Link
from harborhook.reconcile.redelivery_state import Redeliveries
from harborhook.reconcile.sender import NotSentError, send
from harborhook.reconcile.target_values import resolve

HEADER = "X-Harborhook-Redelivery"
"""Carries the execution's id, so that a receiver can recognise a repeated notification."""
TRY_LATER = frozenset({408, 425, 429})
"""Answers that do not mean a final refusal."""

NOT_ALLOWED = "An administrator has to allow redelivery by allowRedelivery in the ClusterHarborConnection."
NOT_OVER_A_TEAMS_OWN = "Notifications are sent again over a ClusterHarborConnection only."
SUSPENDED = "Nothing is sent while suspend is true."
NO_ACCESS = "The connection's access rules no longer allow the project."


class OutdatedError(Exception):
    """The policy, or what allows sending for it, has changed since the step began. Nothing was sent."""


@dataclass(frozen=True)
class Step:
    """The inputs of a redelivery step."""

    context: Context
    link: Link
    policy: WebhookPolicy
    state: Redeliveries

    @property
    def in_harbor(self) -> tuple[str, int]:
        """Project and id of the policy."""
        return self.policy.status.project_name or "", self.policy.status.policy_id or 0

    @property
    def deliveries(self) -> Deliveries:
        return self.policy.status.deliveries or Deliveries()


def obstacle(context: Context, link: Link, policy: WebhookPolicy) -> str | None:
    """Returns what stops the operator from sending anything for the policy."""
    connection = link.connection
    if not isinstance(connection, ClusterHarborConnection):
        return NOT_OVER_A_TEAMS_OWN
    if not connection.spec.allow_redelivery:
        return NOT_ALLOWED
    if not claims.is_allowed(connection, policy.metadata.namespace, policy.status.project_name or ""):
        return NO_ACCESS
    if policy.spec.suspend:
        return SUSPENDED
    off_by = switches.effective(context, link, policy).off_by
    return off_by.sentence if off_by is not None else None


def check_current(step: Step) -> None:
    """Raises OutdatedError. Called right before sending, since Harbor can take minutes for the answers before."""
    context, policy = step.context, step.context.load(step.policy.key)
    is_same = isinstance(policy, WebhookPolicy) and (policy.metadata.uid, policy.metadata.generation) == (
        step.policy.metadata.uid,
        step.policy.metadata.generation,
    )
    is_stopped = policy is None or policy.metadata.deleting or claims.link_of(context, policy.key) is not step.link
    if not is_same or is_stopped or obstacle(context, step.link, step.policy) is not None:
        raise OutdatedError


async def stored_notification(step: Step, execution: int) -> Stored | None:
    """Returns the notification with its body; None if Harbor no longer has it."""
    client = step.link.client
    read = client.stored_job if is_legacy(step.link) else client.stored_execution
    return await read(*step.in_harbor, execution)


async def judged(step: Step, notification: Execution | Job) -> Delivery:
    """Judges a notification by its present state. Harbor may retry an execution with status `Error` until it is old;
    one with `Running` may never have reached the job service (Harbor 2.16). The tasks decide."""
    patience, now = patience_with(step.context, step.link), step.link.client.now()
    if isinstance(notification, Job):
        return judge_job(notification, now=now, patience=patience)
    if notification.status in ("Success", "Stopped"):
        return judge(notification, None, now=now, patience=patience)
    is_over = now - notification.started > patience.in_all and is_settled(step, notification.id)
    if notification.status == "Error" and is_over:
        return replace(judge(notification, None, now=now, patience=patience), status="Failed", final=True)
    tasks = await step.link.client.tasks(*step.in_harbor, notification.id)
    return judge(notification, tasks, now=now, patience=patience)


def is_settled(step: Step, execution: int) -> bool:
    """Whether an earlier judgement of it was final."""
    return execution <= (step.deliveries.last_execution_id or 0) or execution in step.state.backlog.candidates


async def send_again(step: Step, stored: Stored, *, dead: Set[int] = frozenset()) -> AttemptOutcome | None:
    """Sends a notification to its target; None if that target is among the dead ones."""
    notification, payload_format = stored.notification, _format_of(stored.notification)
    targets = targets_for(notification.target_type, payload_format, step.policy.spec.targets)
    failed = AttemptOutcome(notification.id, "Failed", step.context.now(), event=notification.event)
    if len(targets) != 1:
        return replace(failed, message=AMBIGUOUS if targets else NO_TARGET)
    target = targets[0]
    if target in dead:
        return None
    try:
        status = await _post(step, target, stored)
    except NotSentError as error:
        message = shorten(str(error), MESSAGE_LIMIT)
        return replace(failed, target=target, time=step.context.now(), message=message)
    done = replace(failed, target=target, time=step.context.now())
    if 200 <= status < 300:
        _count_in_batch(step.state, notification)
        return replace(done, result="Succeeded")
    if 400 <= status < 500 and status not in TRY_LATER:
        step.state.backlog.refused.add(notification.id)
    return replace(done, message=f"The receiver answered with status {status}.")


def _format_of(notification: Execution | Job) -> PayloadFormat:
    if isinstance(notification, Execution):
        return notification.format
    return "Slack" if notification.target_type == "slack" else "Default"


async def _post(step: Step, index: int, stored: Stored) -> int:
    """Returns the status of the answer. Raises NotSentError, also if sending is not allowed, and OutdatedError."""
    receiver = await _receiver(step, index)
    check_current(step)
    headers = {
        "Content-Type": CONTENT_TYPES[_format_of(stored.notification)],
        HEADER: str(stored.notification.id),
        **({"Authorization": receiver.header} if receiver.header else {}),
    }
    return await send(
        receiver.address,
        content=stored.body,
        headers=headers,
        verify=receiver.verify,
        ca=receiver.ca,
        may_be_local=receiver.is_named,
        fence=step.context.fence,
    )


class _Receiver(NamedTuple):
    """A target by the present spec, with its secrets: must not be shown."""

    address: str
    header: str
    verify: bool
    ca: bytes | None
    is_named: bool
    """allowedTargetHosts lists its host literally."""


async def _receiver(step: Step, index: int) -> _Receiver:
    """Raises NotSentError if a Secret is missing or the host is not allowed (any more)."""
    context, connection, target = step.context, step.link.connection, step.policy.spec.targets[index]
    try:
        values = (await resolve(context, step.policy)).values[index]
        ca = await ca_bundle_of(context.secrets, connection)
    except NotReady as refusal:
        raise NotSentError(refusal.verdict.message) from None
    hosts = connection.spec.allowed_target_hosts if isinstance(connection, ClusterHarborConnection) else []
    if not allows_host(hosts, values.address):
        which = "in the target's Secret" if target.address is None else host_of(values.address)
        raise NotSentError(f"The connection's allowedTargetHosts do not include the host {which}.")
    verify = target.verify_remote_certificate is not False
    return _Receiver(values.address, values.header, verify, ca, names_host(hosts, values.address))


def _count_in_batch(state: Redeliveries, notification: Execution | Job) -> None:
    started = notification.started if isinstance(notification, Execution) else notification.created
    state.sent += 1
    state.since = min(started, state.since or started)
