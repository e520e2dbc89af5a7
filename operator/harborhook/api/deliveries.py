"""What the status of a WebhookPolicy says about its notifications."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harborhook.api.base import ApiModel, Time

MESSAGE_LIMIT = 256

DeliveryStatus = Literal["Succeeded", "Failed", "Retrying", "Pending", "Stopped"]


class LastDelivery(ApiModel):
    """What became of the newest event of a type; with several targets it failed if any of them was not reached."""

    status: DeliveryStatus = Field(
        description=(
            "Succeeded, Failed (no attempt is left), Retrying (the last attempt failed, Harbor tries again), "
            "Pending (not sent yet) or Stopped (by somebody in Harbor)."
        )
    )
    time: Time | None = Field(None, description="When the last attempt ended; for Pending, when the event happened.")
    attempts: int | None = Field(None, description="How often Harbor tried, where it tells.", ge=0)
    message: str | None = Field(
        None, description="Why the last attempt failed, from Harbor's log.", max_length=MESSAGE_LIMIT
    )


class Deliveries(ApiModel):
    """The notifications of a policy, counted by event: one event is one notification to each target."""

    in_progress: int = Field(0, description="How many notifications are not yet delivered and not yet given up.", ge=0)
    consecutive_failures: int = Field(
        0, description="How many events in a row, up to the newest, were not delivered to every target.", ge=0
    )
    last_success_time: Time | None = Field(None, description="When an event was last delivered. It never goes back.")
    last_failure_time: Time | None = Field(None, description="When Harbor last gave one up. It never goes back.")
    last_failure_message: str | None = Field(
        None, description="Why the last failure happened, from Harbor's log.", max_length=MESSAGE_LIMIT
    )
    last_execution_id: int | None = Field(
        None,
        alias="lastExecutionID",
        description="All of Harbor's executions up to this one have been counted; those above it are read again.",
    )
