"""The part of a WebhookPolicy's status that describes its notifications."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harborhook.api.base import ApiModel, Time

MESSAGE_LIMIT = 256
SUBJECT_LIMIT = 512

RECENT_LIMIT = 10
"""Events listed in `recent`: as many as fit on a screen."""
REDELIVERED_LIMIT = 500
"""Execution ids recorded as redelivered. Harbor keeps the newest 50 executions of each policy and vendor type (WEBHOOK
and SLACK), but sweeps only once a day: in between there can be more."""

DeliveryStatus = Literal["Succeeded", "Failed", "Retrying", "Pending", "Stopped"]
RedeliveryStatus = Literal["Pending", "Succeeded", "Failed", "Expired"]


class LastDelivery(ApiModel):
    """Result of the newest event of a type; with several targets it is Failed if any target was not reached."""

    status: DeliveryStatus = Field(
        description=(
            "Succeeded, Failed (no attempt is left), Retrying (the last attempt failed, Harbor tries again), "
            "Pending (not sent yet) or Stopped (in Harbor, by a person)."
        )
    )
    time: Time | None = Field(None, description="When the last attempt ended; for Pending, when the event happened.")
    attempts: int | None = Field(None, description="Number of attempts, where Harbor reports it.", ge=0)
    message: str | None = Field(
        None, description="Why the last attempt failed, from Harbor's log.", max_length=MESSAGE_LIMIT
    )


class RecentRedelivery(ApiModel):
    """The redelivery of one event."""

    status: RedeliveryStatus = Field(
        description=(
            "Pending (waiting), Succeeded, Failed (the last attempt was not answered with 2xx) or "
            "Expired (it is older than spec.redelivery.maxAge)."
        )
    )
    time: Time | None = Field(None, description="When the last attempt ended.")
    attempts: int | None = Field(None, description="Number of attempts by the operator.", ge=0)
    message: str | None = Field(None, description="Why the last attempt failed.", max_length=MESSAGE_LIMIT)


class RecentDelivery(ApiModel):
    """One event and the result of its notifications."""

    execution_id: int = Field(
        alias="executionID",
        description="Harbor's id of the notification that stands for the event: the failed one, if one failed.",
    )
    event_type: str = Field(description="The type of the event.", max_length=64)
    subject: str | None = Field(
        None,
        description="Repository and tag, or the first 12 digits of the digest, that the event is about.",
        max_length=SUBJECT_LIMIT,
    )
    time: Time = Field(description="When the event happened.")
    status: DeliveryStatus = Field(description="The result of the delivery, as in lastDelivery.")
    attempts: int | None = Field(None, description="Number of attempts, where Harbor reports it.", ge=0)
    message: str | None = Field(
        None, description="Why the last attempt failed, from Harbor's log.", max_length=MESSAGE_LIMIT
    )
    redelivery: RecentRedelivery | None = Field(
        None, description="Result of the redelivery by the operator. Absent if there was none."
    )


class TargetRedelivery(ApiModel):
    """The notifications to one target that wait to be sent again."""

    target: int = Field(description="Index of the target in spec.targets, from 0.", ge=0, le=15)
    waiting: int = Field(description="How many notifications wait.", ge=0)
    attempts: int = Field(0, description="How many attempts in a row have failed.", ge=0)
    last_attempt_time: Time | None = Field(None, description="When the last attempt was made.")
    next_attempt_time: Time | None = Field(None, description="When the next attempt is made.")
    message: str | None = Field(None, description="Why the last attempt failed.", max_length=MESSAGE_LIMIT)


class Deliveries(ApiModel):
    """The notifications of a policy, counted by event: one event is one notification to each target."""

    in_progress: int = Field(
        0, description="Number of notifications that are neither delivered nor finally failed.", ge=0
    )
    consecutive_failures: int = Field(
        0, description="Number of consecutive events, up to the newest, that were not delivered to every target.", ge=0
    )
    last_success_time: Time | None = Field(None, description="When an event was last delivered. It never moves back.")
    last_failure_time: Time | None = Field(
        None, description="When Harbor last stopped retrying a notification. It never moves back."
    )
    last_failure_message: str | None = Field(
        None, description="Why the last failure happened, from Harbor's log.", max_length=MESSAGE_LIMIT
    )
    last_execution_id: int | None = Field(
        None,
        alias="lastExecutionID",
        description="The operator has counted all of Harbor's executions up to this ID, and reads later ones again.",
    )
    recent: list[RecentDelivery] = Field(
        [],
        description="The newest events, newest first, as in Harbor's own list.",
        max_length=RECENT_LIMIT,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["executionID"]},
    )
    undelivered: int = Field(
        0, description="How many events failed, were not redelivered, and are still in Harbor.", ge=0
    )
    redeliveries: list[TargetRedelivery] = Field(
        [],
        description="Notifications waiting for redelivery, one row per target.",
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["target"]},
    )
    redelivered_ids: list[int] = Field(
        [],
        alias="redeliveredIDs",
        description="Harbor's executions that were redelivered, so that none is sent twice.",
        max_length=REDELIVERED_LIMIT,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
