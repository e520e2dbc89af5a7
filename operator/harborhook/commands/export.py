"""`harborhook export`: prints the objects of a Harbor as manifests that adopt them without changing them.

Reads everything, has commands/export_plan.py make the manifests, and prints them at the end: a failure prints nothing.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from harborhook import __version__
from harborhook.api.connections import AnyConnection, HarborConnection
from harborhook.commands.connecting import LINE, Reached, reached
from harborhook.commands.export_plan import Destination, Exported, QuotaSeen, export_policy, export_project, with_access
from harborhook.commands.failures import FailedError
from harborhook.commands.manifests import commented, document, documents
from harborhook.commands.object_names import is_project_name, policy_names, project_names
from harborhook.commands.options import ByConnection, Where
from harborhook.commands.output import put_out
from harborhook.commands.progress import Advance, progress
from harborhook.foreign_text import clip
from harborhook.harbor.errors import ForbiddenError, NotFoundError, RefusedError, UnauthorizedError
from harborhook.harbor.models import Policy, Project
from harborhook.plan.references import DEFAULT_CONNECTION
from harborhook.reconcile.verdicts import verdict_of


@dataclass(frozen=True)
class ExportRequest:
    """The selection and the options of an export."""

    projects: Collection[str] = ()
    """Names in Harbor; empty: all visible projects."""
    namespace: str = ""
    connection_ref: str = ""
    managed_too: bool = False


@dataclass(frozen=True)
class ProjectContents:
    """A project in Harbor with its policies. `refusal`: why the policies could not be read."""

    project: Project
    quota: QuotaSeen
    policies: Sequence[Policy] = ()
    refusal: str = ""


@dataclass(frozen=True)
class HarborContents:
    """Everything that was read from one Harbor."""

    harbor: Reached
    rows: Sequence[ProjectContents]
    registries: dict[int, str]
    event_types: frozenset[str] | None


@dataclass(frozen=True)
class Export:
    """The YAML to print, the content of the file of Secrets, and the warnings."""

    manifests: str
    secrets: str = field(repr=False)
    complaints: tuple[str, ...]
    counts: Mapping[str, int]
    """Resources by kind."""


def run(where: Where, request: ExportRequest, secrets_file: Path | None) -> int:
    """Prints the manifests and the warnings, and returns the exit code. Raises FailedError."""
    secrets = _target(secrets_file) if secrets_file is not None else None
    found = asyncio.run(export(where, request))
    if secrets is not None:
        _write_secrets(secrets, found.secrets)
    put_out(found.manifests)
    for complaint in found.complaints:
        click.echo(f"Warning: {clip(complaint, LINE)}", err=True)
    click.echo(_summary(found.counts, secrets_file), err=True)
    return 1 if found.complaints else 0


def _summary(counts: Mapping[str, int], secrets_file: Path | None) -> str:
    said = ", ".join(f"{count} of kind {kind}" for kind, count in counts.items() if kind != "Secret")
    if not counts["Secret"]:
        return f"Exported: {said}."
    if secrets_file is not None:
        return f"Exported: {said}, and {counts['Secret']} of kind Secret to {secrets_file}: apply that first."
    return (
        f"Exported: {said}. {counts['Secret']} of kind Secret must be there first: comments list what is in "
        "each, and --secrets-file writes them."
    )


async def export(where: Where, request: ExportRequest) -> Export:
    """Raises FailedError."""
    async with reached(where) as harbor:
        source = await _read(harbor, request)
    return _written(source, list(_exports(source, request, _destination(where, request, harbor.connection))))


def _target(path: Path) -> Path:
    """Resolves a symbolic link. Raises FailedError for a file that must not be overwritten with Secrets."""
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        return target
    except OSError as error:
        raise _unwritable(path, error) from None
    if not stat.S_ISREG(found.st_mode):
        raise FailedError(f"{path} is not a file that Secrets can be written to.")
    if _is_standard_output(found):
        raise FailedError(f"{path} is where the resources go: name another file for the Secrets.")
    return target


def _is_standard_output(found: os.stat_result) -> bool:
    try:
        return os.path.samestat(found, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):  # there is no standard output, or it is not the process's own
        return False


def _write_secrets(path: Path, text: str) -> None:
    """Replaces the file; only its owner can read it, from the first byte on."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".harborhook-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> FailedError:
    return FailedError(f"The file {path} cannot be written: {error.strerror}.")


# Reading


async def _read(harbor: Reached, request: ExportRequest) -> HarborContents:
    projects = _chosen(await harbor.client.projects(), request.projects)
    with progress("Projects", len(projects)) as advance:
        rows = await _read_all(harbor, projects, advance)
    has_proxies = any(project.registry_id is not None for project in projects)
    return HarborContents(
        harbor, rows, await _registries(harbor) if has_proxies else {}, await _event_types(harbor, rows)
    )


def _chosen(seen: Sequence[Project], names: Collection[str]) -> list[Project]:
    missing = sorted(set(names) - {project.name for project in seen})
    if missing:
        raise FailedError(f"Harbor shows no project {', '.join(map(repr, missing))} to these credentials.")
    return sorted((one for one in seen if not names or one.name in names), key=lambda project: project.name)


async def _read_all(harbor: Reached, projects: Sequence[Project], advance: Advance) -> list[ProjectContents]:
    """Reads all at once: the connection's limits bound the requests. Projects deleted meanwhile are left out."""

    async def read(project: Project) -> ProjectContents | None:
        found = await _read_project(harbor, project)
        advance()
        return found

    tasks = [asyncio.create_task(read(project), name=f"read {project.name}") for project in projects]
    try:
        return [found for found in await asyncio.gather(*tasks) if found is not None]
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _read_project(harbor: Reached, project: Project) -> ProjectContents | None:
    """Returns None if the project was deleted after it was listed."""
    if not is_project_name(project.name):
        return ProjectContents(project, QuotaSeen())  # no HarborProject can have this name: skipped later
    quota = await _quota(harbor, project)
    try:
        policies = await harbor.client.policies(project.name)
    except UnauthorizedError:
        raise
    except RefusedError as error:
        if isinstance(error, (NotFoundError, ForbiddenError)) and await _is_gone(harbor, project):
            return None
        return ProjectContents(project, quota, refusal=verdict_of(error, harbor).message)
    return ProjectContents(project, quota, policies)


async def _is_gone(harbor: Reached, project: Project) -> bool:
    try:
        return not await harbor.client.project_exists(project.name)
    except UnauthorizedError:
        raise
    except RefusedError:
        return False


async def _quota(harbor: Reached, project: Project) -> QuotaSeen:
    try:
        return QuotaSeen(await harbor.client.quota_in_sight(project, is_robot=harbor.is_robot))
    except UnauthorizedError:
        raise
    except RefusedError as error:
        return QuotaSeen(refusal=verdict_of(error, harbor).message)


async def _registries(harbor: Reached) -> dict[int, str]:
    try:
        return {registry.id: registry.name for registry in await harbor.client.registries()}
    except UnauthorizedError:
        raise
    except RefusedError:
        return {}


async def _event_types(harbor: Reached, rows: Iterable[ProjectContents]) -> frozenset[str] | None:
    """Returns the event types of this Harbor, from a project with policies; None if Harbor does not list them."""
    name = next((row.project.name for row in rows if row.policies), None)
    if name is None:
        return None
    try:
        return (await harbor.client.supported(name)).event_types
    except RefusedError:
        return None


# Writing


def _destination(where: Where, request: ExportRequest, connection: AnyConnection | None) -> Destination:
    """Resources use the connection that Harbor was reached over, unless an option names another."""
    namespace = request.namespace or (where.namespace if isinstance(where, ByConnection) else "")
    if request.connection_ref:
        return Destination(namespace, {"name": request.connection_ref})
    if connection is None or connection.key == DEFAULT_CONNECTION:
        return Destination(namespace)
    if isinstance(connection, HarborConnection):
        return Destination(namespace, {"kind": connection.key.kind, "name": connection.key.name})
    return Destination(namespace, {"name": connection.key.name})


def _exports(
    source: HarborContents, request: ExportRequest, destination: Destination
) -> Iterator[tuple[str, Exported]]:
    """Yields manifests with the project's name in Harbor: project by project, each followed by its policies."""
    names = project_names([row.project.name for row in source.rows])
    policies = policy_names(
        {(row.project.name, policy.name): names[row.project.name] for row in source.rows for policy in row.policies}
    )
    for row in source.rows:
        name = row.project.name
        if not is_project_name(name):
            yield (
                name,
                Exported(None, complaints=(f"Project {clip(name, 80)!r} is left out: no resource can name it.",)),
            )
            continue
        exported = [
            _exported_project(source, row, names[name], destination),
            *(
                export_policy(
                    policy,
                    policies[name, policy.name],
                    names[name],
                    destination,
                    event_types=source.event_types,
                    managed_too=request.managed_too,
                )
                for policy in row.policies
            ),
        ]
        yield from ((name, with_access(one, name, source.harbor.connection)) for one in exported)


def _exported_project(source: HarborContents, row: ProjectContents, name: str, destination: Destination) -> Exported:
    exported = export_project(
        row.project,
        name,
        destination,
        version=source.harbor.number,
        quota=row.quota,
        registry=source.registries.get(row.project.registry_id or 0),
    )
    if not row.refusal:
        return exported
    refusal = f"Its webhook policies cannot be read: {row.refusal}"
    return replace(exported, complaints=(*exported.complaints, refusal))


def _written(source: HarborContents, exports: Sequence[tuple[str, Exported]]) -> Export:
    secrets = [exported.secret for _, exported in exports if exported.secret]
    kinds = Counter(exported.manifest["kind"] for _, exported in exports if exported.manifest)
    return Export(
        manifests=_header(source) + "".join(document(exported) for _, exported in exports),
        secrets=documents(secrets) or commented("No Secrets are needed."),
        complaints=tuple(
            f"Project {clip(name, 80)}: {said}" for name, exported in exports for said in exported.complaints
        ),
        counts={
            "HarborProject": kinds["HarborProject"],
            "WebhookPolicy": kinds["WebhookPolicy"],
            "Secret": len(secrets),
        },
    )


def _header(source: HarborContents) -> str:
    harbor = source.harbor
    return commented(
        f"Harbor {clip(harbor.version or '', 80)} at {harbor.client.url}, read by harborhook {__version__}.",
        "Applying this adopts what Harbor has and changes nothing there.",
    )
