"""A node of underlay networks: the node process's parts, its folders, and programs as a runtime calls them."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes.cni.api import NODE, Json, create
from tests.processes.cni.plugins import Answer, call

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import CRDS, NETWORKATTACHMENTS, PODS
from weft.cni_plugin import UNDERLAY
from weft.install.underlay_crds import underlay_crds
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.processes.underlay import main, settings
from weft.processes.underlay.meta import Meta
from weft.processes.underlay.parts import assembled
from weft.processes.underlay.plugins import MULTUS, TYPES, Surroundings
from weft.processes.underlay.serving import Serving
from weft.processes.underlay.settings import Settings

DEBIAN = Path("/usr/lib/cni")


@dataclass
class Folders:
    """A node's folders below one."""

    root: Path

    def __post_init__(self) -> None:
        for each in (self.net, self.bin, self.run):
            each.mkdir()
        for program in DEBIAN.iterdir():
            (self.bin / program.name).symlink_to(program)
        for kind in TYPES:
            shutil.copy(UNDERLAY, self.bin / kind)

    @property
    def net(self) -> Path:
        return self.root / "net.d"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def cache(self) -> Path:
        return self.root / "multus"

    @property
    def flags(self) -> list[str]:
        """What the node process is told of them."""
        places = {
            "cni-net-dir": self.net,
            "mounted-cni-net-dir": self.net,
            "cni-bin-dir": self.bin,
            "mounted-cni-bin-dir": self.bin,
            "spiderpool-run-dir": self.run,
            "mounted-spiderpool-run-dir": self.run,
            "multus-cache-dir": self.cache,
            "mounted-multus-cache-dir": self.cache,
            "host-root": "/",
            "node-name": NODE,
            "kubeconfig": self.root / "kubeconfig",
        }
        return [f"--{name}={value}" for name, value in places.items()]

    def settings(self, *more: str) -> Settings:
        return settings.parse([*self.flags, *more], {}, host="machine")

    def config(self, version: str = "1.1.0") -> Json:
        """What we have a runtime say to us."""
        made = {"cniVersion": version, "name": "multus-cni-network", "type": "multus", "run_dir": str(self.run)}
        return {**made, "cniDir": str(self.cache)}

    def write(self, name: str, config: Json) -> None:
        (self.net / name).write_text(json.dumps(config))


@dataclass
class Node:
    """The node process at work. `call` is a runtime's."""

    folders: Folders
    around: Surroundings
    meta: Meta

    @property
    def kube(self) -> Kube:
        return self.around.kube

    async def call(
        self, verb: str, sandbox: "Sandbox", version: str = "1.1.0", more: Json | None = None
    ) -> Answer:
        """Call `multus` for a pod, with more keys in its configuration."""
        config = self.folders.config(version) | (more or {})
        return await call(self.folders.bin / "multus", verb, config, **sandbox.variables)

    async def add(self, sandbox: "Sandbox", version: str = "1.1.0") -> Json:
        answer = await self.call("ADD", sandbox, version)
        assert answer.code == 0, answer
        return answer.json

    async def delete(self, sandbox: "Sandbox") -> None:
        answer = await self.call("DEL", sandbox)
        assert (answer.code, answer.out) == (0, b""), answer

    async def network(self, name: str, config: Json | None = None, namespace: str = "shop") -> None:
        """A NetworkAttachmentDefinition."""
        spec = {} if config is None else {"spec": {"config": json.dumps(config)}}
        await self.kube.create(NETWORKATTACHMENTS, {"metadata": {"name": name, "namespace": namespace}, **spec})

    async def pod(self, name: str, networks: object = "", **annotations: str) -> "Sandbox":
        written = networks if isinstance(networks, str) else json.dumps(networks)
        keys = annotations | ({"k8s.v1.cni.cncf.io/networks": written} if written else {})
        made = await create(self.kube, name, keys)
        return Sandbox(name, made["metadata"]["uid"])

    async def told(self, sandbox: "Sandbox") -> list[Json]:
        """What the pod says of its networks."""
        pod = await self.kube.get(PODS, sandbox.name, "shop")
        found: list[Json] = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
        return found


@dataclass
class Sandbox:
    """A pod's network namespace; it is there while `made`."""

    name: str
    uid: str = ""
    container: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def namespace(self) -> str:
        return f"weft-u{self.container[:8]}"

    @property
    def path(self) -> str:
        return f"/run/netns/{self.namespace}"

    @property
    def variables(self) -> dict[str, str]:
        pod = {
            "IgnoreUnknown": "1",
            "K8S_POD_NAMESPACE": "shop",
            "K8S_POD_NAME": self.name,
            "K8S_POD_UID": self.uid,
        }
        arguments = ";".join(f"{name}={value}" for name, value in pod.items() if value)
        netns = self.path if Path(self.path).exists() else ""
        return {"CONTAINERID": self.container, "NETNS": netns, "IFNAME": "eth0", "ARGS": arguments}

    @contextlib.contextmanager
    def made(self) -> Iterator["Sandbox"]:
        ip("netns", "add", self.namespace)
        try:
            ip("-n", self.namespace, "link", "set", "lo", "up")
            yield self
        finally:
            if Path(self.path).exists():
                ip("netns", "del", self.namespace)

    def ip(self, *words: str) -> list[Json]:
        found: list[Json] = json.loads(ip("-n", self.namespace, "-j", *words) or "[]")
        return found

    @property
    def links(self) -> list[str]:
        return sorted(each["ifname"] for each in self.ip("link"))


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, timeout=10, capture_output=True, text=True).stdout


@contextlib.asynccontextmanager
async def serving(kube: Kube, folders: Folders, *more: str) -> AsyncIterator[Node]:
    """The node process's parts, with the cluster's definitions."""
    chosen, registry = folders.settings(*more), Registry()
    for each in underlay_crds():
        await kube.create(CRDS, each)
    pods, teller = Pods(kube, NODE), Teller(kube, NODE, clock.now, component=main.COMMAND)
    around = Surroundings(chosen, kube, pods, teller, registry, time.monotonic)
    parts = assembled(around, clock.now)
    server = Serving(parts.plugins, registry, time.monotonic)
    tasks = [asyncio.create_task(work()) for work in (pods.run, teller.run, *parts.works)]
    try:
        async with server.serving(folders.run):
            meta = parts.plugins[MULTUS]
            assert isinstance(meta, Meta)
            yield Node(folders, around, meta)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
