"""A pod's volumes, a control plane, and the agent as a process of its own."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.processes.agent.istiod import TOKEN, Istiod, eventually, new_authority

from weft.adapters import http
from weft.pki import authority, pem

SCRIPT = Path(__file__).parent / "pod.py"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _name(process: str) -> str:
    """What a process is called, nothing when it ended meanwhile."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return ""


@dataclass
class Pod:
    """One pod's agent: started and ended by the test, its output in `log`."""

    home: Path
    ports: dict[str, int]
    listener: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, istiod: str, *flags: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "POD_NAME": "nginx-1",
            "POD_NAMESPACE": "sidecar",
            "INSTANCE_IP": "127.0.0.1",
            "CA_ADDR": istiod,
            "PORTS": json.dumps(self.ports),
            "PROXY_CONFIG": '{"concurrency":1,"terminationDrainDuration":"1s"}\n',
            **self.environment,
        }
        arguments = ["--domain", "sidecar.svc.cluster.local", "--proxyLogLevel=warning", *flags]
        self.started = time.monotonic()
        with (self.home / "log").open("ab") as log:
            command = [sys.executable, str(SCRIPT), str(self.home), *arguments]
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def log(self) -> str:
        return (self.home / "log").read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def envoy(self) -> int:
        """The number of the agent's Envoy, 0 when there is none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        # a child that was forked but has not become Envoy yet still carries the agent's name
        return next((int(one) for one in children if _name(one) == "envoy"), 0)

    @property
    def envoys_command(self) -> list[str]:
        return Path(f"/proc/{self.envoy}/cmdline").read_text().split("\0")

    async def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return (await self.get("status", "/healthz/ready")).status == 200
        return False

    async def get(self, port: str, path: str, method: str = "GET") -> http.Response:
        return await http.fetch(http.Target("127.0.0.1", self.ports[port]), method, path, timeout=5)

    async def exit_code(self, seconds: float = 10) -> int:
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, seconds)

    def end(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(OSError):
            if envoy := self.envoy:
                os.kill(envoy, signal.SIGKILL)
        self.process.kill()
        self.process.wait(5)
        # an Envoy that was being started meanwhile has lost its parent; it is found by its bootstrap
        bootstrap = str(self.home / "proxy" / "envoy-rev.json").encode()
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if bootstrap in entry.read_bytes().split(b"\0"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def signer() -> authority.Authority:
    return new_authority()


@pytest.fixture
def pod(signer: authority.Authority) -> Iterator[Pod]:
    # paths of Unix sockets are short, so pytest's own folders do not serve
    home = Path(tempfile.mkdtemp(prefix="weft-agent-"))
    (home / "proxy").mkdir()
    (home / "pod").mkdir()
    (home / "pod" / "labels").write_text('app="nginx"\n')
    (home / "pod" / "annotations").write_text("")
    (home / "token").write_text(TOKEN)
    (home / "root.pem").write_text(pem.certificates(signer.roots))
    admin, status, readiness, metrics, dns, listener = free_ports(6)
    ports = {"admin": admin, "status": status, "readiness": readiness, "metrics": metrics, "dns": dns}
    made = Pod(home, ports, listener)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(home)


@pytest.fixture
async def istiod(signer: authority.Authority, pod: Pod) -> AsyncIterator[Istiod]:
    server = Istiod(signer, pod.listener, "hello")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def running(pod: Pod, istiod: Istiod) -> Pod:
    pod.start(istiod.address)
    await eventually(pod.ready)
    return pod
