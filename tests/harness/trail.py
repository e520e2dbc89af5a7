"""Records what the operators of a test run have done in its API servers, and what they have shown.

It follows the audit log of each control plane of the process. Writes of tests contain the secrets to search for, and
writes of operators are searched. The log also shows which rights an operator uses, and which it lacks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from harness.canaries import Canaries, holds
from harness.control_plane import ControlPlane, audit
from harness.operator_process import OperatorProcess

Object = dict[str, Any]
LINE = 1000
"""Characters of a line in a report."""
HELM_RELEASE = "helm.sh/release.v1"
"""Secrets in which Helm keeps manifests."""


class Right(NamedTuple):
    """A verb on a resource (`resource/subresource`)."""

    resource: str
    verb: str


class Refusal(NamedTuple):
    right: Right
    namespace: str
    user: str
    reason: str
    """In the API server's words; mostly empty if no role grants the right."""


@dataclass
class Trail:
    canaries: Canaries = field(default_factory=Canaries)
    used: dict[str, set[tuple[str, Right]]] = field(default_factory=dict)
    """By user: namespace (empty for all) and right of each allowed request."""
    refusals: list[Refusal] = field(default_factory=list)
    """Requests of operators that RBAC has refused."""
    _written: dict[str, list[str]] = field(default_factory=dict)
    _running: dict[ControlPlane, int] = field(default_factory=dict)
    _read: dict[Path, int] = field(default_factory=dict)

    # Called by control planes

    def started(self, control_plane: ControlPlane, since: int = 0) -> None:
        """Follows the control plane from a position in its audit log."""
        self._running[control_plane] = since

    def stopped(self, control_plane: ControlPlane) -> None:
        self._plant_tokens()  # they end with the control plane
        self._follow(control_plane)
        del self._running[control_plane]

    # Called by checks

    def news(self) -> dict[str, str]:
        """Returns the output of operators since the last call, by source: log, metrics, writes to the API server."""
        self._catch_up()
        self._plant_tokens()
        found = {}
        for operator in OperatorProcess.made:
            found[str(operator.log)] = self._new_lines(operator.log)
            found[f"metrics of {operator.log}"] = operator.shown_metrics()
        for user in {operator.user for operator in OperatorProcess.made}:
            found[f"writes of {user}"] = "".join(self._written.pop(user, ()))
        return found

    def leaks(self) -> list[str]:
        """Returns the secrets in the news, each with its source and a line that contains it."""
        found = []
        for place, text in self.news().items():
            for secret in self.canaries.search(text):
                line = next(line for line in text.splitlines() if holds(line, secret))
                found.append(f"{secret!r} in {place}: {line[:LINE]}")
        return found

    def new_refusals(self) -> list[Refusal]:
        """Returns the requests of operators that RBAC has refused since the last call."""
        self._catch_up()
        found, self.refusals = self.refusals, []
        return found

    def _catch_up(self) -> None:
        for control_plane in list(self._running):
            control_plane.audit_position()  # returns when the log has caught up
            self._follow(control_plane)

    def _follow(self, control_plane: ControlPlane) -> None:
        users = {operator.user for operator in OperatorProcess.made}
        position = self._running[control_plane]
        for line in audit.read_lines(control_plane.paths.audit_log, position):
            position += len(line)
            self._take(json.loads(line), users)
        self._running[control_plane] = position

    def _take(self, event: Object, operators: set[str]) -> None:
        user, body = event["user"]["username"], event.get("requestObject")
        if user not in operators:
            if isinstance(body, dict) and body.get("type") != HELM_RELEASE:
                self.canaries.plant_manifest(body)
            return
        if body is not None:
            self._written.setdefault(user, []).append(json.dumps(body, ensure_ascii=False) + "\n")
        right, namespace = right_of(event)
        decided = event.get("annotations", {})
        if decided.get("authorization.k8s.io/decision") == "forbid":
            self.refusals.append(Refusal(right, namespace, user, decided.get("authorization.k8s.io/reason", "")))
        else:
            self.used.setdefault(user, set()).add((namespace, right))

    def _new_lines(self, log: Path) -> str:
        if not log.exists():
            return ""
        with log.open("rb") as lines:
            lines.seek(self._read.get(log, 0))
            found = lines.read()
        self._read[log] = self._read.get(log, 0) + len(found)
        return found.decode(errors="replace")

    def _plant_tokens(self) -> None:
        """Adds the tokens with which the operators authenticate to the API server."""
        files = [operator.kubeconfig for operator in OperatorProcess.made if operator.kubeconfig.exists()]
        for user in (user for file in files for user in yaml.safe_load(file.read_text())["users"]):
            self.canaries.plant(user["user"]["token"])


def right_of(event: Object) -> tuple[Right, str]:
    """Returns the right that a request needs, and its namespace."""
    target: dict[str, str] = event.get("objectRef", {})
    resource = "/".join(filter(None, (target.get("resource"), target.get("subresource")))) or event["requestURI"]
    return Right(resource, event["verb"]), target.get("namespace", "")


def granted(rules: list[Object]) -> Iterator[Right]:
    """Yields the rights in the rules of a role."""
    for rule in rules:
        for resource in rule["resources"]:
            yield from (Right(resource, verb) for verb in rule["verbs"])
