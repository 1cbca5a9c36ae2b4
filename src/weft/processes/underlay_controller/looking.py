"""The cluster as the collector judges it. The order of the looks counts: who is in pools was there before."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from weft.adapters.kube.client import ApiError, Kube
from weft.adapters.kube.kinds import NODES, PODS, SPIDERENDPOINTS, STATEFULSETS, Kind
from weft.api.spider_endpoint import SpiderEndpoint
from weft.api.underlay_shape import Object, Part
from weft.underlay.ipam import endpoints
from weft.underlay.ipam.allocation import State
from weft.underlay.ipam.collecting import Key, Pod, Replicas, Rules, World
from weft.underlay.ipam.pools import Pool

MACHINES = (
    Kind("kubevirt.io", "v1", "VirtualMachine", "virtualmachines"),
    Kind("kubevirt.io", "v1", "VirtualMachineInstance", "virtualmachineinstances"),
)

T = TypeVar("T")


class Named(Object, frozen=True, kw_only=True):
    """Any object, by its metadata."""


class _PodSpec(Part, frozen=True, kw_only=True):
    node_name: str = ""


class _PodStatus(Part, frozen=True, kw_only=True):
    phase: str = ""


class PodObject(Object, frozen=True, kw_only=True):
    """A pod as far as it counts here."""

    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


class _Condition(Part, frozen=True, kw_only=True):
    type: str
    status: str


class _NodeStatus(Part, frozen=True, kw_only=True):
    conditions: tuple[_Condition, ...] = ()


class _Node(Object, frozen=True, kw_only=True):
    status: _NodeStatus = _NodeStatus()


class _Ordinals(Part, frozen=True, kw_only=True):
    start: int = 0


class _SetSpec(Part, frozen=True, kw_only=True):
    replicas: int = 1
    ordinals: _Ordinals | None = None


class _Set(Object, frozen=True, kw_only=True):
    spec: _SetSpec = _SetSpec()


async def world(kube: Kube, pools: Iterable[tuple[Pool, State]], rules: Rules) -> World:
    """Everything, pools first. Raises what the client raises: half a picture would free what is in use."""
    known = {pool.name: (pool, state) for pool, state in pools}
    noted = await _listed(kube, SPIDERENDPOINTS, SpiderEndpoint)
    pods = await _listed(kube, PODS, PodObject)
    nodes = await _listed(kube, NODES, _Node)
    sets = await _listed(kube, STATEFULSETS, _Set) if rules.stateful_sets else []
    machines: set[Key] = set()
    if rules.kubevirt:
        for kind in MACHINES:
            machines |= {_key(each) for each in await _listed_if_there(kube, kind)}
    return World(
        pools=known,
        endpoints={_key(each): each for each in noted},
        pods={_key(each): pod(each) for each in pods},
        nodes={each.metadata.name: _is_ready(each) for each in nodes},
        sets={_key(each): _replicas(each) for each in sets},
        machines=frozenset(machines),
    )


def pod(found: PodObject) -> Pod:
    """A pod as decisions are made of it."""
    meta = found.metadata
    plain: dict[str, Any] = {"metadata": msgspec.to_builtins(meta)}
    return Pod(
        uid=meta.uid,
        node=found.spec.node_name,
        ended=found.status.phase in {"Succeeded", "Failed"},
        until=datetime.fromisoformat(meta.deletion_timestamp) if meta.deletion_timestamp else None,
        machine=endpoints.machine_of(plain),
        owner=endpoints.topmost(plain),
    )


def _is_ready(node: _Node) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in node.status.conditions)


def _replicas(found: _Set) -> Replicas:
    return Replicas(found.spec.ordinals.start if found.spec.ordinals else 0, found.spec.replicas)


def _key(found: Object) -> Key:
    return found.metadata.namespace, found.metadata.name


async def _listed(kube: Kube, kind: Kind, shape: type[T]) -> list[T]:
    answer = msgspec.json.decode(await kube.fetch(kind.path()), type=dict[str, msgspec.Raw])
    return msgspec.json.decode(answer.get("items", b"null"), type=list[shape] | None) or []  # type: ignore[valid-type]


async def _listed_if_there(kube: Kube, kind: Kind) -> list[Named]:
    try:
        return await _listed(kube, kind, Named)
    except ApiError as error:
        if error.code != 404:
            raise
        return []
