"""The node process as a whole, as a process: how it starts, tells, fails and ends."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes.cni.nodes import Node
from tests.processes.controlplane.cluster import Cluster
from tests.support.cluster import eventually
from tests.support.ports import free_port

NETWORK = b'{"cniVersion": "0.3.1", "name": "net", "plugins": [{"type": "bridge"}]}\n\n'


class Process:
    """`weft install-cni` on a node."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.log = node, folder / "log"
        self.health, self.monitoring = free_port(), free_port()
        ports = ["--health-port", str(self.health), "--monitoring-port", str(self.monitoring)]
        self.command = [sys.executable, "-m", "weft", "install-cni", *node.arguments, *ports]

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        with self.log.open("wb") as log, subprocess.Popen(self.command, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def told(self) -> str:
        return self.log.read_text()

    def asked(self, path: str, port: int) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"
        except OSError:
            return ""


def lives(process: Process) -> None:
    """One life: no network, a network, lines of the plugin, the end."""
    node = process.node
    with process.running() as running:
        eventually(lambda: process.asked("/healthz", process.health) == "ok\n")
        eventually(lambda: "503 installer: there is no network" in process.asked("/readyz", process.health))
        (node.net / "10-net.conflist").write_bytes(NETWORK)
        eventually(lambda: "installer: 10-net.conflist, " in process.asked("/readyz", process.health))
        assert 'istio_cni_installs_total{result="SUCCESS"} ' in process.asked("/metrics", process.monitoring)
        assert node.run.stat().st_mode & 0o777 == 0o700
        assert (node.run / "log.sock").stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plugin:
            for line in (b"debug quiet", b"warn pod shop/web: away\nerror forged", b"\xff no level"):
                plugin.sendto(line, str(node.run / "log.sock"))
        eventually(lambda: "no level" in process.told())
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


async def test_it_installs_tells_and_leaves_with_its_daemon_set(tmp_path: Path) -> None:
    cluster = Cluster()  # without a DaemonSet
    async with cluster.serving():
        node = Node(tmp_path, server=cluster.url)
        process = Process(node, tmp_path)
        await asyncio.to_thread(lives, process)
    lines = [line for line in process.told().splitlines() if "weft.cni.program" in line]
    assert "quiet" not in process.told()
    assert [line.partition(" weft.cni.program ")[2] for line in lines] == [
        "pod shop/web: away error forged",
        "\ufffd no level",
    ]
    assert "WARNING" in lines[0]
    assert not (node.run / "log.sock").exists()
    assert {path.name: path.read_bytes() for path in node.net.iterdir()} == {"10-net.conflist": NETWORK}
    assert list(node.bin.iterdir()) == []


def test_what_cannot_run_ends_with_a_line_that_says_why_and_leaves_the_plugin(tmp_path: Path) -> None:
    node = Node(tmp_path)
    process = Process(node, tmp_path)
    entry = {"type": "istio-cni"}
    (node.net / "10-net.conflist").write_text(json.dumps({"name": "n", "plugins": [{"type": "bridge"}, entry]}))
    with socket.create_server(("127.0.0.1", process.monitoring)), process.running() as running:
        assert running.wait(30) == 1
    assert f"{process.monitoring}" in process.told().splitlines()[-1]
    assert "Traceback" not in process.told()
    assert b"istio-cni" in (node.net / "10-net.conflist").read_bytes()
