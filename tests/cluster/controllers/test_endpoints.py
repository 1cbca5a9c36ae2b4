"""Endpoints at length: hundreds of pods, mirrored Endpoints, and what goes with a Service."""

from typing import Any

import pytest
from tests.cluster.controllers.stage import Stage

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES
from weft.cluster.controllers.endpoints import EndpointsController
from weft.cluster.controllers.mirroring import Mirroring


def service(**spec: Any) -> Json:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports} | spec}


def add(stage: Stage, number: int, *, ready: bool = True, **spec: Any) -> None:
    ip = f"10.0.{number // 250}.{number % 250 + 1}"
    state = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    metadata = {"name": f"p{number:04}", "labels": {"app": "web"}}
    status = {"podIP": ip, "phase": "Running", "conditions": [state]}
    stage.put(PODS, {"metadata": metadata, "spec": {"containers": [], **spec}, "status": status})


@pytest.fixture
def stage() -> Stage:
    return Stage([EndpointsController(), Mirroring()])


def sizes(stage: Stage) -> list[int]:
    return sorted(len(piece["endpoints"]) for piece in stage.caches[ENDPOINTSLICES])


def test_more_than_a_hundred_endpoints_lie_in_several_slices_and_a_change_touches_one(stage: Stage) -> None:
    for number in range(250):
        add(stage, number)
    stage.put(SERVICES, service())
    stage.settle()
    assert sizes(stage) == [50, 100, 100]
    before = {piece["metadata"]["name"]: piece for piece in stage.caches[ENDPOINTSLICES]}
    add(stage, 250)
    stage.settle()
    changed = [piece for piece in stage.caches[ENDPOINTSLICES] if before[piece["metadata"]["name"]] is not piece]
    assert [len(piece["endpoints"]) for piece in changed] == [51]


def test_endpoints_end_at_a_thousand_and_say_so(stage: Stage) -> None:
    for number in range(1001):
        add(stage, number)
    stage.put(SERVICES, service())
    stage.settle()
    held = stage.get(ENDPOINTS, "web")
    assert sum(len(subset["addresses"]) for subset in held["subsets"]) == 1000
    assert held["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
    stage.delete(PODS, "p0000")
    stage.settle()
    assert "endpoints.kubernetes.io/over-capacity" not in stage.get(ENDPOINTS, "web")["metadata"]["annotations"]


def test_unready_pods_are_ready_where_the_service_publishes_them(stage: Stage) -> None:
    add(stage, 1, ready=False)
    stage.put(SERVICES, service(publishNotReadyAddresses=True))
    stage.settle()
    (piece,) = stage.caches[ENDPOINTSLICES]
    assert piece["endpoints"][0]["conditions"] == {"ready": True, "serving": False, "terminating": False}


def test_a_headless_service_names_its_pods_and_is_labelled(stage: Stage) -> None:
    add(stage, 1, hostname="db-0", subdomain="web")
    stage.put(SERVICES, service(clusterIP="None"))
    stage.settle()
    (piece,) = stage.caches[ENDPOINTSLICES]
    assert piece["endpoints"][0]["hostname"] == "db-0"
    assert "service.kubernetes.io/headless" in piece["metadata"]["labels"]
    assert piece["metadata"]["ownerReferences"][0]["kind"] == "Service"


def test_hand_made_endpoints_are_mirrored_and_followed(stage: Stage) -> None:
    stage.put(SERVICES, service(selector=None))
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    addresses = [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]
    stage.put(ENDPOINTS, {"metadata": {"name": "web"}, "subsets": [{"addresses": addresses, "ports": ports}]})
    stage.settle()
    found = {piece["addressType"]: piece["endpoints"][0]["addresses"] for piece in stage.caches[ENDPOINTSLICES]}
    assert found == {"IPv4": ["192.0.2.1"], "IPv6": ["2001:db8::1"]}
    stage.change(ENDPOINTS, "web", {"subsets": [{"addresses": addresses[:1], "ports": ports}]})
    stage.settle()
    assert [piece["addressType"] for piece in stage.caches[ENDPOINTSLICES]] == ["IPv4"]
    stage.delete(ENDPOINTS, "web")
    stage.settle()
    assert not len(stage.caches[ENDPOINTSLICES])


def test_what_a_service_had_goes_with_it(stage: Stage) -> None:
    add(stage, 1)
    stage.put(SERVICES, service())
    stage.settle()
    stage.delete(SERVICES, "web")
    stage.settle()
    assert not len(stage.caches[ENDPOINTSLICES])
    assert not len(stage.caches[ENDPOINTS])


def add_node(stage: Stage, name: str, zone: str) -> None:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    stage.put(NODES, {"metadata": {"name": name, "labels": labels}, "spec": {}})


def told(stage: Stage) -> dict[str, Json]:
    """What the slices say of each endpoint by its node: zone and hints."""
    entries = [one for piece in stage.caches[ENDPOINTSLICES] for one in piece["endpoints"]]
    return {one["nodeName"]: {key: one[key] for key in ("zone", "hints") if key in one} for one in entries}


def test_endpoints_tell_their_zone_and_follow_the_nodes_label(stage: Stage) -> None:
    add_node(stage, "one", "a")
    add_node(stage, "two", "")
    add(stage, 0, nodeName="one")
    add(stage, 1, nodeName="two")
    stage.put(SERVICES, service())
    stage.settle()
    assert told(stage) == {"one": {"zone": "a"}, "two": {}}

    add_node(stage, "two", "b")
    stage.settle()
    assert told(stage) == {"one": {"zone": "a"}, "two": {"zone": "b"}}


@pytest.mark.parametrize("distribution", ["PreferClose", "PreferSameZone", "PreferSameNode"])
def test_a_traffic_distribution_gives_ready_endpoints_hints(stage: Stage, distribution: str) -> None:
    add_node(stage, "one", "a")
    add_node(stage, "two", "b")
    add(stage, 0, nodeName="one")
    add(stage, 1, nodeName="two", ready=False)
    stage.put(SERVICES, service(trafficDistribution=distribution))
    stage.settle()

    hints: Json = {"forZones": [{"name": "a"}]}
    if distribution == "PreferSameNode":
        hints["forNodes"] = [{"name": "one"}]
    assert told(stage) == {"one": {"zone": "a", "hints": hints}, "two": {"zone": "b"}}
