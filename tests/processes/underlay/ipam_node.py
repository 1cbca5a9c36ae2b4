"""A node's IPAM: in this process, or as a program that reads calls and writes answers, a JSON line each."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.processes.cni.calls import CallError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay import settings
from weft.processes.underlay.ipam import Ipam
from weft.processes.underlay.plugins import Call, Surroundings

Json = dict[str, Any]


class Node:
    """Calls of one node's IPAM, as the container runtime and the network's plugin make them."""

    def __init__(self, ipam: Ipam, registry: Registry, pods: Pods) -> None:
        self.ipam, self.registry, self.pods = ipam, registry, pods

    async def add(self, pod: Json, interface: str = "net1", *, netns: str = "", **config: Any) -> Json:
        return await self.ipam.add(call("ADD", pod, interface, config, netns))

    async def delete(self, pod: Json, interface: str = "net1") -> None:
        await self.ipam.delete(call("DEL", pod, interface, {}))

    async def check(self, pod: Json, result: Json, interface: str = "net1") -> None:
        await self.ipam.check(call("CHECK", pod, interface, {"prevResult": result}))


def call(command: str, pod: Json, interface: str, config: Json, netns: str = "") -> Call:
    meta = pod["metadata"]
    whole = {"cniVersion": "1.0.0", "name": "net", "type": "macvlan", **config}
    return Call(command, "c", interface, netns, netns, meta["namespace"], meta["name"], meta["uid"], whole)


@contextlib.asynccontextmanager
async def running(kube: Kube, kubeconfig: Path, name: str, *flags: str) -> AsyncIterator[Node]:
    """IPAM of the node `name`, with flags of the node process."""
    chosen = settings.parse(["--kubeconfig", str(kubeconfig), "--node-name", name, *flags], {}, host=name)
    registry, pods, teller = (
        Registry(),
        Pods(kube, name),
        Teller(kube, name, clock.now, component="spiderpool-agent"),
    )
    ipam = Ipam(Surroundings(chosen, kube, pods, teller, registry, time.monotonic), clock.now)
    tasks = [asyncio.create_task(each.run()) for each in (pods, teller, ipam)]
    try:
        yield Node(ipam, registry, pods)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Program:
    """The same in a process of its own, which can be killed in the middle. A call that it dies of gives None."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: dict[int, asyncio.Future[Json | None]] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, kubeconfig: Path, name: str, *flags: str) -> "Program":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            str(kubeconfig),
            name,
            *flags,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def add(self, pod: Json) -> Json | None:
        return await self._ask("ADD", pod)

    async def delete(self, pod: Json) -> Json | None:
        return await self._ask("DEL", pod)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading

    async def _ask(self, command: str, pod: Json) -> Json | None:
        assert self._process.stdin is not None
        number = len(self._asked)
        future: asyncio.Future[Json | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        meta = {key: pod["metadata"][key] for key in ("namespace", "name", "uid")}
        if not self._reading.done():
            self._process.stdin.write(json.dumps([number, command, {"metadata": meta}]).encode() + b"\n")
        else:
            future.set_result(None)
        return await future

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            number, answer = json.loads(line)
            self._asked[number].set_result(answer)
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)


async def _serve(kubeconfig: Path, name: str, *flags: str) -> None:
    from weft.adapters.kube.access import Access

    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def answer(node: Node, number: int, command: str, pod: Json) -> None:
        try:
            done: Json = {}
            if command == "ADD":
                done = await node.add(pod)
            else:
                await node.delete(pod)
        except CallError as error:
            done = {"error": error.msg}
        print(json.dumps([number, done]), flush=True)

    access = settings.parse(["--kubeconfig", str(kubeconfig)], {}, host=name).api.access()
    assert isinstance(access, Access)
    async with Kube(access) as kube, running(kube, kubeconfig, name, *flags) as node, asyncio.TaskGroup() as group:
        async for line in reader:
            number, command, pod = json.loads(line)
            group.create_task(answer(node, number, command, pod))


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), *sys.argv[2:]))
