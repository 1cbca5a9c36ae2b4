"""Links, addresses and routes, by batches for iproute2: one process for many changes."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from weft.adapters import netns


class NetlinkError(Exception):
    """The kernel refused a change; the message has the command and the kernel's reason."""


def batch(lines: Sequence[str], *, namespace: str = "", ipv6: bool = False) -> None:
    """Apply `ip` commands in order, in one process; NetlinkError at the first that fails.

    `ipv6` is for commands that do not show their version by an address: rules.
    """
    if not lines:
        return
    command = [*(netns.enter(namespace) if namespace else []), "ip", *(["-6"] if ipv6 else []), "-batch", "-"]
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise NetlinkError(f"{_failed(lines, done.stderr)} {done.stderr.strip()}".strip())


def _failed(lines: Sequence[str], stderr: str) -> str:
    # ip says `Command failed -:3`: the third line of the batch
    _, _, number = stderr.strip().rpartition("-:")
    return f"`ip {lines[int(number) - 1]}`:" if number.isdigit() and int(number) <= len(lines) else "ip:"


def show(what: Sequence[str], *, namespace: str = "") -> list[dict[str, Any]]:
    """What `ip -json` tells: `show(["-4", "route"])`, `show(["addr"])`."""
    command = [*(netns.enter(namespace) if namespace else []), "ip", "-json", *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise NetlinkError(f"`ip {' '.join(what)}`: {done.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return [entry for entry in found if entry]
