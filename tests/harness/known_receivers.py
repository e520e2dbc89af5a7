"""Receivers of other projects: their requirements on a notification, and their answers.

Read from their sources: Kargo (pkg/webhook/external/harbor.go, main of 2026), Argo CD Image Updater
(pkg/webhook/harbor.go and webhook.go of 1.0.0 and 1.3.0), Argo Events (pkg/eventsources/common/webhook/webhook.go and
sources/webhook/start.go of 1.9.6), Mattermost (HandleIncomingWebhook, the same since 2015).
For `Receiver.imitate`. Flux and Tekton are not imitated: tests/receivers runs them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs

from harness.receiver import Answers


def kargo(auth_header: str) -> Answers:
    """Compares the whole header; accepts only pushes in Harbor's own format."""

    def answers(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
        given = headers.get("authorization", "")
        if not given:
            return 401, json.dumps({"error": "missing authorization"})
        if given != auth_header:
            return 401, json.dumps({"error": "unauthorized"})
        event = _json(body)
        if event is None:
            return 400, json.dumps({"error": "invalid request body"})
        if event.get("type") != "PUSH_ARTIFACT":
            return 400, json.dumps({"error": "unsupported event type"})
        return 200, json.dumps({"msg": "refreshed 1 warehouse(s)"})

    return answers


def image_updater(secret: str) -> Answers:
    """Version 1.3.0. The registry's kind is in the query; every mistake is a 400 with a line of text."""

    def answers(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
        complaint = _complaint_of_image_updater(secret, headers, query, body)
        return (400, complaint + "\n") if complaint else (200, "Webhook received and processing")

    return answers


def _complaint_of_image_updater(secret: str, headers: dict[str, str], query: str, body: bytes) -> str:
    kind = parse_qs(query).get("type", [""])[0]
    if not kind:
        return "missing registry type parameter. Supported types: harbor"
    if kind != "harbor":
        return f"invalid registry type: {kind}. Supported types: harbor"
    if "application/json" not in headers.get("content-type", ""):
        return f"invalid content type: {headers.get('content-type', '')}"
    if "authorization" not in headers:
        return "missing Authorization header when secret is configured"
    if headers["authorization"] != secret:
        return "invalid webhook secret"
    event = _json(body)
    if event is None:
        return "failed to parse webhook payload"
    if event.get("type") != "PUSH_ARTIFACT":
        return f"unsupported event type: {event.get('type')}"
    resources = event["event_data"].get("resources") or []
    return "" if resources and resources[0].get("tag") else "no resources found in webhook payload"


def image_updater_1_0(secret: str) -> Answers:
    """Version 1.0.0, which expects a signature of the body, although Harbor signs nothing."""

    def answers(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if headers.get("authorization", "").removeprefix("Bearer ").removeprefix("sha256=") != signature:
            return 400, "invalid webhook signature\n"
        return 200, "Webhook received and processing"

    return answers


def argo_events(token: str, *, bus: bool = True) -> Answers:
    """An event source of kind webhook with an authSecret. It answers when the event bus has the event, or has not."""

    def answers(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
        given = headers.get("authorization", "")
        if not given.startswith("Bearer "):
            return 401, "Invalid Authorization Header"
        if given.removeprefix("Bearer ") != token:
            return 401, "Invalid Auth token"
        return (200, "success") if bus else (500, "failed to record event")

    return answers


def mattermost(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
    """Requires a text or attachments; does not support Slack's blocks."""
    message = _json(body) or {}
    if message.get("text") or "attachments" in message:
        return 200, "ok"
    error = {"id": "web.incoming_webhook.text.app_error", "message": "No text specified.", "detailed_error": ""}
    return 400, json.dumps({**error, "request_id": "cwq8rnxbw7bjzmzs4kxsz7gnqc", "status_code": 400})


def quoting(headers: dict[str, str], query: str, body: bytes) -> tuple[int, str]:
    """A gateway before the receiver that quotes the token it rejects."""
    given = headers.get("authorization", "")
    return 401, f"unknown token {given}, also as {given.upper()}, beginning with {given[:12]}..."


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
