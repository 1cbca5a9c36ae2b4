"""`weft underlay`: its objects as text, and addresses shown, given back and noted on a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.processes.cni.api import create, serving
from typer.testing import CliRunner, Result

from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import CRDS, SPIDERIPPOOLS
from weft.cli.main import app
from weft.install.underlay_crds import underlay_crds

Json = dict[str, Any]


def run(*words: str) -> Result:
    return CliRunner().invoke(app(), ["underlay", *words], env={"COLUMNS": "200"})


def test_the_objects_for_any_cluster_are_printed_for_kubectl() -> None:
    done = run("manifest", "-n", "spiderpool", "--images", "example.com/weft", "--set", "coordinator.mode=overlay")
    assert done.exit_code == 0, done.output
    objects = list(yaml.safe_load_all(done.stdout))
    kinds = [obj["kind"] for obj in objects]
    assert kinds.index("Namespace") < kinds.index("ServiceAccount") < kinds.index("DaemonSet")
    (agent,) = (obj for obj in objects if obj["kind"] == "DaemonSet")
    assert agent["metadata"]["namespace"] == "spiderpool"
    image = agent["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image.startswith("example.com/weft/spiderpool-agent:")


def test_a_value_that_there_is_not_is_refused_with_what_there_is() -> None:
    done = run("manifest", "--set", "coordinator.vethAddress=169.254.100.1")
    assert done.exit_code == 1
    assert "There are: coordinator.vethLinkAddress" in done.output
    assert "ipam.gc.gcAll.intervalInSecond" in run("values").output


@dataclass
class Cluster:
    """A pool with three addresses, of which a pod that is there and one that is gone have one each."""

    kube: Kube
    kubeconfig: str

    async def ip(self, *words: str) -> Result:
        return await asyncio.to_thread(run, "ip", *words, "--kubeconfig", self.kubeconfig)

    async def taken(self) -> Json:
        pool = await self.kube.get(SPIDERIPPOOLS, "10-6-v4")
        found: Json = json.loads(pool["status"].get("allocatedIPs") or "{}")
        assert pool["status"]["allocatedIPCount"] == len(found)
        return {address: holder["pod"] for address, holder in found.items()}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with serving(tmp_path) as kube:
        for crd in underlay_crds():
            await kube.create(CRDS, crd)
        uid = (await create(kube, "web"))["metadata"]["uid"]
        spec = {"subnet": "10.6.0.0/16", "ips": ["10.6.212.200-10.6.212.202"]}
        async with asyncio.timeout(30):
            while not await made(kube, {"metadata": {"name": "10-6-v4"}, "spec": spec}):
                await asyncio.sleep(0.05)
        holders = {
            "10.6.212.200": {"pod": "shop/web", "podUid": uid, "interface": "net1"},
            "10.6.212.201": {"pod": "shop/gone", "podUid": "u"},
        }
        status = {"allocatedIPs": json.dumps(holders), "allocatedIPCount": 2}
        await kube.patch(SPIDERIPPOOLS, "10-6-v4", {"status": status}, subresource="status")
        yield Cluster(kube, str(tmp_path / "kubeconfig"))


async def made(kube: Kube, pool: Json) -> bool:
    from weft.adapters.kube.client import ApiError

    try:
        await kube.create(SPIDERIPPOOLS, pool)
    except ApiError as error:
        if error.code != 404:  # its definition is served in a moment
            raise
        return False
    return True


async def test_addresses_are_shown_given_back_and_noted(cluster: Cluster) -> None:
    lines = [line.split() for line in (await cluster.ip("show")).stdout.splitlines()]
    assert lines[0] == ["IP", "POOL", "POD", "INTERFACE", "NODE", "STATE"]
    assert lines[1] == ["10.6.212.200", "10-6-v4", "shop/web", "net1", "worker", "Pending"]
    assert lines[2] == ["10.6.212.201", "10-6-v4", "shop/gone", "no", "such", "pod"]
    assert "10.6.212.202 is free" in (await cluster.ip("show", "--ip", "10.6.212.202")).stdout

    refused = await cluster.ip("release", "10.6.212.200")
    assert refused.exit_code == 1
    assert "is that of pod shop/web, which is there" in refused.output
    assert (await cluster.ip("release", "10.6.212.201")).exit_code == 0
    assert await cluster.taken() == {"10.6.212.200": "shop/web"}
    assert (await cluster.ip("release", "10.6.212.200", "--force")).exit_code == 0
    assert await cluster.taken() == {}

    noted = await cluster.ip("set", "10.6.212.202", "shop/web", "--interface", "net1")
    assert noted.stdout == "10.6.212.202 is that of pod shop/web in SpiderIPPool 10-6-v4.\n"
    assert await cluster.taken() == {"10.6.212.202": "shop/web"}
    for words, said in (
        (("set", "10.6.212.203", "shop/web"), "is an address of no SpiderIPPool"),
        (("set", "10.6.212.201", "shop/nobody"), 'pod "shop/nobody" not found'),
        (("release", "10.6.212.201"), "is taken in no SpiderIPPool"),
        (("release", "10.6.212"), "10.6.212"),
        (("show", "--pool", "none"), 'SpiderIPPool "none" not found'),
    ):
        refused = await cluster.ip(*words)
        assert refused.exit_code == 1
        assert said in refused.output
