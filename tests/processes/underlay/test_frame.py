"""The node process as a whole, as a process: how it starts, tells, and ends."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.processes.cni import nodes
from tests.processes.controlplane.cluster import Cluster
from tests.processes.underlay.node import Folders
from tests.support.cluster import eventually
from tests.support.ports import free_port

from weft.processes.underlay.plugins import TYPES

PODS = {"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp"}]}


def asked(path: str, port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError:
        return ""


def lives(folders: Folders, log: Path) -> None:
    """One life: no network, a network, the end."""
    health, metrics = free_port(), free_port()
    ports = [f"--spiderpool-health-port={health}", f"--spiderpool-metric-http-port={metrics}"]
    command = [sys.executable, "-m", "weft", "spiderpool-agent", *folders.flags, *ports]
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as running:
        try:
            eventually(lambda: asked("/healthz", health) == "ok\n")
            eventually(lambda: "installer: the node has no network of its own" in asked("/readyz", health))
            folders.write("10-pods.conflist", PODS)
            eventually(lambda: "in 00-multus.conf" in asked("/readyz", health))
            assert "spiderpool_cni_calls_total" in asked("/metrics", metrics)
            assert folders.run.stat().st_mode & 0o777 == 0o700
            environment = {"CNI_COMMAND": "STATUS", "PATH": "/usr/bin"}
            text = json.dumps(folders.config()).encode()
            done = subprocess.run([folders.bin / "multus"], input=text, env=environment, check=False, timeout=30)
            assert done.returncode == 0
            running.send_signal(signal.SIGTERM)
            assert running.wait(30) == 0
        finally:
            running.kill()


async def test_it_installs_answers_and_leaves_with_its_daemon_set(tmp_path: Path) -> None:
    cluster = Cluster()  # without a DaemonSet
    async with cluster.serving():
        nodes.Node(tmp_path, server=cluster.url)  # its kubeconfig
        (tmp_path / "net.d").rmdir()
        folders = Folders(tmp_path)
        await asyncio.to_thread(lives, folders, tmp_path / "log")
    told = (tmp_path / "log").read_text()
    assert "uninstalled: 00-multus.conf: taken away" in told, told
    assert [each.name for each in folders.net.iterdir()] == ["10-pods.conflist"]
    assert not any((folders.bin / each).exists() for each in TYPES)
