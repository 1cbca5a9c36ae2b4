"""istiod's whole chain with the real Envoy: from rules in the API to what a proxy confirms and does."""

import asyncio
import time
from pathlib import Path

from tests.processes.controlplane.cluster import Cluster
from tests.processes.controlplane.meshes import asking_envoy
from tests.processes.controlplane.test_istiod import (
    Istiod,
    cluster,
    create_certificate,
    rooted,
    running,
    virtual_service,
)
from tests.support.envoy import Identity, Management, scratch

from weft.adapters.keys import new_key
from weft.cli import proxy_status
from weft.pki import pem, request

__all__ = ["cluster"]  # a fixture, found by its name

NODE = "sidecar~10.244.0.1~v1.shop~shop.svc.cluster.local"


async def certified(istiod: Istiod, root: str) -> Identity:
    key = new_key()
    chain = await create_certificate(istiod, root, "good", request.sign(key))
    return Identity("".join(chain[:-1]) or chain[0], pem.key(key), root)


async def confirmed(istiod: Istiod, seconds: float = 30) -> proxy_status.Row:
    """Wait until the proxy has confirmed every type."""
    deadline = time.monotonic() + seconds
    while True:
        table = proxy_status.rows(await istiod.get("/debug/syncz"))
        if table and {table[0].cds, table[0].lds, table[0].eds, table[0].rds} == {"SYNCED"}:
            return table[0]
        assert time.monotonic() < deadline, f"{proxy_status.render(table)}\n{istiod.log.read_text()}"
        await asyncio.sleep(0.01)


async def test_envoy_takes_all_of_its_configuration_and_confirms_each_rule(
    cluster: Cluster, tmp_path: Path
) -> None:
    with scratch() as sockets:
        async with running(
            cluster.kubeconfig(tmp_path / "kubeconfig"), tmp_path, plaintext=f"unix:{sockets}/xds"
        ) as istiod:
            identity = await certified(istiod, await rooted(cluster))
            with (
                Management(sockets / "sds", {}, identity).serving() as secrets,
                asking_envoy(sockets / "xds", sds=secrets.path, node=NODE) as envoy,
            ):
                row = await confirmed(istiod)
                assert (row.name, row.ecds) == ("v1.shop", "NOT SENT")
                await asyncio.to_thread(envoy.wait_ready)
                for number in range(6, 26):
                    before = (await istiod.get("/debug/syncz"))[0]["route_acked"]
                    began = time.perf_counter()
                    cluster.put(virtual_service(f"{number}s"))
                    while (await istiod.get("/debug/syncz"))[0]["route_acked"] == before:
                        assert time.perf_counter() - began < 20
                    await asyncio.sleep(0.02)
                assert '"timeout": "25s"' in envoy.get("/config_dump?resource=dynamic_route_configs")
                assert (await istiod.get("/debug/syncz"))[0]["errors"] == {}
                assert secrets.rejected == []
