"""Pods that must go so that the others can stay."""

import asyncio
from pathlib import Path
from typing import Any

from tests.cluster.kubelet.support import Node, pod

from weft.cluster.kubelet import evictions, pressure
from weft.cluster.kubelet.evictions import Measured
from weft.cluster.kubelet.evictor import Evictor
from weft.cluster.kubelet.pressure import Room, Shortage

MIB = 1 << 20
ROOM = Room(4 << 30, 100 << 30, 50 << 30, 1_000_000, 500_000, 30_000)
WRITER = "dd if=/dev/zero of={} bs=1024 count=3072; trap 'exit 0' TERM; while :; do sleep 0.1; done"


def using(name: str, memory: int, request: str = "0", **spec: Any) -> Measured:
    container = {"name": "main", "image": "x", "resources": {"requests": {"memory": request}}}
    return Measured(pod(name, container, **spec), {"main": memory}, {}, {})


def test_who_takes_more_than_asked_for_goes_first_then_the_least_important() -> None:
    shortage = Shortage("memory", "100Mi", "90000Ki")
    modest, greedy = using("modest", 900 * MIB, "1Gi"), using("greedy", 300 * MIB, "100Mi")
    greedier, dear = using("greedier", 400 * MIB), using("dear", 800 * MIB, priority=1000)
    system = using("system", 4 << 30, priority=2_000_001_000)
    assert evictions.victim(shortage, [modest, greedy, greedier, dear, system]) is greedier
    assert evictions.victim(shortage, [modest, greedy, dear, system]) is greedy
    assert evictions.victim(shortage, [modest, dear]) is dear
    assert evictions.victim(shortage, [system]) is None
    assert evictions.message(shortage, greedy) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 90000Ki. "
        "Container main was using 307200Ki, request is 100Mi, has larger consumption of memory. "
    )


def test_what_is_written_counts_against_volume_container_and_pod() -> None:
    limits = {"resources": {"limits": {"ephemeral-storage": "2Mi"}}}
    one, two = {"name": "one", "image": "x", **limits}, {"name": "two", "image": "x", **limits}
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "emptyDir": {}}]
    made = pod("p", one, two, volumes=volumes)

    def told(files: dict[str, int], on_disk: dict[str, int]) -> str:
        return evictions.over_limits(Measured(made, {}, files, on_disk))

    assert told({"one": 2 * MIB, "two": MIB}, {"v": MIB}) == ""
    assert told({}, {"v": MIB + 1}) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert told({"one": 2 * MIB + 1}, {}) == 'Container one exceeded its local ephemeral storage limit "2Mi". '
    whole = "Pod ephemeral local storage usage exceeds the total limit of containers 4194304. "
    assert told({"one": 2 * MIB}, {"w": 2 * MIB + 1}) == whole
    assert evictions.has_limits(made)
    assert not evictions.has_limits(pod("q", {"name": "main", "image": "x"}))


def test_shortages_name_their_threshold() -> None:
    assert pressure.shortages(ROOM) == []
    short = Room(99 * MIB, 100 << 30, 1 << 29, 1000, 10, 3)
    assert pressure.shortages(short) == [
        Shortage("memory", "100Mi", "101376Ki"),
        Shortage("ephemeral-storage", "1048576Ki", "524288Ki"),
        Shortage("inodes", "50", "10"),
        Shortage("pids", "500", "3"),
    ]


async def test_a_pod_that_fills_its_volume_is_evicted_and_stays_failed(node: Node) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    command = ["sh", "-c", WRITER.format("/v/x")]
    container = {"name": "main", "image": "busybox", "command": command, "volumeMounts": mounts}
    node.pods.apply(pod("full", container, volumes=[{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}]))
    node.pods.apply(pod("calm", container, volumes=[{"name": "v", "emptyDir": {"sizeLimit": "200Mi"}}]))
    await node.ready("full")
    await node.ready("calm")
    evictor = Evictor(node.station, node.pods, lambda: ROOM)
    async with asyncio.timeout(20):
        while not node.memory.statuses["full"].get("reason"):
            await evictor.look()
            await asyncio.sleep(0.05)
    status = await node.until("full", lambda status: status["phase"] == "Failed")
    why = 'Usage of EmptyDir volume "v" exceeds the limit "2Mi". '
    assert (status["reason"], status["message"]) == ("Evicted", why)
    assert "terminated" in status["containerStatuses"][0]["state"]
    (target,) = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
    assert f"Evicted: {why}" in node.memory.told("full")
    assert node.memory.statuses["calm"]["phase"] == "Running"


async def test_a_container_that_writes_more_than_its_limit_is_evicted(node: Node) -> None:
    resources = {"limits": {"ephemeral-storage": "2Mi"}}
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", WRITER.format("/x")]}
    node.pods.apply(pod("layer", {**container, "resources": resources}))
    await node.ready("layer")
    evictor = Evictor(node.station, node.pods, lambda: ROOM)
    async with asyncio.timeout(60):  # containerd measures layers every ten seconds
        while not node.memory.statuses["layer"].get("reason"):
            await evictor.look()
            await asyncio.sleep(0.2)
    status = await node.until("layer", lambda status: status["phase"] == "Failed")
    assert status["message"].startswith("Pod ephemeral local storage usage exceeds the total limit")


async def test_one_pod_at_a_time_goes_when_memory_is_short(node: Node, tmp_path: Path) -> None:
    container = {"name": "main", "image": "busybox", "command": ["sleep", "100"]}
    node.pods.apply(pod("first", container))
    node.pods.apply(pod("second", container, priority=10))
    await node.ready("first")
    await node.ready("second")
    short = Room(50 * MIB, 100 << 30, 50 << 30, 0, 0, 30_000)
    await Evictor(node.station, node.pods, lambda: short).look()
    status = await node.until("first", lambda status: status["phase"] == "Failed")
    assert status["message"].startswith("The node was low on resource: memory. Threshold quantity: 100Mi, avail")
    assert node.memory.statuses["second"]["phase"] == "Running"
