"""What pods use, as metrics-server and people with `kubectl get --raw` read it."""

import asyncio
import os
import re

import aiohttp
from tests.cluster.kubelet.support import Node, pod

from weft.cluster.kubelet import server
from weft.cluster.kubelet.meter import Meter


async def test_what_a_container_uses_is_told_and_grows(node: Node) -> None:
    busy = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", "while :; do :; done"]}
    first = {"name": "first", "image": "busybox:1.36", "command": ["true"]}
    node.pods.apply(pod("busy", busy, initContainers=[first]))
    await node.ready("busy")
    async with (
        server.serve(node.station, node.pods, Meter(node.station, node.pods), "127.0.0.1", 0, None) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        before = await (await client.get("/stats/summary")).json()
        await asyncio.sleep(0.5)
        after = await (await client.get("/stats/summary")).json()
        text = await (await client.get("/metrics/resource")).text()
        use = await (await client.get("/resourceUse")).json()
        cadvisor = await (await client.get("/metrics/cadvisor")).text()
        own = await (await client.get("/metrics")).text()
        listed = await (await client.get("/pods")).json()
    assert before["node"]["nodeName"] == "node"
    assert after["node"]["memory"]["workingSetBytes"] > 1 << 20
    assert 0 < after["node"]["fs"]["availableBytes"] < after["node"]["fs"]["capacityBytes"]
    (one,), (other,) = before["pods"], after["pods"]
    assert other["podRef"] == {"name": "busy", "namespace": "default", "uid": "uid-busy"}
    grown = other["cpu"]["usageCoreNanoSeconds"] - one["cpu"]["usageCoreNanoSeconds"]
    assert 5e7 < grown < 5e9
    assert 0 < other["containers"][0]["memory"]["workingSetBytes"] < 64 << 20
    labels = re.escape('{container="main",namespace="default",pod="busy"}')
    assert re.search(rf"^container_cpu_usage_seconds_total{labels} \d+\.\d+$", text, re.MULTILINE)
    assert re.search(rf"^container_memory_working_set_bytes{labels} [1-9]\d+$", text, re.MULTILINE)
    assert "# TYPE pod_cpu_usage_seconds_total counter" in text
    assert re.search(r"^node_memory_working_set_bytes [1-9]\d+$", text, re.MULTILINE)
    assert text.endswith("resource_scrape_error 0\n")
    (measured,) = use["pods"]
    assert len(measured["containers"]) == 1, "what has ended uses nothing, and is not listed"
    # one busy loop keeps a processor busy, however much of it others leave
    assert 0.01 < measured["containers"][0]["cores"] < 1.5
    assert (measured["name"], measured["containers"][0]["name"]) == ("busy", "main")
    assert use["cores"] > 0
    assert use["window"] > 0
    assert re.search(
        r'^container_memory_rss\{container="main",.*image="busybox:1.36".*\} ', cadvisor, re.MULTILINE
    )
    assert f"machine_cpu_cores {os.cpu_count()}\n" in cadvisor
    assert 'kubelet_running_containers{container_state="running"} 1\n' in own
    assert "kubelet_running_pods 1\n" in own
    assert [each["metadata"]["name"] for each in listed["items"]] == ["busy"]
    assert listed["items"][0]["status"]["phase"] == "Running"


async def test_a_rate_is_taken_over_the_last_samples_only(node: Node) -> None:
    command = ["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; touch /done; sleep 100"]
    node.pods.apply(pod("burst", {"name": "main", "image": "busybox:1.36", "command": command}))
    await node.ready("burst")
    meter = Meter(node.station, node.pods)
    async with asyncio.timeout(30):
        while "No such" in await node.run("burst", "main", "ls", "/done"):
            await asyncio.sleep(0.05)
    whole = (await meter.look()).pods[0].cores
    await meter.sample()
    await meter.sample()
    await asyncio.sleep(0.3)
    assert (await meter.look()).pods[0].cores < whole
