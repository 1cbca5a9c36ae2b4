"""Workloads that register themselves, between connections and control planes; the API is a table here."""

import asyncio
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from weft.adapters.grpc_server import RefusedError
from weft.adapters.kube.client import ApiError
from weft.adapters.kube.kinds import WORKLOADENTRIES, WORKLOADGROUPS, Kind
from weft.pki.identity import SpiffeId
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.registering import Registrar
from weft.xds.wire import Node

Json = dict[str, Any]
GROUP: Json = {
    "metadata": {"name": "vms", "namespace": "shop", "uid": "g"},
    "spec": {"template": {"serviceAccount": "vm"}, "probe": {"tcpSocket": {"port": 80}}},
}
ENTRY = "vms-192.0.2.7"


class Api:
    """As much of a client of Kubernetes as is asked for here."""

    def __init__(self, *objects: tuple[Kind, Json]) -> None:
        self.objects = {(kind.kind, each["metadata"]["name"]): each for kind, each in objects}
        self.down = False

    @property
    def entry(self) -> Json:
        return self.objects["WorkloadEntry", ENTRY]

    async def get(self, kind: Kind, name: str, _namespace: str = "") -> Json:
        if self.down:
            raise OSError("no route")
        if (kind.kind, name) not in self.objects:
            raise ApiError(404, "NotFound", "not found")
        return deepcopy(self.objects[kind.kind, name])

    async def create(self, kind: Kind, obj: Json) -> Json:
        key = (kind.kind, obj["metadata"]["name"])
        if key in self.objects:
            raise ApiError(409, "AlreadyExists", "there")
        obj["metadata"] |= {"uid": "e", "resourceVersion": "1"}
        self.objects[key] = obj
        return obj

    async def patch(
        self, kind: Kind, name: str, patch: Json, _namespace: str = "", *, subresource: str = ""
    ) -> Json:
        known = await self.get(kind, name)
        annotations = {**known["metadata"].get("annotations", {}), **patch["metadata"].get("annotations", {})}
        known["metadata"]["annotations"] = {key: value for key, value in annotations.items() if value is not None}
        if subresource == "status":
            known["status"] = patch["status"]
        self.objects[kind.kind, name] = known
        return known

    async def list(self, kind: Kind) -> list[Json]:
        return [each for (name, _), each in self.objects.items() if name == kind.kind]

    async def delete(self, kind: Kind, name: str, _namespace: str = "", *, uid: str = "") -> None:
        assert self.objects[kind.kind, name]["metadata"]["uid"] == uid
        del self.objects[kind.kind, name]


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


def registrar(api: Any, clock: Clock, name: str = "istiod-1") -> Registrar:
    return Registrar(api, name, clock)


def client(*, account: str = "vm", proved: bool = True, group: str = "vms") -> Client:
    node = Node("sidecar~192.0.2.7~vm.shop~shop.svc.cluster.local", "vm", {"AUTO_REGISTER_GROUP": group})
    return Client(node, SpiffeId("cluster.local", "shop", account) if proved else None, "ipv4:192.0.2.7:1")


async def settled(one: Registrar) -> None:
    while one.pending:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("asks", "code"),
    [
        (client(proved=False), grpc.StatusCode.UNAUTHENTICATED),
        (client(account="thief"), grpc.StatusCode.PERMISSION_DENIED),
        (client(group="nobody"), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_who_may_not_register_is_refused_and_nothing_is_written(asks: Client, code: grpc.StatusCode) -> None:
    api = Api((WORKLOADGROUPS, deepcopy(GROUP)))
    with pytest.raises(RefusedError) as refused:
        await registrar(api, Clock()).connected(asks)
    assert refused.value.code is code
    assert await api.list(WORKLOADENTRIES) == []


async def test_without_the_api_server_a_workload_is_asked_to_come_again() -> None:
    api = Api((WORKLOADGROUPS, deepcopy(GROUP)))
    api.down = True
    with pytest.raises(RefusedError) as refused:
        await registrar(api, Clock()).connected(client())
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_workload_that_comes_back_to_another_control_plane_keeps_its_entry() -> None:
    api, clock = Api((WORKLOADGROUPS, deepcopy(GROUP))), Clock()
    first, second = registrar(api, clock), registrar(api, clock, "istiod-2")
    await first.connected(client())
    assert api.entry["metadata"]["annotations"]["istio.io/workloadController"] == "istiod-1"
    first.disconnected(client())
    await asyncio.sleep(0)
    clock.time += timedelta(seconds=5)
    await second.connected(client())
    annotations = api.entry["metadata"]["annotations"]
    assert annotations["istio.io/workloadController"] == "istiod-2"
    assert "istio.io/disconnectedAt" not in annotations
    clock.time += timedelta(minutes=1)
    await first.look()
    assert api.entry
    first.close()


async def test_what_a_control_plane_left_behind_is_taken_away_by_another_and_what_is_connected_is_not() -> None:
    api, clock = Api((WORKLOADGROUPS, deepcopy(GROUP))), Clock()
    await registrar(api, clock).connected(client())
    clock.time += timedelta(minutes=14)
    other = registrar(api, clock, "istiod-2")
    await other.look()
    assert api.entry
    clock.time += timedelta(minutes=1)
    await other.look()
    assert await api.list(WORKLOADENTRIES) == []


async def test_an_entry_that_somebody_wrote_stays_as_it_is() -> None:
    own: Json = {"metadata": {"name": ENTRY, "namespace": "shop", "uid": "o"}, "spec": {"address": "192.0.2.7"}}
    api = Api((WORKLOADGROUPS, deepcopy(GROUP)), (WORKLOADENTRIES, deepcopy(own)))
    one = registrar(api, Clock())
    await one.connected(client())
    one.reported(client(), "ill")
    await settled(one)
    assert api.entry == own


async def test_reports_become_the_condition() -> None:
    api = Api((WORKLOADGROUPS, deepcopy(GROUP)))
    one = registrar(api, Clock())
    await one.connected(client())
    one.reported(client(), "connection refused")
    await settled(one)
    [condition] = api.entry["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["message"]) == (
        "Healthy",
        "False",
        "connection refused",
    )
