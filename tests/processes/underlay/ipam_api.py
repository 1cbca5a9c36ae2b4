"""A real API server with the underlay's kinds, pools and pods."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
from tests.processes.cni import api

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import CRDS, NODES, PODS, SPIDERENDPOINTS, SPIDERIPPOOLS
from weft.api.spider_ippool import SpiderIPPool, allocations
from weft.install.underlay_crds import underlay_crds

Json = dict[str, Any]


@contextlib.asynccontextmanager
async def serving(folder: Path, *nodes: str) -> AsyncIterator[Kube]:
    """An API server with nodes and the namespace `shop`; its kubeconfig is `folder / "kubeconfig"`."""
    async with api.serving(folder) as kube:
        await asyncio.gather(*(kube.create(CRDS, each) for each in underlay_crds()))
        for node in nodes:
            await kube.create(NODES, {"metadata": {"name": node, "labels": {"zone": node}}})
        await _until_served(kube)
        yield kube


async def _until_served(kube: Kube) -> None:
    for _ in range(600):
        try:
            for kind in (SPIDERIPPOOLS, SPIDERENDPOINTS):
                await kube.list(kind)
        except ApiError:
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("the kinds are not served")


async def pool(
    kube: Kube, name: str, *ips: str, subnet: str = "10.6.0.0/16", gateway: str = "10.6.0.1", **spec: Any
) -> None:
    body = {"subnet": subnet, "ips": list(ips), **({"gateway": gateway} if gateway else {}), **spec}
    await kube.create(SPIDERIPPOOLS, {"metadata": {"name": name}, "spec": body})


async def taken(kube: Kube, name: str) -> dict[str, str]:
    """The addresses of a pool that are taken, and by which UID."""
    found = msgspec.convert(await kube.get(SPIDERIPPOOLS, name), SpiderIPPool)
    return {ip: each.pod_uid for ip, each in allocations(found.status.allocated_ips).items()}


async def endpoint(kube: Kube, name: str) -> list[Json]:
    """What an endpoint of `shop` says that its pod has."""
    ips: list[Json] = (await kube.get(SPIDERENDPOINTS, name, "shop"))["status"]["current"]["ips"]
    return ips


async def pod(kube: Kube, name: str, node: str, annotations: Json | None = None, **meta: Any) -> Json:
    made = {
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations or {}, **meta},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "app"}]},
    }
    return await kube.create(PODS, made)


async def end(kube: Kube, pod: Json) -> None:
    """A pod is to end: the node is told, and lets it end."""
    await kube.delete(PODS, pod["metadata"]["name"], "shop", grace=30)


async def gone(kube: Kube, pod: Json) -> None:
    """A pod is there no more."""
    await kube.delete(PODS, pod["metadata"]["name"], "shop", grace=0)


async def _serve(folder: Path, *nodes: str) -> None:
    """Serve until standard input ends."""
    async with serving(folder, *nodes):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), *sys.argv[2:]))
