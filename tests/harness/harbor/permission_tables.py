"""Harbor's permission tables, as its answers list them."""

from __future__ import annotations


def _pairs(*lines: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in lines:
        resource, _, actions = line.partition(": ")
        found += [(resource, action) for action in actions.split()]
    return tuple(found)


PROJECT_PERMISSIONS = _pairs(
    ".: read update delete",
    "member: create read update delete list",
    "metadata: create read update delete",
    "log: list",
    "label: create read update delete list",
    "quota: read",
    "repository: create read update delete list pull push",
    "tag-retention: create read update delete list operate",
    "immutable-tag: create update delete list",
    "configuration: read update",
    "robot: create read update delete list",
    "notification-policy: create update delete list read",
    "scan: create read stop",
    "sbom: create stop read",
    "scanner: read create",
    "artifact: create read delete list",
    "artifact-addition: read",
    "tag: list create delete",
    "accessory: list",
    "artifact-label: create delete",
    "preheat-policy: create read update delete list",
    "export-cve: create read list",
)
"""Every right in a project, in the order that a project admin sees; `.` is the project itself."""

PROJECT_PERMISSIONS_BEFORE_2_8 = _pairs(
    ".: read update delete",
    "member: create read update delete list",
    "metadata: create read update delete",
    "log: list",
    "label: create read update delete list",
    "quota: read",
    "repository: create read update delete list pull push",
    "tag-retention: create read update delete list operate",
    "immutable-tag: create update delete list",
    "helm-chart: create read delete list",
    "helm-chart-version: create read delete list",
    "helm-chart-version-label: create delete list",
    "configuration: read update",
    "robot: create read update delete list",
    "notification-policy: create update delete list read",
    "scan: create read stop",
    "scanner: read create",
    "artifact: create read delete list",
    "artifact-addition: read",
    "tag: list create delete",
    "accessory: list",
    "artifact-label: create delete",
    "preheat-policy: create read update delete list",
    "export-cve: create read list",
)
"""The same before 2.8, with Helm charts."""

PROJECT_GRANTABLE = _pairs(
    "log: list",
    "project: read delete update",
    "metadata: read create delete list update",
    "repository: read update delete list pull push",
    "artifact: read create list delete",
    "scan: create read stop",
    "sbom: create stop read",
    "tag: create list delete",
    "accessory: list",
    "artifact-addition: read",
    "artifact-label: create delete",
    "scanner: create read",
    "preheat-policy: read create delete list update",
    "immutable-tag: create delete list update",
    "notification-policy: read create delete list update",
    "tag-retention: read create delete list update",
    "label: read create delete list update",
    "quota: read",
    "robot: create read list delete",
    "export-cve: create read",
    "member: create read update list delete",
)
"""The permissions that a robot can have in a project, in the order of `GET /permissions`."""

SYSTEM_GRANTABLE = _pairs(
    "audit-log: list",
    "preheat-instance: read create delete list update",
    "project: list create",
    "replication-policy: read create delete list update",
    "replication: read create list",
    "replication-adapter: list",
    "registry: read create delete list update",
    "scan-all: read update stop create",
    "system-volumes: read",
    "garbage-collection: read create list update stop",
    "purge-audit: read create list update stop",
    "jobservice-monitor: list stop",
    "scanner: read create delete list update",
    "label: read create delete update",
    "security-hub: read list",
    "catalog: read",
    "quota: read list",
    "robot: create read list delete",
    "user: create read update list delete",
    "ldap-user: create list",
    "quota: update",
    "user-group: create read update list delete",
)
"""The permissions that a system robot can have on `/`, in the order of `GET /permissions`."""

_MAINTAINER = _pairs(
    ".: read",
    "member: read list",
    "metadata: create read update delete",
    "log: list",
    "label: create read update delete list",
    "quota: read",
    "repository: create read update delete list pull push",
    "notification-policy: list read",
    "artifact: create read delete list",
    "artifact-addition: read",
    "tag: list create delete",
    "robot: read list",
)
_DEVELOPER = _pairs(
    ".: read",
    "member: read list",
    "metadata: read",
    "log: list",
    "label: read list",
    "quota: read",
    "repository: create read update list pull push",
    "artifact: create read list",
    "artifact-addition: read",
    "tag: list create",
    "robot: read list",
)
_GUEST = _pairs(
    ".: read",
    "member: read list",
    "metadata: read",
    "log: list",
    "label: read list",
    "quota: read",
    "repository: read list pull",
    "artifact: read list",
    "artifact-addition: read",
    "tag: list",
    "robot: read list",
)
_LIMITED_GUEST = _pairs(
    ".: read",
    "quota: read",
    "repository: read list pull",
    "artifact: read list",
    "artifact-addition: read",
    "tag: list",
)

MEMBER_ROLES = {
    1: frozenset(PROJECT_PERMISSIONS + PROJECT_PERMISSIONS_BEFORE_2_8),
    2: frozenset(_DEVELOPER),
    3: frozenset(_GUEST),
    4: frozenset(_MAINTAINER),
    5: frozenset(_LIMITED_GUEST),
}
"""Project admin, developer, guest, maintainer, limited guest. All but the first are abridged."""

PUBLIC_PERMISSIONS = frozenset(
    _pairs(
        ".: read",
        "label: read list",
        "repository: read list pull",
        "artifact: read list",
        "artifact-addition: read",
        "tag: list",
    )
)
"""The rights of anonymous callers in a public project."""
