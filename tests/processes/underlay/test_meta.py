"""Calls that meet: pods that begin at once, and the end of a pod that still begins."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.processes.cni import nodes
from tests.processes.underlay.node import Folders

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.processes.cni.calls import CallError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay import meta
from weft.processes.underlay.choosing import Chooser
from weft.processes.underlay.definitions import Definitions
from weft.processes.underlay.delegating import Delegator
from weft.processes.underlay.meta import Meta
from weft.processes.underlay.plugins import Call, Surroundings

Json = dict[str, Any]


class Slow(Delegator):
    """Networks that are attached when they are let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.under_way = self.most = 0
        self.done: list[str] = []

    async def add(self, call: Call, network: Json, before: Json | None) -> Json:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.let.wait()
        finally:
            self.under_way -= 1
        self.done.append(f"ADD {call.container_id}")
        return {"cniVersion": "1.0.0"}

    async def delete(self, call: Call, network: Json, result: Json | None) -> None:
        self.done.append(f"DEL {call.container_id}")


def given(folder: Path) -> tuple[Meta, Slow]:
    (folder / "mesh").mkdir()
    nodes.Node(folder / "mesh")  # its kubeconfig
    (folder / "mesh" / "kubeconfig").rename(folder / "kubeconfig")
    folders = Folders(folder)
    folders.write("10-pods.conf", {"cniVersion": "1.0.0", "name": "pods", "type": "ptp"})
    chosen = folders.settings()
    kube = Kube(chosen.api.access())
    teller = Teller(kube, "n", clock.now)
    around = Surroundings(chosen, kube, Pods(kube, "n"), teller, Registry(), clock.elapsed)
    slow = Slow()
    return Meta(around, Chooser(chosen, Definitions(kube)), slow, {}), slow


CALL = Call("ADD", "c", "eth0", "", "", "", "", "", {})


def calls(count: int) -> list[Call]:
    return [replace(CALL, container_id=f"c{place}") for place in range(count)]


async def test_few_pods_begin_at_once_and_all_in_the_end(tmp_path: Path) -> None:
    answers, slow = given(tmp_path)
    tasks = [asyncio.create_task(answers.add(each)) for each in calls(40)]
    await nodes.until(lambda: slow.most == meta._AT_ONCE)
    slow.let.set()
    await asyncio.gather(*tasks)
    assert slow.most == meta._AT_ONCE
    assert len(slow.done) == 40


async def test_whose_turn_does_not_come_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, slow = given(tmp_path)
    tasks = [asyncio.create_task(answers.add(each)) for each in calls(meta._AT_ONCE)]
    await nodes.until(lambda: slow.under_way == meta._AT_ONCE)
    monkeypatch.setattr(meta, "_TURN_SECONDS", 0.05)
    with pytest.raises(CallError, match="too many pods begin on the node at once") as caught:
        await answers.add(replace(CALL, container_id="late"))
    assert caught.value.code == 11
    slow.let.set()
    await asyncio.gather(*tasks)


async def test_the_end_of_a_pod_waits_for_its_beginning(tmp_path: Path) -> None:
    answers, slow = given(tmp_path)
    adding = asyncio.create_task(answers.add(CALL))
    await nodes.until(lambda: slow.under_way == 1)
    deleting = asyncio.create_task(answers.delete(replace(CALL, command="DEL")))
    await asyncio.sleep(0)
    slow.let.set()
    await asyncio.gather(adding, deleting)
    assert slow.done == ["ADD c", "DEL c"]
    assert await answers.records() == []


async def test_what_takes_too_long_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, slow = given(tmp_path)
    monkeypatch.setattr(meta, "_ADD_SECONDS", 0.2)
    with pytest.raises(CallError, match="have not been attached") as caught:
        await answers.add(CALL)
    assert caught.value.code == 11
    assert slow.done == ["DEL c"]
    assert await answers.records() == []
