"""What a gateway is told, and what of it stays the same while other things change."""

from typing import Any

import pytest
from tests.model.objects import endpoint, endpoint_slice, pod, port, service

from weft.model.gateway_names import gateway_path
from weft.model.router import Requests
from weft.model.services import Proxy, ProxyKind
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE

EDGE = (("istio", "ingressgateway"),)


def gateway(name: str = "edge", number: int = 80, host: str = "*", **spec: Any) -> dict[str, Any]:
    server = {"port": {"number": number, "name": "http", "protocol": "HTTP"}, "hosts": [host]}
    body = {"selector": dict(EDGE), "servers": [server], **spec}
    return {"kind": "Gateway", "metadata": {"name": name, "namespace": "shop"}, "spec": body}


def rule(name: str = "web", **spec: Any) -> dict[str, Any]:
    route = {"route": [{"destination": {"host": "web", "port": {"number": 80}}}]}
    body = {"hosts": ["a.example.com"], "gateways": ["edge"], "http": [route], **spec}
    return {"kind": "VirtualService", "metadata": {"name": name, "namespace": "shop"}, "spec": body}


def replica(number: int = 1, **more: Any) -> Proxy:
    labels = more.pop("labels", EDGE)
    return Proxy(f"edge-{number}", "istio-system", f"10.244.0.{number}", labels, kind=ProxyKind.ROUTER, **more)


@pytest.fixture
def store() -> Store:
    made = Store()
    for each in (service("web"), service("other"), gateway(), rule()):
        made.apply(each["kind"], each)
    made.apply("Pod", pod("web-1", "10.244.0.5"))
    made.apply("EndpointSlice", endpoint_slice("web", endpoint("10.244.0.5", "web-1")))
    return made


def seen(store: Store, proxy: Proxy | None = None) -> View:
    return view(store.snapshot(), proxy or replica())


def ports(found: View) -> dict[int, str]:
    """Tables by port, of plaintext listeners."""
    assert found.router is not None
    handlers = {each.port: each.chains[0].handler for each in found.router.listeners}
    return {number: each.table for number, each in handlers.items() if isinstance(each, Requests)}


def test_a_port_leads_to_the_pods_port_behind_the_service(store: Store) -> None:
    assert ports(seen(store)) == {80: "http.80"}
    edge = service("edge", "istio-system", port(80, "http2", 8080), selector=dict(EDGE))
    store.apply("Service", edge)
    assert ports(seen(store)) == {8080: "http.8080"}


def test_a_port_by_name_leads_to_the_containers_port(store: Store) -> None:
    store.apply("Pod", pod("edge-1", "10.244.0.1", "istio-system", app="edge", istio="ingressgateway"))
    store.apply("Service", service("edge", "istio-system", port(80, "http2", "web"), selector=dict(EDGE)))
    assert ports(seen(store)) == {8080: "http.8080"}


def test_only_the_gateways_whose_labels_a_pod_has_are_its_own(store: Store) -> None:
    stranger = replica(labels=(("istio", "egressgateway"),))
    router = seen(store, stranger).router
    assert router is not None
    assert router.listeners == ()


def test_a_sidecar_is_no_gateway_whatever_its_labels(store: Store) -> None:
    sidecar = Proxy("edge-1", "istio-system", "10.244.0.1", EDGE)
    assert seen(store, sidecar).router is None


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("edge", "shop/edge"),
        ("other/edge", "other/edge"),
        ("./edge", "shop/edge"),
        ("edge.other", "other/edge"),
        ("edge.other.svc.cluster.local", "other/edge"),
        ("mesh", "mesh"),
    ],
)
def test_every_way_to_name_a_gateway_is_understood(written: str, path: str) -> None:
    assert gateway_path(written, "shop") == path


def test_replicas_share_everything(store: Store) -> None:
    generator = Generator()
    one, other = (generator.resources(seen(store, replica(number))) for number in (1, 2))
    assert seen(store, replica(1)).router is seen(store, replica(2)).router
    assert all(one[kind] is other[kind] for kind in (CLUSTER, ENDPOINT, LISTENER, ROUTE))


def test_an_endpoint_that_comes_changes_neither_listeners_nor_routes(store: Store) -> None:
    generator = Generator()
    before, router = generator.resources(seen(store)), seen(store).router
    store.apply("EndpointSlice", endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6")))
    after = generator.resources(seen(store))
    assert seen(store).router is router
    for kind in (LISTENER, ROUTE):
        assert all(after[kind][name] is before[kind][name] for name in before[kind])
    changed = {name for name in after[ENDPOINT] if after[ENDPOINT][name] is not before[ENDPOINT][name]}
    assert changed == {"outbound|80||web.shop.svc.cluster.local"}


def test_a_route_that_changes_changes_no_listener_and_no_other_table(store: Store) -> None:
    generator = Generator()
    store.apply("Gateway", gateway("second", 81))
    store.apply("VirtualService", rule("second", gateways=["second"]))
    before = generator.resources(seen(store))
    store.apply("VirtualService", rule(http=[{"directResponse": {"status": 404}}]))
    after = generator.resources(seen(store))
    assert all(after[LISTENER][name] is before[LISTENER][name] for name in before[LISTENER])
    changed = {name for name in after[ROUTE] if after[ROUTE][name] is not before[ROUTE][name]}
    assert changed == {"http.80"}


def test_a_rule_for_gateways_changes_nothing_for_sidecars(store: Store) -> None:
    generator, sidecar = Generator(), Proxy("web-1", "shop", "10.244.0.5")
    before = generator.resources(seen(store, sidecar))
    store.apply("VirtualService", rule(http=[{"directResponse": {"status": 404}}]))
    after = generator.resources(seen(store, sidecar))
    assert all(after[kind] == before[kind] for kind in (CLUSTER, LISTENER, ROUTE))


def test_a_service_that_a_rule_waits_for_is_routed_to_once_it_is_there(store: Store) -> None:
    store.apply("VirtualService", rule(http=[{"route": [{"destination": {"host": "late"}}]}]))
    generator = Generator()
    before = generator.resources(seen(store))
    store.apply("Service", service("late"))
    after = generator.resources(seen(store))
    assert after[ROUTE]["http.80"] is not before[ROUTE]["http.80"]
    assert b"outbound|80||late.shop" in after[ROUTE]["http.80"].body


def test_a_pods_own_topology_goes_before_the_meshs(store: Store) -> None:
    own = replica(metadata=(("GATEWAY_TOPOLOGY", '{"numTrustedProxies":2}'),))
    found = seen(store, own).router
    wrong = seen(store, replica(metadata=(("GATEWAY_TOPOLOGY", '{"numTrustedProxies":-2}'),))).router
    assert found is not None
    assert wrong is not None
    assert (found.topology.trusted_proxies, wrong.topology.trusted_proxies) == (2, 0)
