"""The database of revisions. Synchronous: the store calls it from one thread."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS revision (
    revision INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_key ON revision (resource, namespace, name, revision);
CREATE TABLE IF NOT EXISTS floor (revision INTEGER NOT NULL);
"""
# The newest row of each key up to a revision, unless that is its deletion.
_AT = """
SELECT resource, namespace, name, revision, raw FROM revision AS r
WHERE revision <= :until AND deleted = 0 {where}
  AND NOT EXISTS (SELECT 1 FROM revision AS later
    WHERE later.resource = r.resource AND later.namespace = r.namespace AND later.name = r.name
      AND later.revision > r.revision AND later.revision <= :until)
ORDER BY resource, namespace, name
"""
_BETWEEN = """
SELECT r.namespace, r.name, r.revision, r.deleted, r.raw,
  (SELECT max(b.revision) FROM revision AS b
    WHERE b.resource = r.resource AND b.namespace = r.namespace AND b.name = r.name AND b.revision < r.revision)
FROM revision AS r WHERE r.resource = ? AND r.revision > ? AND r.revision <= ? ORDER BY r.revision
"""
_COMPACT = """
DELETE FROM revision WHERE revision <= :floor AND (deleted = 1 OR EXISTS (SELECT 1 FROM revision AS later
    WHERE later.resource = revision.resource AND later.namespace = revision.namespace
      AND later.name = revision.name AND later.revision > revision.revision AND later.revision <= :floor))
"""

Record = tuple[str, str, str, int, bytes]
"""resource, namespace, name, revision, raw"""
Step = tuple[str, str, int, int, bytes, tuple[int, bytes] | None]
"""namespace, name, revision, deleted, raw, the revision and bytes before it"""


_OURS = 0x77656674
"""What SQLite's application_id is in a database of ours."""
_SPARE = 64
"""Free pages given back at a time."""
_LOG = 4 * 1024 * 1024
"""Bytes that the write-ahead log keeps of its file after a checkpoint."""


class StoreError(Exception):
    """The database cannot be used; the message says why, and what to do."""


class History:
    """An append-only log with a floor: below it, only what was current at the floor is kept."""

    def __init__(self, path: Path | str, keep: int) -> None:
        """Raises StoreError where the file is no such database, is damaged, or another server has it."""
        self._keep = keep
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
            self._open()
        except sqlite3.Error as error:
            raise StoreError(_why(path, error)) from error

    def _open(self) -> None:
        self._db.execute(
            "PRAGMA locking_mode=EXCLUSIVE"
        )  # one server, and no reader that keeps the log from ending
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # takes effect in a new file
        tables = self._one("SELECT count(*) FROM sqlite_master WHERE name NOT IN ('revision', 'by_key', 'floor')")
        if tables or self._one("PRAGMA application_id") not in {0, _OURS}:
            raise sqlite3.DatabaseError("it holds other tables")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # an acknowledged write survives a power cut
        self._db.execute(f"PRAGMA journal_size_limit={_LOG}")
        self._db.execute(f"PRAGMA application_id={_OURS}")
        self._db.executescript(_SCHEMA)
        self.floor: int = self._one("SELECT max(revision) FROM floor")
        self.revision: int = max(self._one("SELECT max(revision) FROM revision"), self.floor)

    def _one(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)

    def append(self, records: Sequence[tuple[int, str, str, str, bool, bytes]]) -> None:
        """Write revision, resource, namespace, name, deleted, raw of each change in one durable transaction."""
        with self._transaction():
            self._db.executemany("INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?)", records)
        self.revision = records[-1][0]

    @property
    def due(self) -> bool:
        """Whether there is more history than asked for; a fifth more is let stand, so that this is rare."""
        return self.revision - self.floor > self._keep * 6 // 5

    def tidy(self) -> None:
        """Forget what is beyond the history asked for."""
        self.compact(self.revision - self._keep)

    def compact(self, floor: int) -> None:
        """Forget what nobody can ask for once history starts at `floor`, and give some of its room back."""
        with self._transaction():
            self._db.execute(_COMPACT, {"floor": floor})
            self._db.execute("DELETE FROM floor")
            self._db.execute("INSERT INTO floor VALUES (?)", (floor,))
        self.floor = floor
        self._db.execute(f"PRAGMA incremental_vacuum({_SPARE})").fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise

    def current(self) -> list[Record]:
        """Every object that is there now. Raises StoreError where the file is damaged."""
        try:
            return self._db.execute(_AT.format(where=""), {"until": self.revision}).fetchall()
        except sqlite3.Error as error:
            raise StoreError(_why(self._path, error)) from error

    def at(self, resource: str, namespace: str, revision: int) -> list[Record]:
        """The objects of a resource as they were at a revision; all namespaces if `namespace` is empty."""
        where = "AND resource = :resource" + (" AND namespace = :namespace" if namespace else "")
        values = {"until": revision, "resource": resource, "namespace": namespace}
        return self._db.execute(_AT.format(where=where), values).fetchall()

    def between(self, resource: str, since: int, until: int) -> list[Step]:
        """What happened to a resource after `since` and up to `until`, in order."""
        steps: list[Step] = []
        for *step, previous in self._db.execute(_BETWEEN, (resource, since, until)).fetchall():
            steps.append((*step, self._before(previous)))
        return steps

    def _before(self, revision: int | None) -> tuple[int, bytes] | None:
        if revision is None:
            return None
        found = self._db.execute("SELECT raw, deleted FROM revision WHERE revision = ?", (revision,)).fetchone()
        return None if found is None or found[1] else (revision, found[0])

    def close(self) -> None:
        """Close the database; what was committed stays."""
        self._db.close()


def _why(path: Path | str, error: sqlite3.Error) -> str:
    """What is wrong with a database, and the way out."""
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_BUSY" | "SQLITE_LOCKED":
            return f"{path} is in use: another API server runs on it. Stop that one first (`weft down`)."
        case "SQLITE_CANTOPEN" | "SQLITE_READONLY" | "SQLITE_FULL" | "SQLITE_IOERR":
            return f"{path} cannot be opened: {error}. Is its folder there, writable, and its disk not full?"
        case _:
            return (
                f"{path} is no database of this server, or it is damaged: {error}."
                " Put a copy of it back, or begin anew without it (`weft down`, then `weft up`)."
            )
