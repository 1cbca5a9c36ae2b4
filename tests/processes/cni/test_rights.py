"""The rights that the node process is installed with, held against what it asks an API server for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.processes.cni.api import NODE, create, serving
from tests.processes.cni.nodes import until
from tests.processes.controlplane.test_rights import parts

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import NAMESPACES, PODS
from weft.cluster.apiserver import paths, rules
from weft.cluster.apiserver.actions import Action
from weft.install import cni
from weft.processes.cni import leaving
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.repairing import Repairer, orders
from weft.processes.cni.settings import Settings, parse
from weft.processes.cni.telling import Teller

Json = dict[str, Any]
Repair = Literal["repair", "delete", "label"]
USUAL: dict[Repair, cni.Settings] = {
    "repair": cni.Settings(repair="repair"),
    "delete": cni.Settings(repair="delete"),
    "label": cni.Settings(repair="label"),
}
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}


class Recording(Kube):
    """Notes what is asked of the API server."""

    asked: set[Action]

    async def _request(
        self, method: str, path: str, query: dict[str, str] | None, data: bytes | None, headers: dict[str, str]
    ) -> bytes:
        self.note(method, path, query or {})
        return await super()._request(method, path, query, data, headers)

    async def lines(self, path: str, query: dict[str, str]) -> AsyncIterator[bytes]:
        self.note("GET", path, query)
        async for line in super().lines(path, query):
            yield line

    def note(self, method: str, path: str, query: dict[str, str]) -> None:
        place = paths.parse(path)
        assert place is not None
        verb = VERBS.get(method, "get" if place.name else "watch" if query.get("watch") else "list")
        resource = f"{place.plural}/{place.subresource}" if place.subresource else place.plural
        self.asked.add(Action(verb, place.group, resource, place.namespace, place.name))


async def test_the_node_process_has_every_right_that_it_needs_and_none_that_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[Action]()
    monkeypatch.setattr(Recording, "asked", asked, raising=False)
    monkeypatch.setattr(leaving, "Kube", Recording)
    async with serving(tmp_path) as admin, Recording(admin.access) as kube:
        await admin.create(NAMESPACES, {"metadata": {"name": "istio-system"}})
        for repair, installed in USUAL.items():
            asked.clear()
            made = {obj["kind"]: list(parts(obj["rules"])) for obj in cni.manifests(installed) if "rules" in obj}
            await worked(admin, kube, told(tmp_path / "kubeconfig", installed), repair)
            for action in asked:
                held = [*made["ClusterRole"], *(made["Role"] if action.namespace == "istio-system" else [])]
                assert any(rules.permits(part, action) for part in held), action
            for part in (*made["ClusterRole"], *made["Role"]):
                assert any(rules.permits(part, action) for action in asked), part


async def worked(admin: Kube, kube: Recording, chosen: Settings, name: str) -> None:
    """All that asks something of the API server has done so."""
    expected = {"delete": "delete pods", "label": "patch pods/status"}.get(name, "watch pods")
    async with working(kube, chosen) as (pods, teller):
        pod = await broken(admin, name)
        for _ in range(2):
            teller.tell(pod, "IstioCNI", "told twice")
        assert await pods.find("shop", "nobody", "", 0.5) is None
        assert await leaving.is_for_good(chosen.api, chosen.namespace, leaving.DAEMON_SET)
        await until(lambda: {"patch events", expected} <= {f"{each.verb} {each.resource}" for each in kube.asked})


def told(kubeconfig: Path, installed: cni.Settings) -> Settings:
    """What the node process is told by the ConfigMap."""
    (config,) = (obj["data"] for obj in cni.manifests(installed) if obj["kind"] == "ConfigMap")
    return parse(["--kubeconfig", str(kubeconfig), "--host-proc", "/proc"], config, host=NODE)


@contextlib.asynccontextmanager
async def working(kube: Kube, chosen: Settings) -> AsyncIterator[tuple[Pods, Teller]]:
    """The parts of the node process that speak to the API server."""
    pods, teller = Pods(kube, NODE, behind=0.1), Teller(kube, NODE, clock.now)
    repairer = Repairer(kube, pods, orders(chosen), teller, Registry(), elapsed=clock.elapsed, now=clock.now)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.run()) for each in (pods, teller, repairer)]
        yield pods, teller
        for task in tasks:
            task.cancel()


async def broken(admin: Kube, name: str) -> Json:
    """A pod whose validation has failed."""
    containers = [{"name": each, "image": "x"} for each in ("app", "istio-proxy")]
    validation = {"name": "istio-validation", "image": "x"}
    annotations = {"sidecar.istio.io/status": "{}"}
    pod = await create(admin, name, annotations, containers=containers, initContainers=[validation])
    ended = {"terminated": {"exitCode": 126, "reason": "Error", "containerID": "containerd://v"}}
    state: Json = {"name": "istio-validation", "state": ended, "lastState": {}, "containerID": "containerd://v"}
    state |= {"ready": False, "restartCount": 1, "image": "x", "imageID": ""}
    await admin.patch(PODS, name, {"status": {"initContainerStatuses": [state]}}, "shop", subresource="status")
    return pod
