"""The scheduler and the endpoints controller: which node, which addresses."""

from datetime import UTC, datetime
from typing import Any

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import (
    ENDPOINTS,
    ENDPOINTSLICES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    SERVICES,
    STORAGECLASSES,
    Kind,
)
from weft.cluster.controllers.cache import Cache
from weft.cluster.controllers.changes import Bind, Create, Patch, Put
from weft.cluster.controllers.endpoints import EndpointsController
from weft.cluster.controllers.events import Tell
from weft.cluster.controllers.loop import World
from weft.cluster.controllers.scheduler import Scheduler

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def world(**objects: list[Json]) -> World:
    kinds: dict[str, Kind] = {
        "nodes": NODES,
        "pods": PODS,
        "services": SERVICES,
        "slices": ENDPOINTSLICES,
        "endpoints": ENDPOINTS,
        "namespaces": NAMESPACES,
        "claims": PERSISTENTVOLUMECLAIMS,
        "volumes": PERSISTENTVOLUMES,
        "classes": STORAGECLASSES,
        "budgets": PODDISRUPTIONBUDGETS,
    }
    caches = {kind: Cache(kind, lambda _kind, _obj: None) for kind in kinds.values()}
    for name, items in objects.items():
        for item in items:
            caches[kinds[name]].put(item)
    return World(caches, NOW)


def meta(name: str, **more: Any) -> Json:
    return {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1", **more}


def node(name: str, **spec: Any) -> Json:
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2", "memory": "1Gi"}}
    return {"metadata": meta(name) | {"namespace": ""}, "spec": spec, "status": status}


def pod(name: str, cpu: str = "100m", **more: Any) -> Json:
    requests = {"resources": {"requests": {"cpu": cpu}}}
    labels = {"app": "web"}
    return {"metadata": meta(name, labels=labels), "spec": {"containers": [requests]} | more, "status": {}}


def running(name: str, ip: str, *, ready: bool = True, going: bool = False) -> Json:
    obj = pod(name, nodeName="a")
    obj["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 8080}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    obj["status"] = {"phase": "Running", "podIP": ip, "conditions": conditions}
    if going:
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return obj


def service(**spec: Any) -> Json:
    port = {"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}
    return {"metadata": meta("web"), "spec": {"selector": {"app": "web"}, "ports": [port]} | spec}


def test_a_pod_goes_to_the_ready_node_with_the_fewest_pods() -> None:
    there = pod("old", nodeName="a")
    plan = Scheduler().plan(("default", "new"), world(nodes=[node("a"), node("b")], pods=[there, pod("new")]))
    (binding,) = [change for change in plan.changes if isinstance(change, Bind)]
    assert binding.node == "b"


def test_a_pod_that_fits_nowhere_is_told_why_once() -> None:
    nodes = [node("a"), node("b", taints=[{"key": "gpu", "effect": "NoSchedule"}]), node("c", unschedulable=True)]
    big = pod("big", cpu="3")
    plan = Scheduler().plan(("default", "big"), world(nodes=nodes, pods=[big]))
    (tell,) = [change for change in plan.changes if isinstance(change, Tell)]
    assert tell.message == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: }, "
        "1 node(s) were unschedulable. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )
    (patch,) = [change for change in plan.changes if isinstance(change, Patch)]
    again = big | {"status": patch.patch["status"]}
    assert not Scheduler().plan(("default", "big"), world(nodes=nodes, pods=[again])).changes


def test_a_toleration_opens_a_tainted_node() -> None:
    tainted = node("a", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    tolerant = pod("p", tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert Scheduler().plan(("default", "p"), world(nodes=[tainted], pods=[tolerant])).changes


def test_a_named_target_port_resolves_to_each_pods_own_number() -> None:
    plan = EndpointsController().plan(
        ("default", "web"), world(services=[service()], pods=[running("p", "10.0.0.1")])
    )
    created = {change.kind: change.object for change in plan.changes if isinstance(change, Create)}
    assert created[ENDPOINTSLICES]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert created[ENDPOINTS]["subsets"][0]["addresses"][0]["ip"] == "10.0.0.1"


def test_an_unready_pod_is_listed_as_such_and_a_terminating_one_only_in_the_slice() -> None:
    pods = [running("a", "10.0.0.1", ready=False), running("b", "10.0.0.2", going=True), running("c", "10.0.0.3")]
    plan = EndpointsController().plan(("default", "web"), world(services=[service()], pods=pods))
    created = {change.kind: change.object for change in plan.changes if isinstance(change, Create)}
    assert [entry["conditions"] for entry in created[ENDPOINTSLICES]["endpoints"]] == [
        {"ready": False, "serving": False, "terminating": False},
        {"ready": False, "serving": True, "terminating": True},
        {"ready": True, "serving": True, "terminating": False},
    ]
    (subset,) = created[ENDPOINTS]["subsets"]
    assert [address["ip"] for address in subset["addresses"]] == ["10.0.0.3"]
    assert [address["ip"] for address in subset["notReadyAddresses"]] == ["10.0.0.1"]


def test_a_slice_is_rewritten_in_place_and_an_unchanged_one_left_alone() -> None:
    first = EndpointsController().plan(
        ("default", "web"), world(services=[service()], pods=[running("p", "10.0.0.1")])
    )
    written = {change.kind: change.object for change in first.changes if isinstance(change, Create)}
    piece = written[ENDPOINTSLICES] | {"metadata": written[ENDPOINTSLICES]["metadata"] | meta("web-x")}
    held = written[ENDPOINTS] | {"metadata": written[ENDPOINTS]["metadata"] | meta("web")}
    same = world(services=[service()], pods=[running("p", "10.0.0.1")], slices=[piece], endpoints=[held])
    assert not EndpointsController().plan(("default", "web"), same).changes
    moved = world(services=[service()], pods=[running("p", "10.0.0.9")], slices=[piece], endpoints=[held])
    changes = EndpointsController().plan(("default", "web"), moved).changes
    assert [type(change) for change in changes] == [Put, Put]
