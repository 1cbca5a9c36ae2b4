"""The database of revisions. Synchronous: the store calls it from one thread."""

import sqlite3
from collections.abc import Sequence
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


class History:
    """An append-only log with a floor: below it, only what was current at the floor is kept."""

    def __init__(self, path: Path | str, keep: int) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # an acknowledged write survives a power cut
        self._db.executescript(_SCHEMA)
        self._keep = keep
        self.floor: int = self._one("SELECT max(revision) FROM floor")
        self.revision: int = max(self._one("SELECT max(revision) FROM revision"), self.floor)

    def _one(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)

    def append(self, records: Sequence[tuple[int, str, str, str, bool, bytes]]) -> None:
        """Write revision, resource, namespace, name, deleted, raw of each change in one durable transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?)", records)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self.revision = records[-1][0]
        # A fifth more than asked for is let stand, so that compaction is rare.
        if self.revision - self.floor > self._keep * 6 // 5:
            self.compact(self.revision - self._keep)

    def compact(self, floor: int) -> None:
        """Forget what nobody can ask for once history starts at `floor`."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(_COMPACT, {"floor": floor})
        self._db.execute("DELETE FROM floor")
        self._db.execute("INSERT INTO floor VALUES (?)", (floor,))
        self._db.execute("COMMIT")
        self.floor = floor

    def current(self) -> list[Record]:
        """Every object that is there now."""
        return self._db.execute(_AT.format(where=""), {"until": self.revision}).fetchall()

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
