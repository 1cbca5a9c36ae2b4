"""The network namespaces of pods, found by the processes that run in them, in this machine's or another's /proc.

A process tells its pod by its control groups, whose names hold the pod's UID (kubelet, `cgroup_manager_linux.go`).
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# `pod<uid>` of the driver cgroupfs, `…-pod<uid with _>.slice` of systemd; runtimes put more behind it, by / or :
_POD: Final = re.compile(r"(?<![^/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?=[./:]|$)")
_STARTED: Final = 19
"""Where the start of a process is in its `stat`, behind the name: ticks since boot (proc(5), field 22)."""

_Inode = tuple[int, int]


@dataclass(frozen=True, slots=True, order=True)
class _Process:
    """A process and the pod it belongs to. Of two processes the older one is the lesser."""

    started: int
    pid: int
    uid: str


def pod_of(cgroups: str) -> str | None:
    """The UID of the pod that a process belongs to, by the text of its `/proc/PID/cgroup`.

    Where clusters run inside of pods, paths name several: the innermost counts. Version 2's path is asked first,
    then those of version 1.
    """
    lines = [line.split(":", 2) for line in cgroups.splitlines()]
    paths = [parts[2] for parts in sorted(lines, key=lambda parts: parts[0] != "0") if len(parts) == 3]
    for path in paths:
        if found := _POD.findall(path):
            return str(found[-1]).replace("_", "-")
    return None


@contextlib.contextmanager
def network_namespaces(uids: Collection[str], proc: Path = Path("/proc")) -> Iterator[Mapping[str, str]]:
    """The namespaces of those of the pods that have one of their own, as paths that hold while inside.

    One walk for all. `proc` is where the machine's /proc is mounted. The namespace of its first process, and our
    own, belong to no pod. A pod's processes may make further namespaces: its own is that of the oldest, which is
    the one that the runtime began the pod with. PermissionError without SYS_PTRACE.
    """
    with contextlib.ExitStack() as stack:
        hosts = {_inode("/proc/self/ns/net")}
        with contextlib.suppress(PermissionError):  # some machines show it to nobody
            hosts.add(_inode(str(proc / "1/ns/net")))
        found: dict[str, str] = {}
        for process in sorted(_processes(proc, frozenset(uids))):
            if process.uid not in found and (descriptor := _open(proc, process)) is not None:
                stack.callback(os.close, descriptor)
                path = f"/proc/self/fd/{descriptor}"
                if _inode(path) not in hosts:
                    found[process.uid] = path
        yield found


def _processes(proc: Path, uids: Collection[str]) -> Iterator[_Process]:
    for entry in os.scandir(proc):
        if entry.name.isdigit():
            process = _look(proc, int(entry.name))
            if process is not None and process.uid in uids:
                yield process


def _look(proc: Path, pid: int) -> _Process | None:
    """A process of a pod; None for others, and where it has ended."""
    try:
        uid = pod_of((proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace"))
        if uid is None:
            return None
        # the name in parentheses may hold anything; the fields follow the last of them
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else _Process(int(fields[_STARTED]), pid, uid)


def _open(proc: Path, process: _Process) -> int | None:
    """The network namespace of a process; None if it has ended meanwhile: its number may be another's now."""
    try:
        descriptor = os.open(proc / str(process.pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return None
    if _look(proc, process.pid) == process:
        return descriptor
    os.close(descriptor)
    return None


def _inode(path: str) -> _Inode:
    found = Path(path).stat()
    return found.st_dev, found.st_ino
