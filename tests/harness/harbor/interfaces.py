"""The interfaces of the delivery engine and of the registry, and a delivery engine that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .state import NEVER

Wire = dict[str, Any]


class Deliveries(Protocol):
    """The delivery engine: executions, tasks, logs."""

    async def start(self) -> None:
        """Begin to deliver."""

    async def stop(self) -> None:
        """Stop delivering."""

    def trigger(self, event: Any) -> None:
        """Queue an event."""

    def executions(self, policy_id: int) -> Sequence[Wire]:
        """All executions of a policy, unsorted."""

    def execution_policy(self, execution_id: int) -> int | None:
        """The policy an execution belongs to; None when there is no such execution."""

    def tasks(self, policy_id: int, execution_id: int) -> Sequence[Wire] | None:
        """The tasks of an execution; None when it is not the policy's."""

    def log(self, policy_id: int, execution_id: int, task_id: int) -> str | None:
        """The log of a task."""

    def jobs(self, policy_id: int) -> Sequence[Wire]:
        """The same as legacy jobs."""

    def open_executions(self, policy_id: int) -> int:
        """The number of executions that prevent the policy's deletion."""

    def last_trigger(self, policy_id: int, event_type: str) -> str:
        """When an event type was last queued."""

    def forget_policy(self, policy_id: int) -> None:
        """Called when a policy is deleted."""

    def jobservice_changed(self) -> None:
        """Jobservice was stopped or started."""


class Registry(Protocol):
    """The registry: an ASGI application, and its queries for the API."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve `/v2/` and `/service/token`."""

    def close(self) -> None:
        """Close its files."""

    def repositories(self, project_name: str) -> Sequence[Wire]:
        """The repositories of a project."""

    def repo_count(self, project_name: str) -> int:
        """How many there are."""

    def artifacts(self, project_name: str, repository: str) -> Sequence[Wire] | None:
        """The artifacts of a repository; None when it does not exist."""

    def delete_repository(self, project_name: str, repository: str, operator: str) -> bool:
        """Delete a repository; False if it does not exist."""

    def delete_artifact(self, project_name: str, repository: str, reference: str, operator: str) -> bool:
        """Delete an artifact; False when it does not exist."""

    def delete_tag(self, project_name: str, repository: str, tag: str, operator: str) -> bool:
        """Delete a tag; False when it does not exist."""


class NoDeliveries:
    """Without an engine nothing is ever delivered."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def trigger(self, event: Any) -> None:
        """Lose the event."""

    def executions(self, policy_id: int) -> Sequence[Wire]:
        """None."""
        return []

    def execution_policy(self, execution_id: int) -> int | None:
        """None."""
        return None

    def tasks(self, policy_id: int, execution_id: int) -> Sequence[Wire] | None:
        """None."""
        return None

    def log(self, policy_id: int, execution_id: int, task_id: int) -> str | None:
        """None."""
        return None

    def jobs(self, policy_id: int) -> Sequence[Wire]:
        """None."""
        return []

    def open_executions(self, policy_id: int) -> int:
        """None."""
        return 0

    def last_trigger(self, policy_id: int, event_type: str) -> str:
        """Never."""
        return NEVER

    def forget_policy(self, policy_id: int) -> None:
        """Nothing to forget."""

    def jobservice_changed(self) -> None:
        """Nothing changes."""
