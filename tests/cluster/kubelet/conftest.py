"""A real containerd in a network namespace of its own, and a node's pods on it."""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.cluster.kubelet.support import Containerd, Memory, Node

from weft.adapters.cri import descriptors
from weft.adapters.cri.client import CriError, Runtime
from weft.cluster.kubelet import runtime_config
from weft.cluster.kubelet.environment import NodeFacts
from weft.cluster.kubelet.images import Images
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.recorder import Recorder
from weft.cluster.kubelet.runtime_config import RuntimePaths
from weft.cluster.kubelet.station import Station

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), path)
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    name = f"weft-test-{os.getpid()}"
    run = Path("/run/weft") / name
    paths = RuntimePaths(home=tmp_path_factory.mktemp("node"), run=run)
    for folder in (paths.config.parent, paths.cni_conf, paths.run):
        folder.mkdir(parents=True, exist_ok=True)
    paths.cni_bin.symlink_to(runtime_config.CNI_BIN)
    paths.config.write_text(runtime_config.containerd_config(paths))
    conflist = runtime_config.cni_conflist("10.199.0.0/24", paths.cni_state)
    (paths.cni_conf / "10-weft.conflist").write_text(json.dumps(conflist))
    subprocess.run(["ip", "netns", "add", name], check=True)
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    daemon = Containerd(paths, name, f"/{name}")
    daemon.start()
    try:
        yield daemon
    finally:
        _end_shims(str(paths.socket))
        daemon.stop(signal.SIGTERM)
        mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([each for each in mounts if each.startswith((f"{run}/", f"{paths.home}/"))]):
            subprocess.run(["umount", "-l", mount], check=False)
        subprocess.run(["ip", "netns", "delete", name], check=True)
        shutil.rmtree(run)
        for hierarchy in Path("/sys/fs/cgroup").iterdir():
            for folder in sorted((hierarchy / name).glob("**/"), reverse=True):
                folder.rmdir()


def _end_shims(socket: str) -> None:
    """End the shims that this containerd started: they name its socket on their command lines."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "containerd-shim" in words[0] and socket in words:
            os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def inside(containerd: Containerd) -> Iterator[None]:
    """The test itself runs in the node's network namespace, as the node process does."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _enter(f"/run/netns/{containerd.namespace}")
        yield
    finally:
        _LIBC.setns(own, _CLONE_NEWNET)
        os.close(own)


async def _remove_all(runtime: Runtime) -> None:
    for _ in range(20):
        try:
            for sandbox in await runtime.sandboxes():
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
        except CriError:
            # a container was just being started when its kubelet was cancelled
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("sandboxes cannot be removed")


@pytest.fixture
async def start(inside: None, containerd: Containerd) -> AsyncIterator[Callable[[], Awaitable[Node]]]:
    """Starts a kubelet on the node; called again, it starts another in the place of the first."""
    messages = descriptors.load(cache=containerd.paths.home / "containerd")
    running: list[asyncio.Task[None]] = []
    async with Runtime(containerd.paths.socket, messages) as runtime:
        memory = Memory()
        users_file = containerd.paths.home / "images.yaml"

        async def begin() -> Node:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            running.clear()
            images = Images(runtime, containerd.paths.socket, users_file, time.time)
            await images.bring_pause()
            recorder = Recorder("node", time.time, memory.write_event)
            station = Station(
                runtime=runtime,
                images=images,
                cluster=memory,
                recorder=recorder,
                node=NodeFacts("node", "192.168.49.2", 2, 8 << 30),
                folder=containerd.paths.home,
                run=containerd.paths.run,
                cgroup_parent=containerd.cgroup,
                clock=time.time,
            )
            pods = Pods(station)
            running.extend((asyncio.create_task(pods.run()), asyncio.create_task(recorder.run())))
            return Node(station, pods, memory)

        try:
            yield begin
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await _remove_all(runtime)
            users_file.unlink(missing_ok=True)


@pytest.fixture
async def node(start: Callable[[], Awaitable[Node]]) -> Node:
    return await start()
