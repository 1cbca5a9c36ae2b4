"""Pods for tests: network namespaces on one bridge, with the rules of a sidecar."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SIDECAR_RULES = """*nat
:ISTIO_INBOUND - [0:0]
:ISTIO_REDIRECT - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
"""


@dataclass(frozen=True)
class Pod:
    """A network namespace with an address on the test's bridge."""

    namespace: str
    address: str

    def run(self, *command: str, seconds: float = 30, stdin: str | None = None) -> str:
        """The standard output of a command in the pod; AssertionError if it fails."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *command],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
            input=stdin,
        )
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        return done.stdout

    def capture(self) -> None:
        """Lead the pod's traffic through its sidecar."""
        self.run("iptables-restore", stdin=SIDECAR_RULES)

    @contextlib.contextmanager
    def serving(self, script: Path, *arguments: str, wrapper: tuple[str, ...] = ()) -> Iterator[None]:
        """Run a Python script of the tests in the pod; it prints a line once it listens."""
        inside = ["nsenter", f"--net=/run/netns/{self.namespace}", *wrapper]
        command = [*inside, sys.executable, str(script), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            assert process.stdout.readline(), "the server ended"
            yield
        finally:
            process.terminate()
            process.wait(5)
            process.stdout.close()


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    """An empty network namespace, whose loopback is up. It goes away at the end."""
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        _ip("netns", "del", name)


@contextlib.contextmanager
def pods(count: int) -> Iterator[list[Pod]]:
    """`count` pods at 10.77.0.11 and following. All goes away at the end."""
    mark = f"weft-t{os.getpid():x}"
    node = f"{mark}-node"
    made: list[str] = []
    try:
        _ip("netns", "add", node)
        made.append(node)
        _ip("-n", node, "link", "add", "br0", "type", "bridge")
        _ip("-n", node, "addr", "add", "10.77.0.1/24", "dev", "br0")
        _ip("-n", node, "link", "set", "br0", "up")
        result = []
        for index in range(count):
            pod = Pod(f"{mark}-{index}", f"10.77.0.{11 + index}")
            _ip("netns", "add", pod.namespace)
            made.append(pod.namespace)
            link = f"p{index}"
            _ip("-n", node, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pod.namespace)
            _ip("-n", node, "link", "set", link, "master", "br0", "up")
            _ip("-n", pod.namespace, "link", "set", "lo", "up")
            _ip("-n", pod.namespace, "addr", "add", f"{pod.address}/24", "dev", "eth0")
            _ip("-n", pod.namespace, "link", "set", "eth0", "up")
            _ip("-n", pod.namespace, "route", "add", "default", "via", "10.77.0.1")
            result.append(pod)
        yield result
    finally:
        for name in made:
            _end_processes(name)
            _ip("netns", "del", name)


def _end_processes(namespace: str) -> None:
    pids = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True
    ).stdout.split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    if pids:
        time.sleep(0.1)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10, capture_output=True)
