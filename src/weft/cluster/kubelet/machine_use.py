"""What the whole machine uses, from /proc."""

import os
from pathlib import Path

from weft.cluster.kubelet.stats import NodeUse

_IDLE = slice(3, 5)  # of the words of /proc/stat's first line: idle, and waiting for disks


def look(name: str, now: float) -> NodeUse:
    """What the machine uses now; `name` is what the node is called."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(word) for word in words]
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = (int(meminfo[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    return NodeUse(
        name=name,
        cpu=(sum(ticks) - sum(ticks[_IDLE])) / os.sysconf("SC_CLK_TCK"),
        memory=total - available,
        available=available,
        at=now,
        booted=now - float(Path("/proc/uptime").read_text().split()[0]),
    )
