"""istio-iptables in network namespaces that stand for pods."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

INJECTED = [
    *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*"),
    *("-d", "15090,15021,15020", "--log_output_level=default:info"),
]
"""The arguments that the webhook gives a pod's init container."""


@contextlib.contextmanager
def empty_namespace() -> Iterator[str]:
    """A namespace with nothing but loopback, gone at the end."""
    name = f"weft-rules-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


def run(namespace: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a namespace."""
    inside = ["nsenter", f"--net=/run/netns/{namespace}", *command]
    return subprocess.run(inside, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def istio_iptables(namespace: str, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run istio-iptables as an injected pod does."""
    return run(namespace, sys.executable, "-m", "weft", "agent", "istio-iptables", *argv)


def saved(namespace: str, variant: str, table: str = "nat", program: str = "iptables") -> str:
    """A table, without comments and counters."""
    text = run(namespace, f"{program}-{variant}-save", "-t", table).stdout
    lines = (line.partition(" [")[0] if line.startswith(":") else line for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if not line.startswith("#"))
