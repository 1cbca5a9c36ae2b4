"""Taking away a cluster whose processes were killed, with a real containerd and a real sandbox in it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cluster.machine.test_links import snapshot

from weft.adapters import files, netlink, netns, processes
from weft.adapters.cri import descriptors
from weft.adapters.cri.client import Runtime
from weft.adapters.cri.types import SandboxSpec
from weft.cluster.kubelet.images import Images
from weft.cluster.machine import commands, network, nodes, record, removal
from weft.cluster.machine.layout import Layout
from weft.cluster.machine.supervision import Supervisor

CNI_CACHE = Path("/var/lib/cni/results")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Layout, str]]:
    layout = Layout(tmp_path / "home")
    outer = f"outer-{layout.id}"
    netlink.batch([f"netns add {outer}"])
    netlink.batch(["link set lo up"], namespace=outer)
    yield layout, outer
    removal.remove(layout, data=True)
    netns.remove(outer)


async def start_with_pod(layout: Layout, outer: str) -> Supervisor:
    """A node's containerd, and one sandbox in it."""
    record.save(layout.home, record.of(layout, machine_namespace=1))
    netns.inside(outer, lambda: network.ensure(layout))
    (node,) = layout.nodes
    nodes.configure(node)
    supervisor = Supervisor({})
    supervisor.ensure(commands.containerd(layout, node))
    socket = commands.paths(node).socket
    async with asyncio.timeout(20):
        while not socket.exists():
            supervisor.check()
            await asyncio.sleep(0.05)
    async with Runtime(socket, descriptors.load()) as runtime:
        await runtime.version()
        await Images(runtime, socket, layout.home / "images.yaml", time.time).bring_pause()
        await runtime.run_sandbox(
            SandboxSpec(
                name="one",
                uid="1-2-3",
                namespace="default",
                attempt=0,
                hostname="one",
                log_directory=str(node.home / "logs"),
                cgroup_parent=f"/{layout.tag}",
            )
        )
    return supervisor


def shared(layout: Layout) -> list[Path]:
    """What the cluster's sandboxes have in places that all containerds and libcni share."""
    found = []
    for bundle in removal._bundles(removal._whole(layout)):
        cached = [CNI_CACHE / f"weft-{bundle.id}-eth0", CNI_CACHE / f"cni-loopback-{bundle.id}-lo"]
        found += cached
        found += [bundle.socket] if bundle.socket else []
    return found


def exists(path: Path) -> bool:
    return path.exists()


def leftovers(layout: Layout) -> list[str]:
    """What outside of home bears the cluster's name, or is its pods'."""
    found = processes.find(
        lambda command: any(str(layout.home) in word or str(layout.run) in word for word in command)
    )
    cached = [str(path) for path in CNI_CACHE.glob("weft-*") if removal._is_of(path, layout.home)]
    return [str(one) for one in found] + cached


@pytest.mark.parametrize("loss", ["nothing", "the record", "the namespaces"])
async def test_after_a_crash_everything_goes(machine: tuple[Layout, str], loss: str) -> None:
    layout, outer = machine
    before = snapshot(layout, outer)
    supervisor = await start_with_pod(layout, outer)
    assert snapshot(layout, outer) != before
    elsewhere = shared(layout)
    assert len(elsewhere) == 3
    assert all(map(exists, elsewhere))
    for identity in supervisor.started:
        os.kill(identity.pid, signal.SIGKILL)
    if loss == "the record":
        record.path(layout.home).write_text('{"home": "/')
    if loss == "the namespaces":
        for name in (layout.lan_namespace, layout.nodes[0].namespace):
            netns.remove(name)

    removed = removal.remove(layout, data=True)

    assert removed.counts["container processes"] == 1
    assert removed.counts["pod namespaces"] == 1
    settle(layout, outer, before)
    assert snapshot(layout, outer) == before
    assert leftovers(layout) == []
    assert not any(map(exists, elsewhere))
    assert not layout.home.exists()
    assert removal.remove(layout, data=True).counts == {}


def settle(layout: Layout, outer: str, before: tuple[object, ...]) -> None:
    """Namespaces that were unlinked under their processes end a moment after them."""
    deadline = time.monotonic() + 3
    while snapshot(layout, outer) != before and time.monotonic() < deadline:
        time.sleep(0.05)


def test_only_processes_that_name_this_home_are_ours() -> None:
    layout = Layout(Path("/srv/weft"))
    python = sys.executable

    assert commands.is_ours((python, "-m", "weft", "node", "--home", "/srv/weft", "--name", "weft"), layout)
    assert commands.is_ours(("containerd", "--config", "/srv/weft/nodes/weft/containerd/config.toml"), layout)
    assert commands.is_ours(
        ("/usr/bin/containerd-shim-runc-v2", "-address", f"/run/weft/{layout.id}/weft/containerd.sock"), layout
    )
    socket = f"/run/weft/{layout.id}/weft/containerd.sock"
    assert commands.is_ours(("ctr", "--address", socket, "images", "import", "-"), layout)
    assert not commands.is_ours(("ctr", "--address", "/run/containerd/containerd.sock", "images"), layout)
    assert not commands.is_ours(("/usr/bin/containerd",), layout)
    assert not commands.is_ours((python, "-m", "weft", "node", "--home", "/srv/weft-2"), layout)
    assert not commands.is_ours((python, "-m", "weft", "up", "--home", "/srv/weft"), layout)
    assert not commands.is_ours(("vim", "/srv/weft/nodes/weft/containerd/config.toml"), layout)
    assert not commands.is_ours(("containerd-shim-runc-v2", "-address", "/run/containerd/containerd.sock"), layout)


def test_a_process_number_that_passed_to_another_is_left_alone(tmp_path: Path) -> None:
    identity = processes.start(["sleep", "30"], log=tmp_path / "log")
    try:
        processes.end([processes.Identity(identity.pid, identity.started - 1)], patience=0.1)
        assert processes.alive(identity)
    finally:
        processes.kill([identity])
    assert not processes.alive(identity)


def test_a_process_that_ignores_the_polite_signal_is_ended_by_force(tmp_path: Path) -> None:
    identity = processes.start(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], log=tmp_path / "log")
    time.sleep(0.2)
    processes.end([identity], patience=0.3)

    assert not processes.alive(identity)


def test_nothing_is_deleted_through_a_mount(tmp_path: Path) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    for path in (precious, folder / "view"):
        path.mkdir(parents=True)
    (precious / "letter").write_text("mine")
    subprocess.run(["mount", "--bind", precious, folder / "view"], check=True)
    try:
        with pytest.raises(OSError, match="still mounted"):
            files.remove(folder)
    finally:
        files.unmount(folder / "view")
    assert (precious / "letter").read_text() == "mine"


def test_mounts_under_the_home_go_last_mounted_first(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "home", run_root=tmp_path / "run")
    record.save(layout.home, record.of(layout, machine_namespace=1))
    outer_mount = layout.home / "nodes" / "weft dir"
    outer_mount.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", outer_mount], check=True)
    (outer_mount / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", outer_mount / "inner"], check=True)

    assert removal.remove(layout, data=True).counts["mounts"] == 2
    assert not [point for point in files.mounts() if str(point).startswith(str(tmp_path))]
    assert not layout.home.exists()
