"""A node's process, or its containerd, ends and comes back: what ran goes on, and nothing starts twice."""

import asyncio
import copy
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.cluster.kubelet.support import Containerd, Json, Node, pod

from weft.adapters.cri.client import CriError
from weft.cluster.kubelet.objects import CLAIM, VOLUME, Reference


def script(name: str, text: str, **more: object) -> Json:
    return {"name": name, "image": "busybox:1.36", "command": ["sh", "-c", text], **more}


def ids(status: Json) -> list[str]:
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    return [each["containerID"] for kind in kinds for each in status.get(kind, ())]


async def full(node: Node, tmp_path: Path) -> tuple[Json, Json]:
    """A pod with an init container, a sidecar, a claim and a debug container; and its status."""
    claim = {"kind": CLAIM, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    node.memory.objects_[Reference(CLAIM, "default", "disk")] = claim
    volume = {"kind": VOLUME, "spec": {"hostPath": {"path": str(tmp_path)}}}
    node.memory.objects_[Reference(VOLUME, "", "pv")] = volume
    web = pod(
        "full",
        script("main", "echo kept >/data/file; sleep 1000", volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        initContainers=[script("first", "true"), script("side", "sleep 1000", restartPolicy="Always")],
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "disk"}}],
    )
    node.pods.apply(web)
    await node.ready("full")
    debugged = copy.deepcopy(web)
    debugged["spec"]["ephemeralContainers"] = [
        script("over", "exit 1"),
        script("debugger", "sleep 1000", targetContainerName="main"),
    ]
    node.pods.apply(debugged)

    def both(status: Json) -> bool:
        states = [each["state"] for each in status.get("ephemeralContainerStatuses", ())]
        return len(states) == 2 and "running" in states[0] and "terminated" in states[1]

    return debugged, copy.deepcopy(await node.until("full", both))


async def test_a_restarted_kubelet_leaves_debug_containers_and_claims_as_they_are(
    start: Callable[[], Awaitable[Node]], tmp_path: Path
) -> None:
    node = await start()
    full_pod, before = await full(node, tmp_path)
    again = await start()
    await again.pods.replace([{**full_pod, "status": before}])
    await asyncio.sleep(1.0)
    after = await again.ready("full")
    assert ids(after) == ids(before)
    assert all(each["restartCount"] == 0 for each in after["containerStatuses"])
    assert await again.run("full", "main", "cat", "/data/file") == "kept\n"
    assert len(await again.station.runtime.containers("uid-full")) == 5


async def test_a_containerd_that_was_killed_finds_its_containers_running(
    node: Node, containerd: Containerd, tmp_path: Path
) -> None:
    full_pod, before = await full(node, tmp_path)
    containerd.stop(signal.SIGKILL)
    await asyncio.to_thread(containerd.start)
    async with asyncio.timeout(20):
        while True:
            try:
                await node.station.runtime.version()
                break
            except CriError:
                await asyncio.sleep(0.1)
    node.pods.apply(full_pod)
    await asyncio.sleep(2.0)
    assert ids(node.memory.statuses["full"]) == ids(before)
    assert (await node.run("full", "main", "cat", "/data/file")) == "kept\n"
    # and it goes on as before: what ends now is noticed
    worker = node.pods.find("default", "full")
    assert worker is not None
    await node.station.runtime.stop_container(worker.seen.latest()["main"].id, 0)
    await node.until("full", lambda status: status["containerStatuses"][0]["restartCount"] == 1)
