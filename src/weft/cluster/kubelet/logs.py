"""Container logs as CRI writes them: read, cut, followed, and turned over.

A line of the file is `2026-01-03T14:59:56.123456789Z stdout F text`; P instead of F marks a part of a longer line.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
_POLL = 0.1  # seconds between looks at a log that is followed
LARGEST = 10 << 20  # bytes of a log before it is turned over (containerLogMaxSize)
FILES = 5  # a log and its older pieces (containerLogMaxFiles)
_LAST_LINES, _LAST_BYTES = 80, 2048


@dataclass(frozen=True, slots=True)
class Options:
    """What of a log is wanted. `since` is in epoch seconds; `tail` counts lines, None for all."""

    follow: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float = 0.0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file. `full` says whether it ends a line of the container's output."""

    time: bytes
    stream: bytes
    full: bool
    text: bytes


def parse(line: bytes) -> Line | None:
    """A line of a log, without its newline; None for one that is not of the format."""
    parts = line.split(b" ", 3)
    if len(parts) < 4:
        return None
    return Line(parts[0], parts[1], not parts[2].startswith(b"P"), parts[3])


def render(line: Line, *, timestamps: bool, begins: bool) -> bytes:
    """What a reader of the log sees of a line; `begins` says whether it begins a line of output."""
    head = line.time + b" " if timestamps and begins else b""
    return head + line.text + (b"\n" if line.full else b"")


def moment(time: bytes) -> float:
    """The time of a line, in epoch seconds; 0 where it cannot be read."""
    try:
        # nanoseconds are more than datetime takes
        seconds, _, rest = time.decode().partition(".")
        stamp = datetime.strptime(seconds.rstrip("Z"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        return stamp.timestamp() + float("0." + (rest.rstrip("Z") or "0"))
    except ValueError:
        return 0.0


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines of output begin."""
    file.seek(0, os.SEEK_END)
    end = file.tell()
    position, found, rest = end, 0, b""
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        block = file.read(step) + rest
        pieces = block.split(b"\n")
        # the first piece may begin in the block before
        at = position + len(block)
        for index in range(len(pieces) - 1, 0, -1):
            piece = pieces[index]
            at -= len(piece) + 1
            parsed = parse(piece) if piece else None
            if parsed is not None:
                if parsed.full and found == lines:
                    return at + len(piece) + 2
                found += parsed.full
        rest = pieces[0]
    parsed = parse(rest)
    if parsed is not None and parsed.full and found == lines:
        return len(rest) + 1
    return 0


async def read(path: Path, options: Options, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in pieces, as its reader sees it. Following goes on until the container has `ended`."""
    left = options.limit
    async for piece in _rendered(path, options, ended):
        shown = piece if left is None else piece[:left]
        if shown:
            yield shown
        if left is not None:
            left -= len(shown)
            if left <= 0:
                return


async def _rendered(path: Path, options: Options, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    begins = True
    async for lines in _lines(path, options, ended):
        out = bytearray()
        for line in lines:
            if not options.since or moment(line.time) >= options.since:
                out += render(line, timestamps=options.timestamps, begins=begins)
                begins = line.full
        if out:
            yield bytes(out)


async def _lines(path: Path, options: Options, ended: Callable[[], bool]) -> AsyncIterator[list[Line]]:
    file = _open(path)
    try:
        if file is not None and options.tail is not None:
            file.seek(tail_offset(file, options.tail))
        rest = b""
        while True:
            # asked before the read: what was written before the end is in what is read after it
            last = not options.follow or ended()
            if file is None:
                file = _open(path)
            # asked before the read, too: nothing is written to a log any more once there is a new one
            over = file is not None and _turned_over(path, file)
            while file is not None and (block := file.read(_BLOCK)):
                *whole, rest = (rest + block).split(b"\n")
                yield [line for each in whole if (line := parse(each)) is not None]
            if file is not None and over:
                file.close()
                file, rest = _open(path), b""
                continue
            if last:
                return
            await asyncio.sleep(_POLL)
    finally:
        if file is not None:
            file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _turned_over(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def last_words(path: Path) -> bytes:
    """The end of a log, as a termination message falls back to it: at most 80 lines and 2048 bytes."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(tail_offset(file, _LAST_LINES))
        lines = [line for each in file.read().split(b"\n") if (line := parse(each)) is not None]
    return b"".join(render(line, timestamps=False, begins=True) for line in lines)[-_LAST_BYTES:]


def turn_over(path: Path, now: float, largest: int = LARGEST, files: int = FILES) -> bool:
    """Move a log that has grown too large aside; whether the runtime must now reopen it.

    Older pieces are called after the time of their end; with the log itself there are at most `files`.
    """
    try:
        if path.stat().st_size < largest:
            return False
    except FileNotFoundError:
        return False
    kept = files - 2
    for old in sorted(path.parent.glob(f"{path.name}.*"), reverse=True)[kept:]:
        old.unlink(missing_ok=True)
    moment_ = datetime.fromtimestamp(now, UTC)
    path.replace(path.with_name(f"{path.name}.{moment_:%Y%m%d-%H%M%S.%f}"))
    return True
