"""What the tests of the kubelet share: a cluster's API in memory, and pods to run."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from weft.cluster.kubelet.objects import CLAIM, VOLUME, Objects, Reference
from weft.cluster.kubelet.pods import Pods
from weft.cluster.kubelet.runtime_config import RuntimePaths
from weft.cluster.kubelet.station import Issued, Pod, Station
from weft.cluster.kubelet.volumes import Token

Json = dict[str, Any]


@dataclass(frozen=True)
class Containerd:
    paths: RuntimePaths
    namespace: str
    cgroup: str
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start the daemon in its namespace, and wait for its socket."""
        self.paths.socket.unlink(missing_ok=True)
        words = ["nsenter", f"--net=/run/netns/{self.namespace}", "containerd", "--config", str(self.paths.config)]
        with (self.paths.home / "containerd.log").open("ab") as log:
            self.daemons.append(subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True))
        deadline = time.monotonic() + 20
        while not self.paths.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> None:
        """End the daemon; what it runs goes on."""
        daemon = self.daemons.pop()
        daemon.send_signal(number)
        daemon.wait(20)


@dataclass
class Memory:
    """The cluster's API as far as the kubelet asks for it, kept in memory."""

    objects_: dict[Reference, Json] = field(default_factory=dict)
    statuses: dict[str, Json] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    events: dict[str, Json] = field(default_factory=dict)
    tokens: int = 0
    token_life: float = 3600.0
    followers: dict[Reference, list[Callable[[], None]]] = field(default_factory=dict)

    async def patch_status(self, pod: Pod, patch: Json) -> None:
        status = self.statuses.setdefault(pod["metadata"]["name"], {})
        for key, value in patch.items():
            if value is None:
                status.pop(key, None)
            else:
                status[key] = value

    async def remove(self, pod: Pod) -> None:
        self.removed.append(pod["metadata"]["name"])

    async def issue(self, pod: Pod, token: Token) -> Issued:
        self.tokens += 1
        now = time.time()
        return Issued(f"token-{self.tokens}-{token.audience}", now, now + self.token_life)

    async def services(self, namespace: str) -> Sequence[Json]:
        return ({"metadata": {"name": "my-web"}, "spec": {"clusterIP": "10.96.3.4", "ports": [{"port": 80}]}},)

    async def runtime_handler(self, name: str) -> str:
        return name

    def follow(self, reference: Reference, changed: Callable[[], None]) -> None:
        self.followers.setdefault(reference, []).append(changed)

    def unfollow(self, reference: Reference, changed: Callable[[], None]) -> None:
        self.followers[reference].remove(changed)

    async def objects(self, references: frozenset[Reference]) -> Objects:
        found = {each: self.objects_[each] for each in references if each in self.objects_}
        for claim in [value for each, value in found.items() if each.kind == CLAIM]:
            volume = Reference(VOLUME, "", claim["spec"].get("volumeName", ""))
            found |= {volume: self.objects_[volume]} if volume in self.objects_ else {}
        return Objects(found)

    def put(self, kind: str, name: str, data: dict[str, str], namespace: str = "default") -> None:
        reference = Reference(kind, namespace, name)
        self.objects_[reference] = {"kind": kind, "metadata": {"name": name}, "data": data}
        for changed in self.followers.get(reference, ()):
            changed()

    async def write_event(self, event: Json, _new: bool) -> None:  # noqa: FBT001, the recorder calls it so
        self.events[event["metadata"]["name"]] = event

    def told(self, pod: str) -> list[str]:
        return [
            f"{e['reason']}: {e['message']}" for e in self.events.values() if e["involvedObject"]["name"] == pod
        ]


@dataclass
class Node:
    station: Station
    pods: Pods
    memory: Memory

    async def until(self, name: str, holds: Callable[[Json], Any], seconds: float = 15) -> Json:
        """The pod's status once it is as wanted."""
        try:
            async with asyncio.timeout(seconds):
                while not holds(self.memory.statuses.get(name) or {}):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"{self.memory.statuses.get(name)}\n{self.memory.told(name)}")
        return self.memory.statuses[name]

    async def ready(self, name: str, seconds: float = 15) -> Json:
        return await self.until(name, is_ready, seconds)

    async def run(self, name: str, container: str, *command: str) -> str:
        worker = self.pods.find("default", name)
        assert worker is not None
        output = await self.station.runtime.exec_sync(worker.seen.latest()[container].id, command, 5)
        return (output.stdout + output.stderr).decode()


def is_ready(status: Json) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))


def pod(name: str, *containers: Json, **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": {"app": name}},
        "spec": {"containers": list(containers), "terminationGracePeriodSeconds": 1, **spec},
    }
