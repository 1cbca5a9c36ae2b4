"""Run inside a container: what its processes may do, what of its files can be written, where keys lie. As JSON."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STATUS = ("Name", "Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
_KERNELS = ("/proc", "/sys", "/dev")


def processes() -> Iterator[dict[str, Any]]:
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        lines = (line.partition(":") for line in (folder / "status").read_text().splitlines())
        found = {name: value.split() for name, _, value in lines if name in _STATUS}
        limits = (folder / "limits").read_text().splitlines()
        yield {**found, "core": next(line.split()[-3:-1] for line in limits if line.startswith("Max core"))}


def mounts() -> dict[str, dict[str, Any]]:
    """By their points: whether one is read-only, and its file system."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = {each[4]: (each[5].split(","), each[each.index("-") + 1]) for each in lines}
    return {at: {"readonly": "ro" in options, "type": kind} for at, (options, kind) in found.items()}


def keys(folder: str) -> Iterator[dict[str, Any]]:
    for path in (Path(at) / name for at, _, names in os.walk(folder) for name in names):
        try:
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and b"PRIVATE KEY" in path.read_bytes():
                yield {"path": str(path), "mode": oct(stat.S_IMODE(found.st_mode)), "owner": found.st_uid}
        except OSError:
            continue


def can_write(folder: str) -> bool:
    probe = Path(folder) / "probe"
    try:
        probe.write_text("")
        probe.unlink()
    except OSError:
        return False
    return True


def folders(found: dict[str, dict[str, Any]]) -> list[str]:
    """All folders where something of the container's could be written: mounts, and those of its root."""
    root = [str(each) for each in Path("/").iterdir()]
    points = [each for each in ("/", *root, *found) if Path(each).is_dir()]
    return sorted({each for each in points if not each.startswith(_KERNELS)})


def listening() -> list[str]:
    """Addresses as the kernel writes them: 0100007F:3A98 is 127.0.0.1:15000."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sorted({line[1] for line in lines if line[3] == "0A"})


def takes_low_ports() -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", 81))
        except OSError:
            return False
    return True


def main() -> None:
    found = mounts()
    writable = [each for each in folders(found) if can_write(each)]
    print(
        json.dumps(
            {
                "processes": list(processes()),
                "mounts": found,
                "keys": [each for folder in writable for each in keys(folder)],
                "writable": writable,
                "kernel": [each for each in ("/proc/sys/kernel", "/sys/fs/cgroup") if can_write(each)],
                "listening": listening(),
                "low ports": takes_low_ports(),
            }
        )
    )


if __name__ == "__main__":
    main()
