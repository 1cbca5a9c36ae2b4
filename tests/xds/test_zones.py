"""Zones among which the real Envoy keeps traffic near, by how its own workload is spread."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cases.engine import Request
from tests.cases.in_envoy import PORT, Place, place
from tests.support import envoy

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.views import view
from weft.xds import names
from weft.xds.generate import Generator

WEST, EAST = "127.2.9.1", "127.2.9.2"


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        yield made


def node(name: str, zone: str) -> dict[str, Any]:
    labels = {"topology.kubernetes.io/region": "us", "topology.kubernetes.io/zone": zone}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}}


def pod(name: str, address: str, on: str) -> dict[str, Any]:
    owner = {"kind": "DaemonSet", "name": name.split("-", maxsplit=1)[0], "controller": True}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [owner]},
        "spec": {"nodeName": on},
        "status": {"podIP": address},
    }


def objects(client_nodes: tuple[str, ...], setting: dict[str, Any]) -> list[dict[str, Any]]:
    meta = {"name": "web", "namespace": "shop"}
    endpoints = [
        {"addresses": [address], "targetRef": {"kind": "Pod", "name": name, "namespace": "shop"}}
        for name, address in (("web-1", WEST), ("web-2", EAST))
    ]
    return [
        node("west", "west"),
        node("east", "east"),
        pod("web-1", WEST, "west"),
        pod("web-2", EAST, "east"),
        *(pod(f"client-{index}", f"10.244.0.{index}", on) for index, on in enumerate(client_nodes)),
        {
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
        },
        {
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}},
            "ports": [{"name": "http", "port": PORT}],
            "endpoints": endpoints,
        },
        {
            "kind": "DestinationRule",
            "metadata": meta,
            "spec": {"host": "web", "trafficPolicy": {"loadBalancer": {"zoneAwareLbSetting": setting}}},
        },
    ]


@pytest.mark.parametrize(
    ("client_nodes", "setting", "shares"),
    [
        (("west", "east"), {"enabled": True, "minClusterSize": 1}, {WEST: 100}),
        # all clients in one zone: what is evenly spread does not fit there
        (("west",), {"enabled": True, "minClusterSize": 1}, {WEST: 50, EAST: 50}),
        (("west", "east"), {"enabled": True, "minClusterSize": 3}, {WEST: 50, EAST: 50}),
        (("west", "east"), {"enabled": False, "minClusterSize": 1}, {WEST: 50, EAST: 50}),
    ],
)
def test_what_evenly_fits_stays_in_the_zone(
    here: Place,
    monkeypatch: pytest.MonkeyPatch,
    client_nodes: tuple[str, ...],
    setting: dict[str, Any],
    shares: dict[str, float],
) -> None:
    store = Store()
    for each in objects(client_nodes, setting):
        store.apply(each["kind"], each)
    proxy = Proxy(
        "client-0", "shop", "10.244.0.0", locality="us/west", metadata=(("ENABLE_SELF_DISCOVERY", "true"),)
    )
    resources = Generator().resources(view(store.snapshot(), proxy))
    _discover_itself(monkeypatch)
    request = Request("GET", "http", "web", 80, "/", (), (), ())
    with envoy.started(resources, here.identity, namespace=here.namespace) as (_, management):
        assert management.rejected == []
        answers = [here.ask(request, "10.96.0.1", "web") for _ in range(60)]
    found = Counter(each.seen.server for each in answers if each.seen)
    assert set(found) == set(shares)
    for address, share in shares.items():
        assert abs(100 * found[address] / 60 - share) < 27, found


def _discover_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start Envoy as the agent does that was asked to (weft.inject.bootstrap)."""
    usual = envoy.bootstrap

    def bootstrap(*arguments: Any, **more: Any) -> dict[str, Any]:
        made = usual(*arguments, **more)
        made["node"]["locality"] = {"region": "us", "zone": "west"}
        made["cluster_manager"] = {"local_cluster_name": names.LOCAL_CLUSTER}
        told = {"eds_config": {"ads": {}, "resource_api_version": "V3"}, "service_name": names.LOCAL_CLUSTER}
        own = {"name": names.LOCAL_CLUSTER, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": told}
        made["static_resources"]["clusters"].append(own)
        return made

    monkeypatch.setattr(envoy, "bootstrap", bootstrap)
