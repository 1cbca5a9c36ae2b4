"""What pods use, as metrics-server and people with `kubectl get --raw` read it."""

import asyncio
import re

import aiohttp
from tests.cluster.kubelet.support import Node, pod

from weft.cluster.kubelet import server


async def test_what_a_container_uses_is_told_and_grows(node: Node) -> None:
    busy = {"name": "main", "image": "busybox:1.36", "command": ["sh", "-c", "while :; do :; done"]}
    node.pods.apply(pod("busy", busy))
    await node.ready("busy")
    async with (
        server.serve(node.station, node.pods, "127.0.0.1", 0, None) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        before = await (await client.get("/stats/summary")).json()
        await asyncio.sleep(0.5)
        after = await (await client.get("/stats/summary")).json()
        text = await (await client.get("/metrics/resource")).text()
    assert before["node"]["nodeName"] == "node"
    assert after["node"]["memory"]["workingSetBytes"] > 1 << 20
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
