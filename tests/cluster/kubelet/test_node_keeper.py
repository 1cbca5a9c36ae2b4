"""The node as the API sees it while its containerd does not answer."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.apiserver.conftest import home, kube, server  # noqa: F401, pytest finds fixtures by their names
from tests.cluster.kubelet.support import Containerd, Node

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import LEASES, NODES
from weft.cluster.kubelet import node_object
from weft.cluster.kubelet.node_keeper import Health, Keeper
from weft.cluster.kubelet.node_object import Registration

WHO = Registration("n1", "192.168.49.2", 10250, "10.244.0.0/24")


@pytest.fixture
async def stopped(containerd: Containerd, node: Node) -> AsyncIterator[None]:
    """A containerd that takes connections and never answers."""
    daemon = containerd.daemons[0]
    daemon.send_signal(signal.SIGSTOP)
    yield
    daemon.send_signal(signal.SIGCONT)


async def test_a_runtime_that_is_silent_for_a_moment_is_taken_to_be_well(node: Node, stopped: None) -> None:
    patient, strict = (Health(node.station.runtime, time.time, silence) for silence in (60.0, 0.0))
    found = await asyncio.gather(patient.look(), strict.look())
    assert [dict(each) for each in found] == [{}, {"": "container runtime is down"}]


async def test_the_lease_is_renewed_while_the_runtime_hangs(
    node: Node,
    stopped: None,
    kube: Kube,  # noqa: F811, the fixture
    tmp_path: Path,
) -> None:
    machine = node_object.look(tmp_path, "containerd://1")
    health = Health(node.station.runtime, time.time)
    recorder = node.station.recorder
    keeper = Keeper(kube, node.station.runtime, WHO, machine, tmp_path, time.time, recorder, health, beat=0.1)
    task = asyncio.create_task(keeper.run())
    try:
        times: set[str] = set()
        async with asyncio.timeout(60):
            while len(times) < 5:
                times |= {await _renewed(kube)} - {""}
                await asyncio.sleep(0.02)
            # the look that hung for its few seconds says that all is well, for the silence is short yet
            while not (status := (await kube.get(NODES, "n1")).get("status")):
                await asyncio.sleep(0.05)
            while not {"Starting", "NodeReady"} <= {each["reason"] for each in node.memory.events.values()}:
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {each["type"]: each["status"] for each in status["conditions"]}["Ready"] == "True"
    lease = await kube.get(LEASES, "n1", "kube-node-lease")
    assert lease["metadata"]["ownerReferences"][0]["kind"] == "Node"


async def _renewed(kube: Kube) -> str:  # noqa: F811, as above
    try:
        return str((await kube.get(LEASES, "n1", "kube-node-lease"))["spec"]["renewTime"])
    except ApiError:
        return ""
