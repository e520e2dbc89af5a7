"""Requests to the operator: sets an annotation and waits for its answer in the status.

Called by commands/acting.py with one resource. Every function returns an ActionResult.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from harborhook.api.names import (
    ANNOTATION_LIMIT,
    ANNOTATION_RECONCILE_AT,
    ANNOTATION_REDELIVER,
    ANNOTATION_RELEASE,
    ANNOTATION_TEST_ENDPOINT,
    Body,
    Key,
)
from harborhook.commands.chain import shown_address
from harborhook.commands.cluster import Cluster, MissingError
from harborhook.commands.failures import FailedError
from harborhook.commands.health import health
from harborhook.commands.lookup import find
from harborhook.commands.naming import argument_of
from harborhook.commands.tables import Block, Cell, Table

PAUSE = 0.5
"""Seconds between two reads of the status."""
GRACE = 5.0
"""Seconds to wait for the rest of an answer after the operator has reconciled the resource."""

CHECK_OPERATOR = (
    "Is the operator running, and does it serve this namespace? "
    "kubectl get deployments,pods -A -l app.kubernetes.io/name=harborhook shows that."
)

ReportProgress = Callable[[str], None]
"""Called with a description of the progress whenever it changes."""


@dataclass(frozen=True)
class ActionResult:
    """The result of a request for one resource."""

    key: Key
    is_well: bool
    sentence: str
    details: dict[str, Any] = field(default_factory=dict)
    """Additional data for scripts."""
    blocks: Sequence[Block] = ()
    """Additional text for users."""

    def wire(self) -> dict[str, Any]:
        stated = {"kind": self.key.kind, "namespace": self.key.namespace, "name": self.key.name}
        return {
            **{name: value for name, value in stated.items() if value},
            "ok": self.is_well,
            "message": self.sentence,
            **self.details,
        }


@dataclass(frozen=True)
class WaitOptions:
    """How long to wait for answers, and where to report progress.

    `timeout` None: do not wait. `deadline`, in time.monotonic(), is shared by all resources of a command.
    """

    timeout: float | None
    progress: ReportProgress
    deadline: float = 0.0


def reconcile(cluster: Cluster, key: Key, wait: WaitOptions) -> ActionResult:
    """Makes the operator compare the resource with Harbor now."""
    token = _token()
    _annotate(cluster, key, {ANNOTATION_RECONCILE_AT: token})
    if wait.timeout is None:
        return _asked(key)
    body = _until(cluster, key, wait, lambda body: _reconciled(body, token), ANNOTATION_RECONCILE_AT)
    found = health(body)
    return ActionResult(
        key, found.is_ready, f"Reconciled. {found.state.label}: {found.sentence}", {"reason": found.reason}
    )


def send_test(cluster: Cluster, key: Key, wait: WaitOptions) -> ActionResult:
    """Makes the operator send an empty notification to each target.

    It also requests a reconcile: the operator reconciles a policy that it may not test, and the command then does not
    wait for results in vain.
    """
    _check_not_suspended(cluster, key)
    token = _token()
    _annotate(cluster, key, {ANNOTATION_TEST_ENDPOINT: token, ANNOTATION_RECONCILE_AT: token})
    if wait.timeout is None:
        return _asked(key)
    only_reconciled = _Since(lambda body: _reconciled(body, token))
    body = _until(
        cluster,
        key,
        wait,
        lambda body: _tested(body, token) or only_reconciled.for_seconds(body, GRACE),
        ANNOTATION_TEST_ENDPOINT,
    )
    if not _tested(body, token):
        return ActionResult(key, False, f"Not tested. {health(body).state.label}: {health(body).sentence}")
    return _test_answer(key, body)


def redeliver(cluster: Cluster, key: Key, ids: Sequence[int], wait: WaitOptions) -> ActionResult:
    """Makes the operator redeliver notifications: those with these execution ids, or all failed ones."""
    body = _check_not_suspended(cluster, key)
    waiting = ((body.get("status") or {}).get("deliveries") or {}).get("undelivered") or 0
    request = f"{','.join(map(str, ids)) if ids else 'failed'} {_token()}"
    if len(request) > ANNOTATION_LIMIT:
        raise FailedError("Too many ids for one request: name fewer, or use --failed.")
    _annotate(cluster, key, {ANNOTATION_REDELIVER: request})
    if wait.timeout is None:
        return _asked(key)

    def is_answered(body: Body) -> bool:
        answer = _redelivery(body, request)
        if answer:
            wait.progress(f"{answer.get('succeeded', 0)} delivered, {answer.get('failed', 0)} failed")
        return bool(answer.get("time"))

    found = _redelivery(_until(cluster, key, wait, is_answered, ANNOTATION_REDELIVER), request)
    succeeded, failed = found.get("succeeded", 0), found.get("failed", 0)
    is_well = failed == 0 and (succeeded >= len(ids) if ids else succeeded > 0 or waiting == 0)
    said = f"{succeeded} delivered, {failed} failed. {found.get('message', '')}".strip()
    return ActionResult(key, is_well, said, {"succeeded": succeeded, "failed": failed})


def release(cluster: Cluster, key: Key, wait: WaitOptions) -> ActionResult:
    """Makes the operator release a resource without touching Harbor."""
    body = find(cluster, key)
    _annotate(cluster, key, {ANNOTATION_RELEASE: "true"})
    if "deletionTimestamp" not in body["metadata"]:
        return ActionResult(key, True, "It will be released without touching Harbor when it is deleted.")
    if wait.timeout is None:
        return _asked(key)
    uid = body["metadata"]["uid"]
    with suppress(_GoneError):
        _until(cluster, key, wait, lambda body: body["metadata"]["uid"] != uid, ANNOTATION_RELEASE)
    return ActionResult(key, True, "Released: the resource is deleted, and its object in Harbor stays there.")


# The answers


def _reconciled(body: Body, token: str) -> bool:
    return bool((body.get("status") or {}).get("lastHandledReconcileAt") == token)


def _tested(body: Body, token: str) -> bool:
    return bool(((body.get("status") or {}).get("endpointTest") or {}).get("request") == token)


def _redelivery(body: Body, request: str) -> Body:
    found = (body.get("status") or {}).get("redelivery") or {}
    return dict(found) if found.get("request") == request else {}


def _test_answer(key: Key, body: Body) -> ActionResult:
    results = body["status"]["endpointTest"].get("results") or []
    targets = body["spec"]["targets"]
    table = Table(("TARGET", "ADDRESS", "STATUS", "RESULT"))
    for result in results:
        index, style = result["target"], "green" if result["reachable"] else "red"
        address = shown_address(targets[index]) if index < len(targets) else ""
        table.add(str(index), address, str(result.get("httpStatus", "")), Cell(result.get("message", ""), style))
    reached = sum(bool(result["reachable"]) for result in results)
    said = f"{reached} of {len(results)} targets answered."
    return ActionResult(key, reached == len(results), said, {"results": results}, [table])


# Requesting and waiting


class _GoneError(FailedError):
    """The resource was deleted while the command waited for its answer."""


@dataclass
class _Since:
    """How long a condition has held for the resource."""

    is_true: Callable[[Body], bool]
    _since: float | None = None

    def for_seconds(self, body: Body, seconds: float) -> bool:
        if not self.is_true(body):
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since >= seconds


def _annotate(cluster: Cluster, key: Key, annotations: dict[str, str]) -> None:
    try:
        cluster.patch(key, {"metadata": {"annotations": annotations}})
    except MissingError:
        find(cluster, key)  # its error has a hint
        raise


def _until(cluster: Cluster, key: Key, wait: WaitOptions, is_answered: Callable[[Body], bool], annotation: str) -> Body:
    assert wait.timeout is not None
    wait.progress("waiting for the operator")
    while True:
        try:
            body = cluster.get(key)
        except MissingError:
            raise _GoneError(f"{key} was deleted meanwhile.") from None
        if is_answered(body):
            return body
        if time.monotonic() >= wait.deadline:
            raise FailedError(_timed_out(key, body, wait.timeout, annotation))
        time.sleep(PAUSE)


def _timed_out(key: Key, body: Body, timeout: float, annotation: str) -> str:
    found = health(body)
    return (
        f"The operator has not answered for {key} within {timeout:g} seconds. {CHECK_OPERATOR} "
        f"{found.state.label}: {found.sentence.rstrip('.')}. "
        f"The annotation {annotation} stays: the operator answers it when it can."
    )


def _check_not_suspended(cluster: Cluster, key: Key) -> Body:
    body = find(cluster, key)
    if body["spec"].get("suspend"):
        raise FailedError(
            f"{key} is suspended, so nothing is sent for it. First: kubectl harborhook resume {argument_of(key)}"
        )
    return body


def _asked(key: Key) -> ActionResult:
    return ActionResult(key, True, "Requested. The operator answers in the status.")


def _token() -> str:
    """Returns a unique, readable token: the time, and a suffix for requests in the same second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(3)}"
