"""What each container was given, kept in the node's folder until it is taken away: DEL needs nothing else.

It outlives us, the pod and its networks' objects, and says what an ADD that was broken off may have left.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from weft.underlay.networks.delegates import Record

_DRAFT = ".draft"

log = logging.getLogger("weft.underlay.cache")


class Cache:
    """Records by their containers' identifiers, which are the files' names. OSError where the folder is no use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decoder = msgspec.json.Decoder(Record)

    def write(self, record: Record) -> None:
        """Keep a record, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / record.container
        draft = path.with_name(f".{record.container}.{os.getpid()}{_DRAFT}")
        # no fsync: with the node's power its pods' networks are gone, too
        draft.write_bytes(msgspec.json.encode(record))
        draft.replace(path)

    def read(self, container: str) -> Record | None:
        """The record of a container; None where there is none, or none that can be read."""
        path = self._folder / container
        try:
            return self._decoder.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("%s is passed over: it is no record of ours (%s)", path, error)
            return None

    def remove(self, container: str) -> None:
        """Forget a container."""
        (self._folder / container).unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        """Every record that can be read."""
        try:
            names = sorted(entry.name for entry in self._folder.iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            return
        for name in names:
            if (record := self.read(name)) is not None:
                yield record
