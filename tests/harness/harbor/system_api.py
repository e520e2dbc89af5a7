"""`/ping`, `/health`, `/systeminfo` and `/configurations`."""

from __future__ import annotations

from typing import Any

from .configuration_defaults import DEFAULTS
from .core import Core
from .errors import forbidden
from .gojson import Model
from .http import Request, Response, Routes, ok, show
from .state import now

_ADDED_LATER = {
    "banner_message": (2, 8),
    "disabled_audit_log_event_types": (2, 13),
    "ldap_group_attach_parallel": (2, 9),
    "oidc_logout": (2, 13),
    "primary_auth_mode": (2, 8),
    "scanner_skip_update_pulltime": (2, 8),
}
_TYPES = {str: str, int: int, bool: bool}
_CONFIGURATIONS = Model("Configurations", {key: _TYPES[type(value)] for key, value in DEFAULTS.items()})
_REDIS_REFUSED = "dial tcp 127.0.0.1:16379: connect: connection refused"
_JOBSERVICE_FAILED = (
    'received unexpected status code: 500 {"code":10004,"message":"check stats of server failed with error",'
    f'"details":"{_REDIS_REFUSED}"}}'
)


class SystemApi:
    """The system's own endpoints."""

    def __init__(self, core: Core, routes: Routes) -> None:
        self._core = core
        routes.add("GET", "/ping", self.ping)
        routes.add("GET", "/health", self.health)
        routes.add("GET", "/systeminfo", self.systeminfo)
        routes.add("GET", "/configurations", self.configurations)
        routes.add("PUT", "/configurations", self.configure)

    def ping(self, _request: Request) -> Response:
        """Plain text."""
        return Response(200, "text/plain", b"Pong")

    def health(self, _request: Request) -> Response:
        """Always 200; the body reports broken parts."""
        errors = self._errors()
        names = ["core", "database", "jobservice", "portal", "redis", "registry", "registryctl"]
        if self._core.settings.chartmuseum != "off":
            names.insert(0, "chartmuseum")
        components = [_component(name, errors.get(name)) for name in names]
        return show({"components": components, "status": "unhealthy" if errors else "healthy"})

    def systeminfo(self, request: Request) -> Response:
        """Anonymous callers see less; up to 2.12 they see the version."""
        core = self._core
        modern = core.capabilities.number >= (2, 8, 0)
        info: dict[str, Any] = {"auth_mode": core.configuration("auth_mode")}
        if modern:
            info |= {"banner_message": core.configuration("banner_message"), "oidc_provider_name": ""}
            info["primary_auth_mode"] = core.configuration("primary_auth_mode")
        if core.capabilities.anonymous_version or request.principal.authenticated:
            info["harbor_version"] = core.capabilities.version
        info["self_registration"] = core.configuration("self_registration")
        if request.principal.authenticated:
            info |= self._details()
        return show(dict(sorted(info.items())))

    def configurations(self, request: Request) -> Response:
        """Every value and whether it may be changed; auth_mode is fixed once there are users."""
        core = self._core
        core.require_system(request.principal, "configuration", "read")
        minor = core.capabilities.number[:2]
        editable = not core.settings.config_overwrite
        shown: dict[str, Any] = {
            key: {"editable": editable, "value": core.configuration(key)}
            for key in DEFAULTS
            if minor >= _ADDED_LATER.get(key, (0, 0))
        }
        shown["auth_mode"]["editable"] = editable and len(core.state.table("users")) == 1
        shown["scan_all_policy"] = {}
        return show(dict(sorted(shown.items())))

    def configure(self, request: Request) -> Response:
        """Accepts a part of the configuration; nulls and unknown keys change nothing."""
        core = self._core
        values = request.decode("configurations", _CONFIGURATIONS)
        core.require_system(request.principal, "configuration", "update")
        if core.settings.config_overwrite:
            raise forbidden("current config is init by env variable: CONFIG_OVERWRITE_JSON, it cannot be updated")
        for key, value in values.items():
            core.state.put("configurations", key, value)
        core.sessions.timeout = core.configuration("session_timeout") * 60.0
        return ok()

    def _details(self) -> dict[str, Any]:
        core = self._core
        details: dict[str, Any] = {
            "current_time": now(),
            "external_url": core.external_url,
            "has_ca_root": False,
            "notification_enable": core.configuration("notification_enable"),
            "project_creation_restriction": core.configuration("project_creation_restriction"),
            "read_only": core.configuration("read_only"),
            "registry_storage_provider_name": "filesystem",
            "registry_url": core.external_url.partition("://")[2],
        }
        if core.capabilities.charts:
            details |= {"with_chartmuseum": core.settings.chartmuseum != "off", "with_notary": False}
        return details

    def _errors(self) -> dict[str, str]:
        settings = self._core.settings
        errors = {}
        if settings.chartmuseum == "down":
            errors["chartmuseum"] = _unreachable("17999/health")
        if settings.redis == "down":
            errors["redis"] = _REDIS_REFUSED
            errors["jobservice"] = _JOBSERVICE_FAILED
        if settings.jobservice == "stopped":
            errors["jobservice"] = _unreachable("17888/api/v1/stats")
        if settings.database == "down":
            errors["database"] = "dial tcp 127.0.0.1:5432: connect: connection refused"
        if settings.portal == "down":
            errors["portal"] = _unreachable("18080/")
        return errors


def _component(name: str, error: str | None) -> dict[str, str]:
    if error is None:
        return {"name": name, "status": "healthy"}
    return {"error": error, "name": name, "status": "unhealthy"}


def _unreachable(target: str) -> str:
    address = target.partition("/")[0]
    url = f"http://127.0.0.1:{target}"
    return f'failed to check health: Get "{url}": dial tcp 127.0.0.1:{address}: connect: connection refused'
