"""What a node's process tells of its network, and to whom."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.support.netns import namespace

from weft.adapters import netns
from weft.processes.cni.pods import Pods
from weft.processes.underlay import observing, swallowing
from weft.redirect.interfaces import Interface
from weft.underlay.paths.world import Sight

NAMESPACE = "weft-observed"


@pytest.fixture(scope="module", autouse=True)
def _namespace() -> Iterator[None]:
    with namespace(NAMESPACE):
        yield


class Known:
    """Pods that are known without an API server."""

    async def find(self, namespace: str, name: str, uid: str, patience: float) -> dict[str, Any] | None:
        known = {"metadata": {"namespace": "shop", "name": "web", "uid": "no-process-has-it"}}
        return known if (namespace, name) == ("shop", "web") else None


def asked(folder: Path, pod: str) -> subprocess.CompletedProcess[bytes]:
    program = "import sys, pathlib; from weft.processes.underlay import observing; "
    program += "sys.exit(observing.request(sys.argv[1], pathlib.Path(sys.argv[2])))"
    command = [sys.executable, "-c", program, pod, str(folder)]
    return subprocess.run(command, capture_output=True, check=False, timeout=60)


def as_nobody(folder: Path) -> str:
    """What becomes of a connection that nobody (the user) makes."""
    program = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    command = ["/usr/bin/python3", "-c", program, str(folder / observing.SOCKET)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, user=65534, group=65534
    )
    return done.stderr


async def test_root_is_told_what_a_node_holds_and_nobody_else_is() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        async with observing.serving(folder, "weft-2", cast("Pods", Known())):
            told = await asyncio.to_thread(asked, folder, "shop/web")
            strange = await asyncio.to_thread(asked, folder, "shop/other")
            refused = await asyncio.to_thread(as_nobody, folder)
            os.chmod(folder, 0o755)  # noqa: PTH101 -- pathlib's would be called blocking
            refused_by_the_socket_itself = await asyncio.to_thread(as_nobody, folder)
    assert told.returncode == 0, told.stderr
    sight = msgspec.json.decode(told.stdout, type=Sight)
    assert (sight.node, sight.pod) == ("weft-2", None)
    assert sight.why.startswith("no process of it runs")
    assert {link.name for link in sight.host.links} >= {"lo"}
    assert (strange.returncode, strange.stdout) == (1, b"")
    assert strange.stderr == b'pod "shop/other" is not on node weft-2, or not known to it yet\n'
    assert "PermissionError" in refused
    assert "PermissionError" in refused_by_the_socket_itself


def test_a_pod_of_the_mesh_loses_connections_by_a_veth0_without_address_and_others_do_not() -> None:
    def links(*commands: str) -> None:
        for command in commands:
            subprocess.run(["ip", "-n", NAMESPACE, *command.split()], check=True, timeout=10)

    links("link add veth0 type veth peer name far", "link add eth0 type veth peer name other")
    links("link set veth0 up", "link set eth0 up", "addr add 10.6.0.9/16 dev eth0")
    meshed: dict[str, Any] = {
        "metadata": {"annotations": {"sidecar.istio.io/status": "{}"}},
        "spec": {"containers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]},
    }
    # the namespace of the test itself holds the far ends, too
    path = str(netns.NETNS / NAMESPACE)
    found = {(each.interface, each.version) for each in swallowing.look(meshed, path) if each.interface == "veth0"}
    assert found == {("veth0", 4)}
    by_init = {**meshed, "spec": {**meshed["spec"], "initContainers": [{"name": "istio-init"}]}}
    assert ("veth0", 4) in {(each.interface, each.version) for each in swallowing.look(by_init, path)}
    assert swallowing.look({"metadata": {}, "spec": {}}, path) == ()
    links("addr add 169.254.100.1/32 dev veth0")
    assert "veth0" not in {each.interface for each in swallowing.look(meshed, path)}
    assert swallowing.swallowed(meshed, [Interface("lo")]) == ()
