"""How near the machine is to its limits, and what the node's conditions say of it."""

import shutil
from dataclasses import dataclass
from os import statvfs
from pathlib import Path
from typing import NamedTuple

MEMORY_KEPT = 100 << 20  # bytes that pods shall leave free (the kubelet's memory.available)
DISK_KEPT = 0.1  # of the disk (nodefs.available)
# a tenth of a large disk is a lot: nothing of this node needs more than this
_DISK_ENOUGH = 1 << 30
_INODES_KEPT = 0.05
_PIDS_KEPT = 500
THRESHOLDS = {
    "memory.available": "100Mi",
    "nodefs.available": "1Gi",
    "nodefs.inodesFree": "5%",
    "pid.available": "500",
}
"""What must be left, as a kubelet's configuration writes it (`evictionHard`)."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of the machine. Bytes, and counts."""

    memory: int
    disk: int
    disk_free: int
    inodes: int
    inodes_free: int
    pids_free: int


def look(folder: Path) -> Room:
    """What is left now; `folder` is where images and pods' files lie."""
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    disk, inodes = shutil.disk_usage(folder), statvfs(folder)
    tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    return Room(
        memory=int(meminfo["MemAvailable"].split()[0]) * 1024,
        disk=disk.total,
        disk_free=disk.free,
        inodes=inodes.f_files,
        inodes_free=inodes.f_favail,
        pids_free=most - tasks,
    )


class Shortage(NamedTuple):
    """What the machine lacks: the resource as pods ask for it, what should be left, and what is."""

    resource: str
    threshold: str
    available: str


def shortages(room: Room) -> list[Shortage]:
    """What is short, the most pressing first."""
    found = []
    if room.memory < MEMORY_KEPT:
        found.append(Shortage("memory", "100Mi", f"{room.memory >> 10}Ki"))
    if room.disk_free < (wanted := min(int(room.disk * DISK_KEPT), _DISK_ENOUGH)):
        found.append(Shortage("ephemeral-storage", f"{wanted >> 10}Ki", f"{room.disk_free >> 10}Ki"))
    # some file systems count no inodes
    if room.inodes > 0 and room.inodes_free < (least := int(room.inodes * _INODES_KEPT)):
        found.append(Shortage("inodes", str(least), str(room.inodes_free)))
    if room.pids_free < _PIDS_KEPT:
        found.append(Shortage("pids", str(_PIDS_KEPT), str(room.pids_free)))
    return found


def conditions(room: Room) -> list[tuple[str, str, str, str]]:
    """Type, status, reason and message of each condition, in the kubelet's words."""
    short = {each.resource for each in shortages(room)}
    return [
        ("MemoryPressure", "True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
        if "memory" in short
        else ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure")
        if short & {"ephemeral-storage", "inodes"}
        else ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
        if "pids" in short
        else ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]
