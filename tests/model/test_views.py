from typing import Any

from tests.model.objects import (
    destination_rule,
    endpoint,
    endpoint_slice,
    pod,
    port,
    route,
    service,
    snapshot_of,
    store_of,
    virtual_service,
)

from weft.model.services import InboundPort, Protocol, Proxy
from weft.model.views import inbound_ports, proxy_of, view

WEB = "web.shop.svc.cluster.local"


def proxy(name: str = "p", namespace: str = "shop", **labels: str) -> Proxy:
    return Proxy(name, namespace, "10.244.0.6", tuple(sorted(labels.items())))


def test_services_are_sorted_by_hostname_whatever_the_order_of_arrival() -> None:
    snapshot = snapshot_of(service("b"), service("c", "a"), service("a"))
    assert [each.service.hostname.split(".svc")[0] for each in view(snapshot, proxy()).services] == [
        "a.shop",
        "b.shop",
        "c.a",
    ]


def test_proxies_of_one_namespace_share_their_services() -> None:
    snapshot = snapshot_of(service("web"), service("api"), virtual_service("web", route("api")))
    one, two = view(snapshot, proxy("one", app="a")), view(snapshot, proxy("two", app="b"))
    assert one.services is two.services


def test_only_the_services_that_a_rule_tells_apart_by_label_differ() -> None:
    test_only = {**route("api"), "match": [{"sourceLabels": {"tier": "test"}}]}
    snapshot = snapshot_of(service("web"), service("api"), virtual_service("web", test_only, route("web")))
    plain, other, tested = (
        {each.service.name: each for each in view(snapshot, proxy(name, **labels)).services}
        for name, labels in (
            ("one", {"app": "a"}),
            ("two", {"app": "b", "tier": "prod"}),
            ("three", {"tier": "test"}),
        )
    )
    assert plain["api"] is other["api"] is tested["api"]
    assert [len(each["web"].ports[0].routes.routes) for each in (plain, other, tested)] == [1, 1, 2]
    assert plain["web"].ports[0].routes == other["web"].ports[0].routes


def test_a_rule_of_which_no_route_can_fit_leaves_the_service_as_it_is() -> None:
    far = {**route("api"), "match": [{"sourceNamespace": "far"}]}
    snapshot = snapshot_of(service("web"), service("api"), virtual_service("web", far))
    [_, web] = view(snapshot, proxy()).services
    assert web.ports[0].routes.rule == ""
    [_, web] = view(snapshot, proxy(namespace="far")).services
    assert web.ports[0].routes.rule == "web.shop"


def test_a_match_on_a_port_holds_on_that_port_only() -> None:
    two = service("web", "shop", port(80, "http"), port(81, "http-b"))
    rule = virtual_service("web", {**route("api"), "match": [{"port": 81}]}, route("web"))
    [_, web] = view(snapshot_of(two, service("api"), rule), proxy()).services
    assert [len(each.routes.routes) for each in web.ports] == [1, 2]
    assert [each.routes.routes[-1].destinations[0] for each in web.ports] == [
        each.routes.routes[-1].destinations[0] for each in web.ports
    ]
    assert [getattr(each.routes.routes[-1].destinations[0], "port", 0) for each in web.ports] == [80, 81]


def test_a_rule_with_labels_selects_its_clients() -> None:
    rule = destination_rule("web", "v1", workloadSelector={"matchLabels": {"app": "toolbox"}})
    snapshot = snapshot_of(service("web"), rule)
    [chosen], [other] = (view(snapshot, proxy(app=app)).services for app in ("toolbox", "another"))
    assert [each.name for each in chosen.traffic.subsets] == ["v1"]
    assert other.traffic.subsets == ()


def inbound(labels: dict[str, str], *objects: dict[str, Any]) -> tuple[InboundPort, ...]:
    return inbound_ports(snapshot_of(*objects), proxy("web-1", **labels))


def test_inbound_ports_are_those_of_the_services_that_select_the_pod() -> None:
    found = inbound(
        {"app": "web"},
        service("web", "shop", port(80, "http", 8080), port(9000, "tcp", "web"), port(9001, "x", "unknown")),
        service("api"),
        service("web", "away"),
    )
    # the named port is not known before the pod is
    assert found == (InboundPort(8080, Protocol.HTTP, WEB, 80, "http"),)


def test_a_named_target_port_is_looked_up_in_the_pod() -> None:
    found = inbound({}, service("web", "shop", port(80, "http", "web")), pod("web-1", "10.244.0.6"))
    assert found == (InboundPort(8080, Protocol.HTTP, WEB, 80, "http"),)


def test_a_service_without_selector_leads_to_its_endpoints() -> None:
    manual = endpoint_slice("web", endpoint("10.244.0.6", ready=False), endpoint("10.244.0.7"))
    assert inbound({}, service("web", selector=None), manual) == (
        InboundPort(8080, Protocol.HTTP, WEB, 80, "http"),
    )


def test_of_two_services_on_one_port_the_first_by_name_counts() -> None:
    found = inbound({"app": "web"}, service("web"), service("a", selector={"app": "web"}))
    assert [each.hostname for each in found] == ["a.shop.svc.cluster.local"]


def test_a_proxy_keeps_the_inbound_ports_it_brought() -> None:
    own = Proxy("p", "shop", "10.244.0.6", inbound=(InboundPort(1, Protocol.TCP, WEB, 1),))
    assert view(snapshot_of(service("web")), own).proxy is own


def test_a_proxy_is_found_by_its_pod() -> None:
    found = proxy_of(snapshot_of(pod("web-1", "10.244.0.6")), "shop", "web-1")
    assert found is not None
    assert (found.address, found.service_account, dict(found.labels)["app"]) == ("10.244.0.6", "web", "web")
    assert proxy_of(snapshot_of(), "shop", "web-1") is None
    assert proxy_of(snapshot_of(pod("web-1", "")), "shop", "web-1") is None


def test_views_of_services_that_are_gone_are_forgotten() -> None:
    store = store_of(*[service(f"web-{index}") for index in range(20)])
    memo = store.snapshot().memo
    view(store.snapshot(), proxy())
    assert len(memo._views) == 20
    store.replace("Service", [service("web-1")])
    view(store.snapshot(), proxy())
    assert len(memo._views) == 1
