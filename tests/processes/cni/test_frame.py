"""The node process as a whole, as a process: how it starts, tells, fails and ends."""

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.cluster import eventually
from tests.support.ports import free_port


class Node:
    """One running `weft install-cni` and its folders."""

    def __init__(self, folder: Path) -> None:
        self.run, self.health, self.monitoring = folder / "run", free_port(), free_port()
        self.log = folder / "log"
        self.arguments = [
            *(sys.executable, "-m", "weft", "install-cni", "--kubeconfig", str(folder / "kubeconfig")),
            *("--mounted-cni-agent-run-dir", str(self.run)),
            *("--health-port", str(self.health), "--monitoring-port", str(self.monitoring)),
        ]

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("wb") as log, subprocess.Popen(self.arguments, stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def told(self) -> str:
        return self.log.read_text()

    def asked(self, path: str, port: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def lives(self) -> bool:
        try:
            return self.asked("/healthz", self.health) == "ok\n"
        except OSError:
            return False


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_plugins_lines_are_in_our_log_and_sigterm_ends_all(node: Node) -> None:
    with node.running() as process:
        eventually(node.lives)
        assert node.run.stat().st_mode & 0o777 == 0o700
        assert (node.run / "log.sock").stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plugin:
            for line in (b"debug quiet", b"warn pod shop/web: away\nerror forged", b"\xff no level"):
                plugin.sendto(line, str(node.run / "log.sock"))
        eventually(lambda: "no level" in node.told())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    lines = [line for line in node.told().splitlines() if "weft.cni.plugin" in line]
    assert "quiet" not in node.told()
    assert [line.partition(" weft.cni.plugin ")[2] for line in lines] == [
        "pod shop/web: away error forged",
        "\ufffd no level",
    ]
    assert "WARNING" in lines[0]
    assert not (node.run / "log.sock").exists()


def test_what_cannot_run_ends_with_a_line_that_says_why(node: Node) -> None:
    with socket.create_server(("127.0.0.1", node.monitoring)), node.running() as process:
        assert process.wait(20) == 1
    assert f"{node.monitoring}" in node.told().splitlines()[-1]
    assert "Traceback" not in node.told()
