"""The control API below `/_standin/`, which only the stand-in has."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .core import Core
from .http import Request, Response, show
from .pipeline import Pipeline
from .settings import Fault


class Control:
    """Request log, counters, faults and settings."""

    def __init__(self, core: Core, pipeline: Pipeline) -> None:
        self._core = core
        self._pipeline = pipeline
        self.faults: list[Fault] = []

    def fault(self, request: Request) -> Fault | None:
        """Returns the fault for a request, if any."""
        if not self.faults:
            return None
        target = f"{request.path}?{request.raw_query}" if request.raw_query else request.path
        return next((fault for fault in self.faults if fault.takes(request.method, target, request.body)), None)

    def answer(self, request: Request) -> Response:
        """Serve one control request."""
        name = request.path.removeprefix("/_standin/").strip("/").replace("/", "_")
        method = getattr(self, f"_{request.method.lower()}_{name}", None)
        if method is None:
            return Response(404, "text/plain", b"no such control")
        values = json.loads(request.body) if request.body else None
        try:
            result = method(values)
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            return Response(400, "text/plain", f"{type(error).__name__}: {error}".encode())
        return show(result)

    def _get_requests(self, _values: Any) -> Any:
        return [dataclasses.asdict(line) for line in self._pipeline.log]

    def _delete_requests(self, _values: Any) -> Any:
        self._pipeline.log.clear()
        return {}

    def _get_counters(self, _values: Any) -> Any:
        core = self._core
        return {
            "password_hashes": core.password_hashes,
            "sessions_started": core.sessions.issued,
            "logins": len(core.state.table("sessions")),
            "requests": len(self._pipeline.log),
        }

    def _get_faults(self, _values: Any) -> Any:
        return [_described(fault) for fault in self.faults]

    def _put_faults(self, values: Any) -> Any:
        """Adds one fault; a list replaces all."""
        if isinstance(values, list):
            self.faults = [Fault(**value) for value in values]
        else:
            self.faults.append(Fault(**values))
        return {}

    def _delete_faults(self, _values: Any) -> Any:
        self.faults = []
        return {}

    def _get_settings(self, _values: Any) -> Any:
        core = self._core
        keys = ("read_only", "notification_enable", "project_creation_restriction", "quota_per_project_enable")
        return {key: core.configuration(key) for key in keys} | dataclasses.asdict(core.settings)

    def _put_settings(self, values: dict[str, Any]) -> Any:
        """Changes settings of the stand-in and, by their own names, those of Harbor's configuration."""
        core = self._core
        jobservice = core.settings.jobservice
        own = {key: value for key, value in values.items() if hasattr(core.settings, key)}
        core.settings.update(own)
        for key in values.keys() - own.keys():
            core.configuration(key)
            core.state.put("configurations", key, values[key])
        core.sessions.timeout = core.configuration("session_timeout") * 60.0
        if core.settings.jobservice != jobservice:
            core.deliveries.jobservice_changed()
        return self._get_settings(None)

    def _delete_sessions(self, _values: Any) -> Any:
        """Ends every session, as a flush of Redis does."""
        self._core.sessions.end_all()
        return {}

    def _delete_csrf(self, _values: Any) -> Any:
        """Invalidates every CSRF cookie, as twelve hours do."""
        self._core.csrf.forget()
        return {}

    def _post_events(self, values: dict[str, Any]) -> Any:
        """Triggers an event in a project without a push: `{"type", "project", ...}`, other keys as in `Event`."""
        from .deliveries import Event

        project = self._core.state.project_named(values.pop("project"))
        if project is None:
            raise ValueError("no such project")
        values.setdefault("operator", "admin")
        values.setdefault("repository", "app")
        values.setdefault("tag", "v1")
        values.setdefault("digest", f"sha256:{'a' * 64}")
        public = project["metadata"].get("public") == "true"
        event = Event(project_id=project["project_id"], project_name=project["name"], public=public, **values)
        self._core.deliveries.trigger(event)
        return {}

    def _post_sweep(self, _values: Any) -> Any:
        """Harbor's daily sweep of executions."""
        sweep = getattr(self._core.deliveries, "sweep", None)
        if sweep is not None:
            sweep()
        return {}

    def _post_sweep_logs(self, _values: Any) -> Any:
        """The sweep of task logs."""
        sweep = getattr(self._core.deliveries, "sweep_logs", None)
        if sweep is not None:
            sweep()
        return {}


def _described(fault: Fault) -> dict[str, Any]:
    return {field.name: getattr(fault, field.name) for field in dataclasses.fields(fault)}
