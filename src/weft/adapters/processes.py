"""Processes of this machine: started apart from us, found again, ended, weighed."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, never another: its number, and its start in ticks since boot (proc(5), stat 22)."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Found:
    """A process that runs, with its command line."""

    identity: Identity
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in KiB: resident, and proportional (shared pages divided among those that share them)."""

    rss: int
    pss: int


class EndedError(OSError):
    """A process was started, and ended at once; its log may say why."""


def start(command: Sequence[str], *, log: Path) -> Identity:
    """Start a process in a session of its own: it outlives us and our terminal. Its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    identity = identify(child.pid)
    # we do not wait for it: it is looked at by its identity, here and in later runs
    child.returncode = 0
    if identity is None:
        raise EndedError(f"{command[0]} ended at once; see {log}")
    return identity


def identify(pid: int) -> Identity | None:
    """The process that has this number now; None where there is none, or only its remains."""
    try:
        # the name in parentheses may hold anything; the fields follow the last of them
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else Identity(pid, int(fields[19]))


def alive(identity: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(identity.pid) == identity


def find(ours: Callable[[tuple[str, ...]], bool]) -> list[Found]:
    """All processes whose command line is `ours`."""
    return [found for found in _all() if ours(found.command)]


def _all() -> Iterator[Found]:
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            command = tuple(os.fsdecode(part) for part in (entry / "cmdline").read_bytes().split(b"\0")[:-1])
            identity = identify(int(entry.name))
            if command and identity:
                yield Found(identity, command)


def end(identities: Iterable[Identity], *, patience: float) -> None:
    """End processes: politely, and after `patience` seconds by force. Returns when they are gone."""
    left = [identity for identity in identities if alive(identity)]
    for number, wait in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for identity in left:
            _send(identity, number)
        left = _wait(left, wait)
        if not left:
            return
    raise OSError(f"processes that do not end: {', '.join(str(identity.pid) for identity in left)}")


def kill(identities: Iterable[Identity]) -> None:
    """End processes by force, at once."""
    left = list(identities)
    for identity in left:
        _send(identity, signal.SIGKILL)
    if stubborn := _wait(left, 5.0):
        raise OSError(f"processes that do not end: {', '.join(str(identity.pid) for identity in stubborn)}")


def _send(identity: Identity, number: signal.Signals) -> None:
    # a descriptor names the process itself: its number cannot pass to another between look and signal
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        if alive(identity):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _wait(identities: Sequence[Identity], seconds: float) -> list[Identity]:
    deadline = time.monotonic() + seconds
    left = [identity for identity in identities if alive(identity)]
    while left and time.monotonic() < deadline:
        time.sleep(0.01)
        left = [identity for identity in left if alive(identity)]
    return left


def pause(seconds: float) -> None:
    """Wait for the kernel."""
    time.sleep(seconds)


def memory(pid: int) -> Memory | None:
    """What a process weighs; None where it is gone."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    sizes = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}
    return Memory(rss=sizes.get("Rss", 0), pss=sizes.get("Pss", 0))
