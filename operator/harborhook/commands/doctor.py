"""`harborhook doctor`: checks whether the operator can work with a Harbor. It sends only reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import click

from harborhook.api.connections import AnyConnection
from harborhook.commands.connecting import LINE, Reached, reached
from harborhook.commands.failures import FailedError
from harborhook.commands.options import Where
from harborhook.foreign_text import clip
from harborhook.harbor.errors import ForbiddenError, RefusedError, UnauthorizedError
from harborhook.harbor.models import Project
from harborhook.plan.permissions import BOTH_LEVELS, Evidence, Known, Presence, advice, known_permissions
from harborhook.reconcile.verdicts import harbors_refusal, verdict_of

PROJECTS_CHECKED = 25
"""Number of projects whose rights are read, if none is named, to find one where the principal has rights."""


class Grade(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Worth knowing: does not stop the common features."""
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    topic: str
    grade: Grade
    sentence: str


async def examine(where: Where, project: str | None) -> list[Finding]:
    """Returns all findings, in the order of the checks."""
    findings: list[Finding] = []
    try:
        async with reached(where) as harbor:
            async for finding in _examined(harbor, project):
                findings.append(finding)  # noqa: PERF401 - what was found before a failure counts too
    except FailedError as error:
        findings.append(Finding("harbor", Grade.FAIL, str(error)))
    return findings


def is_well(findings: Sequence[Finding]) -> bool:
    return all(finding.grade is not Grade.FAIL for finding in findings)


# Output


_LABELS = {Grade.OK: ("ok   ", "green"), Grade.NOTE: ("note ", "yellow"), Grade.FAIL: ("FAIL ", "red")}


def _coloured(grade: Grade) -> str:
    text, colour = _LABELS[grade]
    return click.style(text, fg=colour)


def as_text(findings: Sequence[Finding]) -> str:
    """Returns a line for each finding; coloured if click finds a terminal."""
    lines = [f"{_coloured(found.grade)} {clip(found.sentence, LINE)}" for found in findings]
    failed = sum(found.grade is Grade.FAIL for found in findings)
    what = "1 problem" if failed == 1 else f"{failed} problems"
    return "\n".join([*lines, "", f"{what} found." if failed else "The operator can work with this Harbor.", ""])


def as_json(findings: Sequence[Finding]) -> str:
    rows = [
        {"topic": found.topic, "result": found.grade.value, "message": clip(found.sentence, LINE)} for found in findings
    ]
    return json.dumps({"ok": is_well(findings), "findings": rows}, indent=2, ensure_ascii=False) + "\n"


# Checks


async def _examined(harbor: Reached, project: str | None) -> AsyncIterator[Finding]:
    yield Finding(
        "harbor", Grade.OK, f"Harbor {harbor.version or 'of an unknown version'} answers at {harbor.client.url}."
    )
    yield _who(harbor)
    if harbor.connection is not None:
        for finding in _as_the_operator_sees_it(harbor.connection):
            yield finding
    yield _read_only(harbor)
    yield await _notifications(harbor)
    projects = await harbor.client.projects()
    yield Finding("projects", Grade.OK, f"{_counted(len(projects), 'project')} can be seen.")
    chosen, rights = await _project_to_check(harbor, projects, project)
    if project is not None and chosen is None:
        said = f"Harbor shows no project {project!r} to {harbor.principal.name}: make it, or give it rights there."
        yield Finding("projects", Grade.FAIL, said)
    for finding in await _permissions(harbor, chosen, rights, is_named=project is not None):
        yield finding
    yield await _supported(harbor, chosen)


def _who(harbor: Reached) -> Finding:
    kinds = {"SystemAdmin": "system administrator", "User": "user", "Robot": "robot account"}
    how = "log in once" if harbor.client.authentication == "Session" else "go with every request"
    principal = harbor.principal
    said = f"The credentials are those of the {kinds[principal.kind]} {principal.name}; they {how}."
    if harbor.is_robot and harbor.number is not None and harbor.number < BOTH_LEVELS:
        said += " Before Harbor 2.10 a robot with any system permission has no project permission at all."
    return Finding("principal", Grade.OK, said)


def _as_the_operator_sees_it(connection: AnyConnection) -> Iterator[Finding]:
    if connection.spec.suspend:
        yield Finding(
            "connection", Grade.NOTE, "The connection is suspended: the operator sends no requests to Harbor."
        )
    ready = connection.status.condition("Ready")
    if ready is None:
        yield Finding("connection", Grade.NOTE, "No operator has checked this connection yet: is one running?")
        return
    said = f"The operator reports about the connection: {ready.reason}: {ready.message}"
    is_bad = ready.status == "False" and not connection.spec.suspend
    yield Finding("connection", Grade.FAIL if is_bad else Grade.OK, said)


def _read_only(harbor: Reached) -> Finding:
    if not harbor.info.read_only:
        return Finding("read-only", Grade.OK, "Harbor is not in read-only mode.")
    said = "Harbor is in read-only mode: nothing can be written. Switch it off in Harbor's configuration."
    return Finding("read-only", Grade.FAIL, said)


async def _notifications(harbor: Reached) -> Finding:
    is_on = harbor.info.notification_enable is not False
    state = "Harbor's notifications are on" if is_on else "Harbor's notifications are off: no webhook is sent"
    try:
        switches = await _who_switches(harbor)
    except UnauthorizedError:
        raise
    except RefusedError as error:
        said = f"{state}; who can switch them is not known: {verdict_of(error, harbor).message}"
        return Finding("notifications", Grade.NOTE, said)
    return Finding("notifications", Grade.OK if is_on else Grade.NOTE, f"{state}; {switches}.")


async def _who_switches(harbor: Reached) -> str:
    if harbor.principal.kind != "SystemAdmin":
        return "only a system administrator can switch them, so the global switch would disable each managed policy"
    if not await harbor.client.notifications_editable():
        return "Harbor's environment locks that setting, so the global switch would disable each managed policy"
    return "this system administrator can switch them, which is how the global switch works"


async def _project_to_check(
    harbor: Reached, projects: Sequence[Project], name: str | None
) -> tuple[Project | None, frozenset[str] | None]:
    """Returns the named project, or else the one with the most rights; and the rights there."""
    if harbor.principal.kind == "SystemAdmin":
        named = [project for project in projects if name in (None, project.name)]
        return (named[0] if named else None), None
    candidates = [project for project in projects if project.name == name] if name else projects[:PROJECTS_CHECKED]
    best: tuple[Project | None, frozenset[str] | None] = (None, None)
    for project in candidates:
        rights = await harbor.client.rights(project.id)
        if best[1] is None or len(rights) > len(best[1]):
            best = project, rights
    return best


async def _permissions(
    harbor: Reached, project: Project | None, rights: frozenset[str] | None, *, is_named: bool
) -> list[Finding]:
    evidence = Evidence(
        principal=harbor.principal,
        version=harbor.number,
        creation=harbor.info.project_creation,
        project=project.name if project else None,
        rights=rights,
        is_named=is_named,
        lists=await _lists(harbor),
    )
    return [_permission(known, evidence) for known in known_permissions(evidence)]


async def _lists(harbor: Reached) -> frozenset[str]:
    if harbor.principal.kind == "SystemAdmin":
        return frozenset()
    quotas, registries = await harbor.client.may_list("quotas"), await harbor.client.may_list("registries")
    return frozenset(name for name, may in (("quota:list", quotas), ("registry:list", registries)) if may)


def _permission(known: Known, evidence: Evidence) -> Finding:
    permission = known.permission
    what = f"{permission.name} ({permission.purpose})"
    if known.presence is Presence.THERE:
        return Finding(permission.name, Grade.OK, f"Permission {what} is there: {known.how}.")
    if known.presence is Presence.UNKNOWN:
        return Finding(permission.name, Grade.NOTE, f"Permission {what} is not known: {known.how}.")
    said = f"Permission {what} is missing: {known.how}. "
    if permission.needed:
        return Finding(permission.name, Grade.FAIL, said + advice(known, evidence))
    return Finding(permission.name, Grade.NOTE, f"{said}It is needed for nothing else. {advice(known, evidence)}")


async def _supported(harbor: Reached, project: Project | None) -> Finding:
    if project is None:
        return Finding("events", Grade.NOTE, "Harbor lists its event types by project, and no project is visible.")
    try:
        supported = await harbor.client.supported(project.name)
    except ForbiddenError as error:
        said = f"{harbors_refusal(error)} The event types in project {project.name} need notification-policy:read."
        return Finding("events", Grade.NOTE, said)
    except UnauthorizedError:
        raise
    except RefusedError as error:
        said = f"Harbor does not list its event types: {verdict_of(error, harbor).message}"
        return Finding("events", Grade.NOTE, said)
    formats = ", ".join(sorted(supported.payload_formats)) or "only the default one (others came with Harbor 2.8)"
    events = ", ".join(sorted(supported.event_types))
    return Finding("events", Grade.OK, f"Event types: {events}. Payload formats: {formats}.")


def _counted(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
