"""Routes of connections in views: kept where nothing changed, and the same whatever happened before."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.objects import destination_rule, port, service, store_of, virtual_service

from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.streams import StreamRoute
from weft.model.view import View
from weft.model.views import view

TO_WEB: dict[str, Any] = {"route": [{"destination": {"host": "web", "subset": "v1"}}]}
TO_OTHER: dict[str, Any] = {"route": [{"destination": {"host": "other.example.com", "port": {"number": 443}}}]}


def rule(name: str, created: str = "", **spec: Any) -> dict[str, Any]:
    return virtual_service(name, created=f"2026-01-{created}T00:00:00Z" if created else "", **spec)


def entry(host: str) -> dict[str, Any]:
    ports = [{"name": "tls", "number": 443, "protocol": "TLS"}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": host.replace("*", "wild"), "namespace": "shop"},
        "spec": {"hosts": [host], "ports": ports, "resolution": "NONE"},
    }


OBJECTS = [
    service("web", "shop", port(443, "https"), port(9000, "tcp"), port(9001, "x"), port(80, "http")),
    entry("*.example.com"),
    entry("other.example.com"),
    destination_rule("web", "v1"),
    destination_rule("web", "v2"),
    rule("web", "02", tcp=[TO_WEB]),
    rule("wild", "01", hosts=["*.shop.svc.cluster.local"], tcp=[{"match": [{"port": 9000}], **TO_OTHER}]),
    rule("named", "03", hosts=["web"], tls=[{"match": [{"sniHosts": ["web"]}], **TO_OTHER}]),
    rule("below", hosts=["a.example.com"], tls=[{"match": [{"sniHosts": ["a.example.com"]}], **TO_WEB}]),
    rule("mine", hosts=["web"], tcp=[{"match": [{"sourceLabels": {"app": "x"}}], **TO_OTHER}]),
    rule("theirs", hosts=["web.shop.svc.cluster.local"], exportTo=["other"], tcp=[TO_WEB]),
]
PROXIES = [Proxy("a", "shop", "10.244.0.6", (("app", "x"),)), Proxy("b", "other", "10.244.0.7")]


def views(store: Store) -> list[View]:
    return [view(store.snapshot(), proxy) for proxy in PROXIES]


def streams(store: Store, host: str, number: int, proxy: Proxy = PROXIES[1]) -> tuple[StreamRoute, ...]:
    [found] = [each for each in view(store.snapshot(), proxy).services if each.service.hostname == host]
    return next(each.streams for each in found.ports if each.number == number)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(OBJECTS), st.booleans()), max_size=30))
def test_what_happened_before_does_not_matter(events: list[tuple[dict[str, Any], bool]]) -> None:
    store = Store()
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for obj, applied in events:
        kind, name = obj["kind"], obj["metadata"]["name"]
        if applied:
            store.apply(kind, obj)
            kept[kind, name] = obj
        else:
            store.delete(kind, "shop", name)
            kept.pop((kind, name), None)
        views(store)
    assert views(store) == views(store_of(*kept.values()))


def test_the_oldest_rule_has_what_two_match() -> None:
    store = store_of(*OBJECTS[:3], OBJECTS[3], OBJECTS[5], OBJECTS[6])
    web = "web.shop.svc.cluster.local"
    assert [each.rule for each in streams(store, web, 9000)] == ["wild.shop"]
    assert [each.rule for each in streams(store, web, 9001)] == ["web.shop"]
    assert streams(store, web, 443) == streams(store, web, 80) == ()


def test_a_rule_below_a_wildcard_comes_and_goes_with_it() -> None:
    store = store_of(*OBJECTS[:4])
    assert streams(store, "*.example.com", 443) == ()
    store.apply("VirtualService", OBJECTS[8])
    assert [each.rule for each in streams(store, "*.example.com", 443)] == ["below.shop"]
    store.delete("VirtualService", "shop", "below")
    assert streams(store, "*.example.com", 443) == ()


def test_services_that_no_rule_names_keep_their_views() -> None:
    store = store_of(*OBJECTS[:4])
    before = {each.service.hostname: each for each in views(store)[1].services}
    store.apply("VirtualService", OBJECTS[5])
    after = {each.service.hostname: each for each in views(store)[1].services}
    assert {name for name, each in after.items() if each is not before[name]} == {"web.shop.svc.cluster.local"}
