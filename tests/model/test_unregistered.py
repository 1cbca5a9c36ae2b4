"""Hosts that only a VirtualService knows: routed on port 80 for as long as no service has them."""

from typing import Any

from tests.model.objects import JSON, destination_rule, port, route, service, store_of, virtual_service

from weft.base.problem import Severity
from weft.model.services import Proxy
from weft.model.store import Store
from weft.model.view import View
from weft.model.views import view
from weft.xds.generate import Generator
from weft.xds.proto import route_pb2
from weft.xds.resource import CLUSTER, LISTENER, ROUTE, Resources

HOST = "shop.example.com"
CLUSTER_OF_WEB = [service("web", "shop", port(8000, "http"), clusterIP="10.96.0.5", clusterIPs=["10.96.0.5"])]


def seen(store: Store, namespace: str = "shop", **labels: str) -> View:
    return view(store.snapshot(), Proxy("p", namespace, "10.244.0.9", labels=tuple(sorted(labels.items()))))


def hosts(found: View) -> dict[str, str]:
    """The rules in force, by host."""
    return {each.hostname: each.routes.rule for each in found.hosts}


def entry(*numbers: int, host: str = HOST, **spec: Any) -> JSON:
    ports = [{"number": number, "name": f"http-{number}"} for number in numbers]
    return {
        "kind": "ServiceEntry",
        "metadata": {"name": "entry", "namespace": "shop"},
        "spec": {"hosts": [host], "ports": ports, "resolution": "DNS", **spec},
    }


def domains(resources: Resources, table: str) -> set[str]:
    found = route_pb2.RouteConfiguration.FromString(resources[ROUTE][table].body)
    return {domain for each in found.virtual_hosts for domain in each.domains}


def test_a_service_of_the_name_takes_its_own_ports_and_leaves_port_80_when_it_goes() -> None:
    store = store_of(*CLUSTER_OF_WEB, virtual_service("outside", route("web"), hosts=[HOST]))
    generator = Generator()

    def built() -> tuple[dict[str, str], Resources]:
        found = seen(store)
        return hosts(found), generator.resources(found)

    before, resources = built()
    assert before == {HOST: "outside.shop"}
    assert HOST in domains(resources, "80")
    assert "0.0.0.0_80" in resources[LISTENER]
    assert not any(name.endswith(f"|{HOST}") for name in resources[CLUSTER])
    store.apply("ServiceEntry", entry(8080))
    during, taken = built()
    assert during == {}
    assert ("80" in taken[ROUTE], "0.0.0.0_80" in taken[LISTENER]) == (False, False)
    by_name = {each.service.hostname: each for each in seen(store).services}
    assert by_name[HOST].ports[0].routes.rule == "outside.shop"
    store.delete("ServiceEntry", "shop", "entry")
    after, again = built()
    assert after == before
    assert {url: dict(found) for url, found in again.items()} == {
        url: dict(found) for url, found in resources.items()
    }


def test_a_wildcard_is_left_to_the_services_below_it_once_one_has_port_80() -> None:
    store = store_of(*CLUSTER_OF_WEB, virtual_service("wild", route("web"), hosts=["*.example.com"]))
    assert hosts(seen(store)) == {"*.example.com": "wild.shop"}
    store.apply("ServiceEntry", entry(8080))
    assert hosts(seen(store)) == {"*.example.com": "wild.shop"}
    store.apply("ServiceEntry", entry(8080, 80))
    assert hosts(seen(store)) == {}
    store.delete("ServiceEntry", "shop", "entry")
    assert hosts(seen(store)) == {"*.example.com": "wild.shop"}


def test_a_host_below_the_wildcard_of_an_entry_has_its_own_rule_on_port_80() -> None:
    wide = entry(80, host="*.example.com", resolution="NONE")
    store = store_of(*CLUSTER_OF_WEB, wide, virtual_service("outside", route("web"), hosts=[HOST]))
    assert hosts(seen(store)) == {HOST: "outside.shop"}
    assert {HOST, "*.example.com"} <= domains(Generator().resources(seen(store)), "80")


def test_an_entry_that_a_namespace_does_not_see_is_none_to_it() -> None:
    store = store_of(
        *CLUSTER_OF_WEB, entry(80, exportTo=["."]), virtual_service("outside", route("web"), hosts=[HOST])
    )
    assert (hosts(seen(store)), hosts(seen(store, "away"))) == ({}, {HOST: "outside.shop"})


def test_the_oldest_rule_with_routes_of_requests_wins() -> None:
    connections = [{"match": [{"sniHosts": [HOST]}], "route": [{"destination": {"host": "web"}}]}]
    oldest = virtual_service("a", hosts=[HOST], created="2026-01-01T00:00:00Z", tls=connections)
    older = virtual_service("b", route("web"), hosts=[HOST], created="2026-01-02T00:00:00Z")
    younger = virtual_service("c", route("web"), hosts=[HOST], created="2026-01-03T00:00:00Z")
    store = store_of(*CLUSTER_OF_WEB, younger, older, oldest)
    assert hosts(seen(store)) == {HOST: "b.shop"}
    store.delete("VirtualService", "shop", "b")
    assert hosts(seen(store)) == {HOST: "c.shop"}


def test_a_rule_of_which_no_route_fits_the_client_routes_nothing() -> None:
    store = store_of(
        *CLUSTER_OF_WEB,
        virtual_service("outside", route("web", match=[{"sourceLabels": {"app": "a"}}]), hosts=[HOST]),
    )
    assert (hosts(seen(store)), hosts(seen(store, app="a"))) == ({}, {HOST: "outside.shop"})


def test_all_hosts_is_no_host_of_its_own() -> None:
    assert hosts(seen(store_of(virtual_service("all", route("web"), hosts=["*"])))) == {}


def test_a_change_elsewhere_leaves_the_hosts_and_what_is_built_of_them_the_same() -> None:
    rules = [virtual_service(f"r{number}", route("web"), hosts=[f"r{number}.example.com"]) for number in range(3)]
    store = store_of(*CLUSTER_OF_WEB, *rules)
    generator = Generator()
    before = seen(store)
    table = generator.resources(before)[ROUTE]["80"]
    store.apply("Service", service("other", "shop", port(81, "http")))
    store.apply("VirtualService", virtual_service("other", route("web")))
    assert seen(store).hosts is before.hosts
    store.apply("VirtualService", virtual_service("r1", route("web", timeout="3s"), hosts=["r1.example.com"]))
    after = seen(store)
    assert [one is other for one, other in zip(after.hosts, before.hosts, strict=True)] == [True, False, True]
    assert generator.resources(seen(store, "away"))[ROUTE]["80"] == generator.resources(after)[ROUTE]["80"]
    assert generator.resources(after)[ROUTE]["80"] is not table


def test_a_host_follows_the_subsets_that_its_routes_name() -> None:
    store = store_of(*CLUSTER_OF_WEB, virtual_service("outside", route("web", "v1"), hosts=[HOST]))
    [[to]] = [each.destinations for each in seen(store).hosts[0].routes.routes]
    assert getattr(to, "reason", "").startswith('subset not found "v1"')
    store.apply("DestinationRule", destination_rule("web", "v1"))
    [[to]] = [each.destinations for each in seen(store).hosts[0].routes.routes]
    assert getattr(to, "subset", "") == "v1"


def test_a_host_follows_the_meshs_retries() -> None:
    settings = {"metadata": {"name": "istio", "namespace": "istio-system"}}
    store = store_of(*CLUSTER_OF_WEB, virtual_service("outside", route("web"), hosts=[HOST]))
    assert [each.retries for each in seen(store).hosts[0].routes.routes] == [None]
    store.apply("ConfigMap", settings | {"data": {"mesh": "defaultHttpRetryPolicy: {attempts: 5}"}})
    [retries] = [each.retries for each in seen(store).hosts[0].routes.routes]
    assert (retries.attempts if retries else 0) == 5


def test_what_looks_like_a_service_is_a_warning_and_any_other_host_a_note() -> None:
    found = store_of(*CLUSTER_OF_WEB, virtual_service("outside", route("web"), hosts=[HOST, "wbe"])).snapshot()
    assert [(each.severity, each.at.field) for each in found.problems] == [
        (Severity.INFO, "spec.hosts[0]"),
        (Severity.WARNING, "spec.hosts[1]"),
    ]
    assert all("on port 80 only" in each.message for each in found.problems)
