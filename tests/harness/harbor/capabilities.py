"""The differences between Harbor versions, in one record that all handlers use."""

from __future__ import annotations

from dataclasses import dataclass

_CHART_EVENTS = ("UPLOAD_CHART", "DOWNLOAD_CHART", "DELETE_CHART")

_COMMIT = {"2.16": "c50c7ddd", "2.7": "8693b25a"}
_PATCH = {"2.16": "v2.16.0", "2.7": "v2.7.4"}

_METADATA_SINCE = {
    "public": (2, 0),
    "auto_scan": (2, 0),
    "prevent_vul": (2, 0),
    "severity": (2, 0),
    "reuse_sys_cve_allowlist": (2, 0),
    "enable_content_trust": (2, 0),
    "retention_id": (2, 0),
    "enable_content_trust_cosign": (2, 5),
    "auto_sbom_generation": (2, 11),
    "proxy_speed_kb": (2, 12),
    "max_upstream_conn": (2, 15),
    "proxy_cache_local_on_not_found": (2, 16),
    "proxy_referrer_api": (2, 16),
    "proxy_cache_filter_pattern": (2, 16),
    "proxy_cache_filter_kind": (2, 16),
}


@dataclass(frozen=True)
class Capabilities:
    """One Harbor version: the features and faults that tests depend on."""

    version: str
    """As `GET /systeminfo` shows it."""
    number: tuple[int, int, int]
    event_types: tuple[str, ...]
    metadata_keys: tuple[str, ...]
    executions: bool
    """`.../policies/{id}/executions`, logs and the 412 on deletion came with 2.8."""
    payload_formats: bool
    """Before 2.8 `payload_format` is dropped silently."""
    anonymous_version: bool
    """Up to 2.12 an anonymous `GET /systeminfo` shows the version."""
    slow_password_hash: bool
    """2.7 checks a password in 3 ms, 2.16 in 90."""
    csrf_missing_message: str
    csrf_broken: bool
    """2.12.3: no session may write."""
    redis_down_is_503: bool
    robot_permissions_checked: bool
    """Up to 2.9 a robot may be created with any permission, even with `*`."""
    system_rights_void_project_rights: bool
    """2.2 to 2.9: a robot with any right on `/` loses its project rights."""
    robot_project_self: bool
    """Before 2.8 no robot reads, changes or deletes a project itself."""
    last_target_wins: bool
    """Up to 2.10 all notifications of a policy go to its last target."""
    put_takes_body_id: bool
    """2.3.0-2.4.2 and 2.5.0-2.5.1: PUT of a policy takes the id from the body, and nothing checks the project."""
    maintainer_reads_policies: bool
    default_max_attempts: int
    charts: bool
    commit: str


def capabilities(version: str) -> Capabilities:
    """The record for a version such as `2.16`, `2.7`, `2.12.3` or `v2.2.0`."""
    plain = version.removeprefix("v")
    parts = [int(part) for part in plain.split("-")[0].split(".")]
    shown = f"v{plain}" if len(parts) > 2 else _PATCH.get(plain, f"v{plain}.0")
    number = _number(shown)
    minor = number[:2]
    charts = minor < (2, 8)
    return Capabilities(
        version=shown if "-" in shown else f"{shown}-{_commit(number)}",
        number=number,
        event_types=_event_types(minor),
        metadata_keys=tuple(key for key, since in _METADATA_SINCE.items() if minor >= since),
        executions=minor >= (2, 8),
        payload_formats=minor >= (2, 8),
        anonymous_version=minor <= (2, 12),
        slow_password_hash=minor >= (2, 12),
        csrf_missing_message="CSRF token not found in request" if minor >= (2, 12) else "CSRF token invalid",
        csrf_broken=number == (2, 12, 3),
        redis_down_is_503=minor < (2, 12),
        robot_permissions_checked=minor >= (2, 10),
        system_rights_void_project_rights=(2, 2) <= minor <= (2, 9),
        robot_project_self=minor >= (2, 8),
        last_target_wins=minor <= (2, 10),
        put_takes_body_id=(2, 3, 0) <= number <= (2, 4, 2) or (2, 5, 0) <= number <= (2, 5, 1),
        maintainer_reads_policies=minor >= (2, 8),
        default_max_attempts=3 if minor >= (2, 8) else 10,
        charts=charts,
        commit=_commit(number),
    )


def _number(version: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in version.removeprefix("v").split("-")[0].split("."))
    return major, minor, patch


def _commit(number: tuple[int, int, int]) -> str:
    return _COMMIT.get(f"{number[0]}.{number[1]}", "0000abcd")


def _event_types(minor: tuple[int, int]) -> tuple[str, ...]:
    types = ["PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT"]
    if minor < (2, 8):
        types += _CHART_EVENTS
    types += ["QUOTA_EXCEED", "QUOTA_WARNING", "SCANNING_FAILED"]
    if minor >= (2, 4):
        types.append("SCANNING_STOPPED")
    types += ["SCANNING_COMPLETED", "REPLICATION"]
    if minor >= (2, 1):
        types.append("TAG_RETENTION")
    return tuple(types)
