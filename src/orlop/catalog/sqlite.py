"""The catalog in SQLite: what `images` and look-ups need at once. A cache of what the files say, never more.

It is made again when it is missing, damaged, of another version, or behind `index.json`. Rollback journal
(TRUNCATE), not WAL: it works on network file systems and keeps clear of the WAL-reset bug of SQLite < 3.51.3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..disk.disk import SPACE, Disk
from ..errors import Busy, Damaged, NoSpace
from ..model.descriptor import Descriptor
from ..model.digest import Digest
from ..model.media import DOCUMENTS
from ..ports import Facts, Tagged
from .names import Names

_APPLICATION = 0x4F524C50  # "ORLP"
_VERSION = 1
_SCHEMA = """
CREATE TABLE documents (
    digest TEXT PRIMARY KEY, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    platform TEXT NOT NULL, created TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE edges (
    parent TEXT NOT NULL, position INTEGER NOT NULL, child TEXT NOT NULL,
    media_type TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (parent, position)) WITHOUT ROWID;
CREATE INDEX edges_child ON edges (child);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One name with what hangs on it. `size`: bytes of all content below, each digest once."""

    tagged: Tagged
    platforms: tuple[str, ...]
    created: str
    size: int
    documents: int  # how many of the documents below are known
    below: tuple[Digest, ...]  # manifests and indexes below it, there or not


class SqliteCatalog:
    """`ports.Catalog`. `rebuild` is called with the catalog when it must be filled from the files."""

    def __init__(self, disk: Disk, names: Names, rebuild: Callable[[SqliteCatalog], None]) -> None:
        self._disk = disk
        self._names = names
        self._rebuild = rebuild

    def add(self, facts: Sequence[Facts]) -> None:
        with self._open() as database, _transaction(database):
            for fact in facts:
                parent = fact.descriptor
                row = (parent.digest, parent.media_type, parent.size, fact.platform, fact.created)
                edges = [
                    (parent.digest, position, child.digest, child.media_type, child.size)
                    for position, child in enumerate(fact.successors)
                ]
                database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?)", row)
                database.execute("DELETE FROM edges WHERE parent = ?", (parent.digest,))
                database.executemany("INSERT INTO edges VALUES (?, ?, ?, ?, ?)", edges)

    def find(self, digest: Digest) -> Descriptor | None:
        with self._open() as database:
            row = database.execute("SELECT media_type, digest, size FROM documents WHERE digest = ?", (digest,))
            return next((Descriptor(kind, Digest(name), size) for kind, name, size in row), None)

    def starting_with(self, prefix: str, *, algorithm: str = "", limit: int = 5) -> list[Descriptor]:
        """Documents whose hex starts with `prefix`, at most `limit`; of any algorithm, unless one is given."""
        # the names of both algorithms are equally long
        start, text = (1, f"{algorithm}:{prefix}") if algorithm else (8, prefix)
        with self._open() as database:
            rows = database.execute(
                "SELECT media_type, digest, size FROM documents WHERE substr(digest, ?, ?) = ? ORDER BY digest LIMIT ?",
                (start, len(text), text, limit),
            )
            return [Descriptor(kind, Digest(name), size) for kind, name, size in rows]

    def resolve(self, name: str) -> Tagged | None:
        return self._names.all().get(name)

    def swap(self, name: str, old: Digest | None, new: Tagged | None) -> bool:
        return self._names.swap(name, old, new)

    def names(self) -> Iterator[Tagged]:
        yield from self._names.all().values()

    def rows(self, wanted: Callable[[str], bool] = lambda _: True) -> list[Row]:
        """The names that are wanted with their totals, sorted by name."""
        rows = self._rows(wanted)
        if any(row.documents == 0 for row in rows):  # the file came back from an older copy
            self._rebuild(self)
            rows = self._rows(wanted)
        return rows

    def _rows(self, wanted: Callable[[str], bool]) -> list[Row]:
        with self._open() as database:
            return [_row(database, tagged) for name, tagged in self._names.all().items() if wanted(name)]

    def forget(self, digests: Sequence[Digest]) -> None:
        """Documents that are gone."""
        with self._open() as database, _transaction(database):
            database.executemany("DELETE FROM documents WHERE digest = ?", [(digest,) for digest in digests])
            database.executemany("DELETE FROM edges WHERE parent = ?", [(digest,) for digest in digests])

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = self._connect()
        except sqlite3.DatabaseError as error:
            if _is_busy(error) or _is_full(error):
                raise _translate(error) from error
            # damaged: it says nothing that the files do not say
            for ending in ("", "-journal", "-wal", "-shm"):
                self._disk.remove(f"catalog.db{ending}")
            database = self._connect()
        try:
            yield database
        except sqlite3.Error as error:
            raise _translate(error) from error
        finally:
            database.close()

    def _connect(self) -> sqlite3.Connection:
        if self._disk.size("catalog.db") is None:
            self._disk.close(self._disk.create("catalog.db", keep=True))
        database = sqlite3.connect(self._disk.path("catalog.db"), timeout=10, isolation_level=None)
        try:
            synchronous = "FULL" if self._disk.durable else "OFF"
            for pragma in ("trusted_schema=OFF", "mmap_size=0", "journal_mode=TRUNCATE", f"synchronous={synchronous}"):
                database.execute(f"PRAGMA {pragma}")
            if database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                self._create(database)
        except BaseException:
            database.close()
            raise
        return database

    def _create(self, database: sqlite3.Connection) -> None:
        with _transaction(database):
            if database.execute("PRAGMA user_version").fetchone()[0] == _VERSION:
                return  # another process was faster
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                database.execute(f'DROP TABLE "{table}"')
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(f"PRAGMA user_version = {_VERSION}")
        self._rebuild(self)


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


_BELOW = """
WITH RECURSIVE below (digest, media_type, size) AS (
    VALUES (?, ?, ?)
    UNION SELECT edges.child, edges.media_type, edges.size FROM below JOIN edges ON edges.parent = below.digest)
SELECT below.digest, below.media_type, below.size, documents.platform, documents.created
FROM below LEFT JOIN documents USING (digest)
"""


def _row(database: sqlite3.Connection, tagged: Tagged) -> Row:
    target = tagged.target
    found = database.execute(_BELOW, (target.digest, target.media_type, target.size)).fetchall()
    known = [(platform, created) for _, _, _, platform, created in found if platform is not None]
    return Row(
        tagged,
        platforms=tuple(sorted({platform for platform, _ in known if platform})),
        created=max((created for _, created in known), default=""),
        size=sum({digest: size for digest, _, size, _, _ in found}.values()),
        documents=len(known),
        below=tuple(Digest(digest) for digest, media_type, *_ in found if media_type in DOCUMENTS),
    )


def _is_busy(error: sqlite3.Error) -> bool:
    return "locked" in str(error) or "busy" in str(error)


def _is_full(error: sqlite3.Error) -> bool:
    return "full" in str(error)


def _translate(error: sqlite3.Error) -> Busy | NoSpace | Damaged:
    if _is_busy(error):
        return Busy(f"catalog: {error}", hint="another process has it; try again")
    if _is_full(error):
        return NoSpace(f"catalog: {error}", hint=f"free some space{SPACE}")
    return Damaged(f"catalog: {error}", hint="remove catalog.db: it is made again from the files")
