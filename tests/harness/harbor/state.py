"""The data of the stand-in: plain tables in memory and a journal on disk.

Every change is appended to the journal with one write, so a SIGKILL loses nothing; the journal is compacted at start.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]

TABLES = (
    "projects",
    "policies",
    "users",
    "robots",
    "members",
    "quotas",
    "registries",
    "configurations",
    "sessions",
    "sequences",
    "retentions",
)

NEVER = "0001-01-01T00:00:00.000Z"


def now() -> str:
    """Returns the time in Harbor's format, in milliseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class State:
    """The tables, each a dict by id (or name), and their journal."""

    def __init__(self, directory: Path) -> None:
        self._tables: dict[str, dict[Any, Any]] = {table: {} for table in TABLES}
        self._policies_of: dict[int, dict[int, Record]] = {}
        self._project_ids: dict[str, int] = {}
        self._quota_ids: dict[int, int] = {}
        self._roles: dict[tuple[int, int], int] = {}
        self._path = directory / "state.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        self._load()
        self._fold()
        self._journal = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Close the journal."""
        os.close(self._journal)

    def table(self, name: str) -> dict[Any, Any]:
        """Returns a table, for reading."""
        return self._tables[name]

    def put(self, table: str, key: Any, value: Any) -> None:
        """Write one record."""
        self._apply(table, key, value)
        self._write([table, key, value])

    def delete(self, table: str, key: Any) -> None:
        """Remove one record."""
        self._apply(table, key, None)
        self._write([table, key, None])

    def next_id(self, sequence: str) -> int:
        """Returns the next number of a sequence. As in PostgreSQL, a number is not reused."""
        value = self._tables["sequences"].get(sequence, 0) + 1
        self.put("sequences", sequence, value)
        return int(value)

    def reserve_id(self, sequence: str, value: int) -> None:
        """Reserves an id chosen by the client: the sequence continues after it."""
        if value > self._tables["sequences"].get(sequence, 0):
            self.put("sequences", sequence, value)

    def policies_of(self, project_id: int) -> list[Record]:
        """Returns the webhook policies of a project id, even if that project does not exist."""
        return list(self._policies_of.get(project_id, {}).values())

    def project_named(self, name: str) -> Record | None:
        """The project of that name."""
        key = self._project_ids.get(name)
        return None if key is None else self._tables["projects"][key]

    def quota_of(self, project_id: int) -> Record | None:
        """Returns the quota row of a project, if there is one."""
        key = self._quota_ids.get(project_id)
        return None if key is None else self._tables["quotas"][key]

    def role(self, project_id: int, user_id: int) -> int | None:
        """Returns the role of a user as a member of a project."""
        return self._roles.get((project_id, user_id))

    def _apply(self, table: str, key: Any, value: Any) -> None:
        old = self._tables[table].pop(key, None) if value is None else self._tables[table].get(key)
        if value is not None:
            self._tables[table][key] = value
        index = getattr(self, f"_index_{table}", None)
        if index is not None:
            index(key, old, value)

    def _index_projects(self, key: int, old: Record | None, new: Record | None) -> None:
        if old is not None:
            self._project_ids.pop(old["name"], None)
        if new is not None:
            self._project_ids[new["name"]] = key

    def _index_policies(self, key: int, old: Record | None, new: Record | None) -> None:
        if old is not None:
            self._policies_of.get(old["project_id"], {}).pop(key, None)
        if new is not None:
            self._policies_of.setdefault(new["project_id"], {})[key] = new

    def _index_quotas(self, key: int, old: Record | None, new: Record | None) -> None:
        if old is not None:
            self._quota_ids.pop(old["ref"]["id"], None)
        if new is not None:
            self._quota_ids[new["ref"]["id"]] = key

    def _index_members(self, _key: int, old: Record | None, new: Record | None) -> None:
        if old is not None:
            self._roles.pop((old["project_id"], old["entity_id"]), None)
        if new is not None:
            self._roles[new["project_id"], new["entity_id"]] = new["role_id"]

    def _write(self, entry: list[Any]) -> None:
        os.write(self._journal, json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def _load(self) -> None:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                table, key, value = json.loads(line)
            except ValueError:  # the line that a SIGKILL has cut off
                continue
            self._apply(table, key, value)

    def _fold(self) -> None:
        lines = [
            json.dumps([name, key, value], separators=(",", ":"))
            for name, table in self._tables.items()
            for key, value in table.items()
        ]
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self._path)
