"""The data of the registry: blobs as files, repositories, artifacts and tags in SQLite."""

from __future__ import annotations

import hashlib
import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS repository (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, name TEXT NOT NULL UNIQUE,
    created REAL NOT NULL, updated REAL NOT NULL, pulls INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS artifact (
    repository TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    PRIMARY KEY (repository, digest));
CREATE TABLE IF NOT EXISTS tag (
    repository TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, name));
CREATE TABLE IF NOT EXISTS reference (
    repository TEXT NOT NULL, digest TEXT NOT NULL, blob TEXT NOT NULL, PRIMARY KEY (repository, digest, blob));
CREATE TABLE IF NOT EXISTS project_blob (
    project TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (project, digest));
"""


@dataclass(frozen=True)
class Artifact:
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True)
class Repository:
    id: int
    name: str
    created: float
    updated: float
    pulls: int


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class RegistryStore:
    """Everything survives a restart except unfinished uploads."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self._uploads = directory / "uploads"
        for folder in (self._blobs, self._uploads):
            folder.mkdir(parents=True, exist_ok=True)
        path = directory / "registry.sqlite"
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    # Blobs

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.partition(":")[2]

    def blob(self, digest: str) -> bytes | None:
        path = self._path(digest)
        return path.read_bytes() if path.is_file() else None

    def has_blob(self, project: str, digest: str) -> bool:
        """Whether the project has it; blobs of other projects must be uploaded again."""
        return self.blob_size(project, digest) is not None

    def blob_size(self, project: str, digest: str) -> int | None:
        query = "SELECT size FROM project_blob WHERE project = ? AND digest = ?"
        row = self._database.execute(query, (project, digest)).fetchone()
        return None if row is None else int(row[0])

    def add_blob(self, project: str, digest: str, content: bytes) -> None:
        path = self._path(digest)
        if not path.exists():
            unfinished = self._uploads / uuid.uuid4().hex
            unfinished.write_bytes(content)
            unfinished.rename(path)
        self.link_blob(project, digest, len(content))

    def link_blob(self, project: str, digest: str, size: int) -> None:
        self._database.execute("INSERT OR IGNORE INTO project_blob VALUES (?, ?, ?)", (project, digest, size))

    def release_blobs(self, project: str) -> int:
        """Drops the project's blobs that none of its artifacts needs any more; returns the freed bytes."""
        unused = """project = :project AND digest NOT IN (
            SELECT blob FROM reference WHERE repository LIKE :prefix UNION
            SELECT digest FROM artifact WHERE repository LIKE :prefix)"""
        arguments = {"project": project, "prefix": project.replace("_", "\\_") + "/%"}
        unused = unused.replace(":prefix", ":prefix ESCAPE '\\'")
        total = self._database.execute(f"SELECT TOTAL(size) FROM project_blob WHERE {unused}", arguments).fetchone()
        self._database.execute(f"DELETE FROM project_blob WHERE {unused}", arguments)
        return int(total[0])

    # Uploads

    def start_upload(self) -> str:
        number = str(uuid.uuid4())
        (self._uploads / number).touch()
        return number

    def upload(self, number: str) -> bytes | None:
        path = self._uploads / number
        return path.read_bytes() if path.is_file() else None

    def append_upload(self, number: str, content: bytes) -> int:
        path = self._uploads / number
        with path.open("ab") as file:
            file.write(content)
        return path.stat().st_size

    def end_upload(self, number: str) -> None:
        (self._uploads / number).unlink(missing_ok=True)

    # Repositories

    def repositories(self, project: str) -> list[Repository]:
        query = "SELECT id, name, created, updated, pulls FROM repository WHERE project = ? ORDER BY name"
        return [Repository(*row) for row in self._database.execute(query, (project,))]

    def repository(self, name: str) -> Repository | None:
        query = "SELECT id, name, created, updated, pulls FROM repository WHERE name = ?"
        row = self._database.execute(query, (name,)).fetchone()
        return None if row is None else Repository(*row)

    def repository_count(self, project: str) -> int:
        query = "SELECT COUNT(*) FROM repository WHERE project = ?"
        return int(self._database.execute(query, (project,)).fetchone()[0])

    def ensure_repository(self, name: str) -> Repository:
        now = time.time()
        statement = "INSERT OR IGNORE INTO repository (project, name, created, updated) VALUES (?, ?, ?, ?)"
        self._database.execute(statement, (name.partition("/")[0], name, now, now))
        repository = self.repository(name)
        assert repository is not None
        return repository

    def count_pull(self, name: str) -> None:
        self._database.execute("UPDATE repository SET pulls = pulls + 1 WHERE name = ?", (name,))

    # Artifacts and tags

    def add_artifact(self, repository: str, artifact: Artifact, blobs: list[str], tag: str) -> None:
        self.ensure_repository(repository)
        row = (repository, artifact.digest, artifact.media_type, artifact.size)
        self._database.execute("INSERT OR REPLACE INTO artifact VALUES (?, ?, ?, ?)", row)
        references = [(repository, artifact.digest, blob) for blob in blobs]
        self._database.executemany("INSERT OR IGNORE INTO reference VALUES (?, ?, ?)", references)
        if tag:
            self._database.execute("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", (repository, tag, artifact.digest))
        self._database.execute("UPDATE repository SET updated = ? WHERE name = ?", (time.time(), repository))

    def artifact(self, repository: str, reference: str) -> Artifact | None:
        """By tag or digest."""
        digest = reference if reference.startswith("sha256:") else self.tagged(repository, reference)
        query = "SELECT digest, media_type, size FROM artifact WHERE repository = ? AND digest = ?"
        row = self._database.execute(query, (repository, digest)).fetchone()
        return None if row is None else Artifact(*row)

    def artifacts(self, repository: str) -> list[Artifact]:
        query = "SELECT digest, media_type, size FROM artifact WHERE repository = ? ORDER BY rowid"
        return [Artifact(*row) for row in self._database.execute(query, (repository,))]

    def tagged(self, repository: str, tag: str) -> str | None:
        query = "SELECT digest FROM tag WHERE repository = ? AND name = ?"
        row = self._database.execute(query, (repository, tag)).fetchone()
        return None if row is None else str(row[0])

    def tags(self, repository: str, digest: str | None = None) -> list[str]:
        query = "SELECT name FROM tag WHERE repository = ? AND (? IS NULL OR digest = ?) ORDER BY name"
        return [str(row[0]) for row in self._database.execute(query, (repository, digest, digest))]

    def remove_tag(self, repository: str, tag: str) -> bool:
        statement = "DELETE FROM tag WHERE repository = ? AND name = ?"
        return self._database.execute(statement, (repository, tag)).rowcount > 0

    def remove_artifact(self, repository: str, digest: str) -> None:
        for table in ("artifact", "tag", "reference"):
            self._database.execute(f"DELETE FROM {table} WHERE repository = ? AND digest = ?", (repository, digest))

    def remove_repository(self, name: str) -> None:
        self._database.execute("DELETE FROM repository WHERE name = ?", (name,))
