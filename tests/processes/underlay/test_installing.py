"""The plugins installed on a node, beside a mesh's in either order, and taken away."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.processes.cni import nodes
from tests.processes.cni.nodes import until
from tests.processes.underlay.node import Folders

from weft.adapters.kube.client import Kube
from weft.cni_plugin import UNDERLAY
from weft.processes.cni import installing as mesh_installing
from weft.processes.cni.health import Health
from weft.processes.cni.metrics import Registry
from weft.processes.underlay import installing
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.plugins import TYPES

PODS = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [{"type": "ptp", "capabilities": {"portMappings": True}}],
}


class Node:
    """A node with our installer, and one with the mesh's, on the same folders."""

    def __init__(self, folder: Path) -> None:
        self.folders = Folders(folder)
        for each in TYPES:
            (self.folders.bin / each).unlink()
        (folder / "mesh").mkdir()
        self.mesh = nodes.Node(folder / "mesh")
        places = ["--mounted-cni-net-dir", str(self.folders.net), "--mounted-cni-bin-dir", str(self.folders.bin)]
        self.mesh.arguments += places
        (folder / "kubeconfig").write_text((folder / "mesh" / "kubeconfig").read_text())
        self.settings, self.health = self.folders.settings(), Health()

    @contextlib.asynccontextmanager
    async def installing(self) -> AsyncIterator[None]:
        kube = Kube(self.settings.api.access())
        chooser = Chooser(self.settings, Definitions(kube))
        installer = installing.Installer(self.settings, chooser, self.health.expect("installer"))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(installer.run())
            yield
            task.cancel()

    def types(self, name: str) -> list[str]:
        path = self.folders.net / name
        found = json.loads(path.read_bytes()) if path.exists() else {}
        return [each["type"] for each in found.get("plugins", [found] if found else [])]

    @property
    def names(self) -> list[str]:
        return sorted(each.name for each in self.folders.net.iterdir() if each.name[:1] in "01")


async def test_the_plugins_are_installed_kept_and_taken_away(tmp_path: Path) -> None:
    node = Node(tmp_path)
    async with node.installing():
        await until(lambda: "there is none in" in node.health.waiting.get("installer", ""))
        assert all((node.folders.bin / each).read_bytes() == UNDERLAY.read_bytes() for each in TYPES)
        node.folders.write("10-pods.conflist", PODS)
        await until(lambda: not node.health.waiting)
        ours = json.loads((node.folders.net / "00-multus.conf").read_bytes())
        assert ours == node.folders.config("1.0.0") | {"capabilities": {"portMappings": True}}
        (node.folders.net / "00-multus.conf").unlink()
        (node.folders.bin / "multus").write_bytes(b"")
        await until(lambda: node.types("00-multus.conf") == ["multus"])
        await until(lambda: (node.folders.bin / "multus").read_bytes() == UNDERLAY.read_bytes())
        node.folders.write("00-aaa.conflist", PODS)
        await until(lambda: "00-aaa.conflist comes before us" in node.health.waiting.get("installer", ""))
        (node.folders.net / "00-aaa.conflist").unlink()
        await until(lambda: not node.health.waiting)
    assert len(installing.uninstall(node.settings)) == 1 + len(TYPES)
    assert node.names == ["10-pods.conflist"]
    assert not any((node.folders.bin / each).exists() for each in TYPES)
    assert installing.uninstall(node.settings) == []


@pytest.mark.parametrize("mesh_first", [True, False])
async def test_beside_a_mesh_its_plugin_comes_once_and_after_ours(tmp_path: Path, *, mesh_first: bool) -> None:
    node = Node(tmp_path)
    node.folders.write("10-pods.conflist", PODS)
    first, second = node.mesh.installing(), node.installing()
    async with contextlib.AsyncExitStack() as stack:
        for each in (first, second) if mesh_first else (second, first):
            await stack.enter_async_context(each)
            await until(lambda: not node.health.waiting and not node.mesh.health.waiting)
        await until(lambda: node.types("00-multus.conflist") == ["multus", "istio-cni"])
        await until(lambda: not node.health.waiting and not node.mesh.health.waiting)
        assert node.types("10-pods.conflist") == ["ptp"]
        assert node.types("00-multus.conf") == []
    # whoever goes first leaves the other at work
    if mesh_first:
        mesh_installing.uninstall(node.mesh.settings())
        assert node.types("00-multus.conf") == ["multus"]
        installing.uninstall(node.settings)
    else:
        installing.uninstall(node.settings)
        node.mesh.registry = Registry()
        async with node.mesh.installing():
            await until(lambda: node.types("10-pods.conflist") == ["ptp", "istio-cni"])
        mesh_installing.uninstall(node.mesh.settings())
    assert node.names == ["10-pods.conflist"]
    assert node.types("10-pods.conflist") == ["ptp"]
