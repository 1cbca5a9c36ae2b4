"""ServiceEntries and WorkloadEntries as services of the registry, and what a change of one touches."""

from typing import Any

from tests.model.objects import JSON, endpoint, endpoint_slice, pod, port, service, store_of

from weft.model.registered import Registered
from weft.model.services import Protocol, Proxy, Resolution
from weft.model.store import Store
from weft.model.view import ServiceView
from weft.model.views import view

TLS = {"number": 443, "name": "tls", "protocol": "TLS"}
HTTP = {"number": 80, "name": "http", "protocol": "HTTP"}


def entry(name: str, *hosts: str, namespace: str = "shop", created: str = "", **spec: Any) -> JSON:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": created or None,
            "labels": spec.pop("labels", None),
        },
        "spec": {"hosts": list(hosts), "ports": [TLS], "resolution": "DNS", **spec},
        "status": {"addresses": spec.pop("held", None)},
    }


def workload(name: str, address: str, *, status: JSON | None = None, **spec: Any) -> JSON:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": "shop", "annotations": spec.pop("annotations", None)},
        "spec": {"address": address, "labels": {"app": "web"}, **spec},
        "status": status,
    }


def found(store: Store, host: str) -> Registered:
    return store.snapshot().directory.services[host]


def addresses(store: Store, host: str, number: int = 0) -> list[str]:
    return [f"{each.address}:{each.port}" for each in found(store, host).endpoints[number]]


def seen(store: Store, namespace: str, host: str) -> ServiceView | None:
    services = view(store.snapshot(), Proxy("client", namespace, "10.244.0.99")).services
    return next((each for each in services if each.service.hostname == host), None)


def ready(made: JSON, *, is_ready: bool = True) -> JSON:
    condition = {"type": "Ready", "status": "True" if is_ready else "False"}
    return {**made, "status": {**made["status"], "conditions": [condition]}}


def test_each_host_of_an_entry_is_a_service_of_its_own() -> None:
    store = store_of(entry("api", "A.example.com", "b.example.com"))
    assert list(store.snapshot().directory.services) == ["a.example.com", "b.example.com"]
    made = found(store, "a.example.com").service
    assert (made.resolution, made.external, made.kubernetes) == (Resolution.DNS, True, False)
    assert addresses(store, "a.example.com") == ["a.example.com:443"]
    store.delete("ServiceEntry", "shop", "api")
    assert not store.snapshot().directory.services


def test_ports_say_their_protocol_and_without_one_it_is_learned() -> None:
    ports = [
        {"number": 80, "name": "a", "protocol": "http"},
        {"number": 81, "name": "b", "protocol": "GRPC-Web"},
        {"number": 82, "name": "c"},
        {"number": 3306, "name": "d"},
        {"number": 83, "name": "e", "protocol": "MONGO"},
        {"number": 53, "name": "f", "protocol": "UDP"},
    ]
    made = found(store_of(entry("api", "a.example.com", ports=ports)), "a.example.com").service
    assert [each.protocol for each in made.ports] == [
        Protocol.HTTP,
        Protocol.GRPC_WEB,
        Protocol.AUTO,
        Protocol.TCP,
        Protocol.TCP,
    ]


def test_an_endpoints_own_port_goes_before_the_target_port_and_that_before_the_number() -> None:
    ports = [{**TLS, "targetPort": 8443}, HTTP]
    endpoints = [{"address": "10.0.0.1", "ports": {"tls": 9443}}, {"address": "10.0.0.2"}]
    store = store_of(entry("db", "db.example.com", ports=ports, resolution="STATIC", endpoints=endpoints))
    assert addresses(store, "db.example.com") == ["10.0.0.1:9443", "10.0.0.2:8443"]
    assert addresses(store, "db.example.com", 1) == ["10.0.0.1:80", "10.0.0.2:80"]


def test_an_endpoint_carries_its_labels_place_weight_and_identity() -> None:
    place = {"locality": "eu/eu-1/rack-2", "network": "vm-net", "weight": 7, "serviceAccount": "db"}
    endpoints = [{"address": "10.0.0.1", "labels": {"version": "v1"}, **place}]
    spec: JSON = {"resolution": "STATIC", "endpoints": endpoints, "location": "MESH_INTERNAL"}
    one = found(store_of(entry("db", "db.example.com", **spec)), "db.example.com").endpoints[0][0]
    assert (one.locality, one.network, one.weight) == ("eu/eu-1/rack-2", "vm-net", 7)
    assert one.identity == "spiffe://cluster.local/ns/shop/sa/db"
    assert one.mutual_tls
    assert dict(one.labels) == {
        "version": "v1",
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": "eu-1",
        "topology.istio.io/subzone": "rack-2",
        "topology.istio.io/network": "vm-net",
    }


def test_nobody_outside_the_mesh_is_spoken_to_by_its_mutual_tls() -> None:
    endpoints = [{"address": "10.0.0.1", "serviceAccount": "db"}]
    store = store_of(entry("db", "db.example.com", resolution="STATIC", endpoints=endpoints))
    assert not found(store, "db.example.com").endpoints[0][0].mutual_tls


def test_a_selector_gathers_pods_and_workload_entries_and_follows_them() -> None:
    spec: JSON = {
        "resolution": "STATIC",
        "workloadSelector": {"labels": {"app": "web"}},
        "location": "MESH_INTERNAL",
    }
    store = store_of(entry("web", "web.example.com", **spec))
    assert addresses(store, "web.example.com") == []
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.1", ports={"tls": 9443}))
    store.apply("Pod", ready(pod("web-1", "10.244.0.1")))
    store.apply("Pod", ready(pod("api-1", "10.244.0.2", app="api")))
    store.apply("Pod", ready(pod("web-2", "10.244.0.3", namespace="far")))
    assert addresses(store, "web.example.com") == ["10.1.0.1:9443", "10.244.0.1:443"]
    store.apply("Pod", ready(pod("web-1", "10.244.0.1"), is_ready=False))
    assert [each.healthy for each in found(store, "web.example.com").endpoints[0]] == [True, False]
    store.delete("Pod", "shop", "web-1")
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.1", labels={"app": "other"}))
    assert addresses(store, "web.example.com") == []


def test_a_pod_goes_before_a_workload_entry_of_the_same_address() -> None:
    spec: JSON = {"resolution": "STATIC", "workloadSelector": {"labels": {"app": "web"}}}
    store = store_of(entry("web", "web.example.com", **spec), workload("vm-1", "10.244.0.1", ports={"tls": 9443}))
    assert addresses(store, "web.example.com") == ["10.244.0.1:9443"]
    store.apply("Pod", ready(pod("web-1", "10.244.0.1")))
    assert addresses(store, "web.example.com") == ["10.244.0.1:443"]
    store.delete("Pod", "shop", "web-1")
    assert addresses(store, "web.example.com") == ["10.244.0.1:9443"]


def test_a_workload_with_a_name_for_address_is_left_to_those_who_ask_the_dns() -> None:
    select: JSON = {"workloadSelector": {"labels": {"app": "web"}}}
    store = store_of(
        entry("told", "told.example.com", resolution="STATIC", **select),
        entry("asked", "asked.example.com", resolution="DNS", **select),
        service("web"),
        workload("vm-1", "vm-1.example.com"),
        workload("vm-2", "10.1.0.2"),
    )
    assert addresses(store, "told.example.com") == ["10.1.0.2:443"]
    assert addresses(store, "asked.example.com") == ["10.1.0.2:443", "vm-1.example.com:443"]
    assert addresses(store, "web.shop.svc.cluster.local") == ["10.1.0.2:80"]
    assert [(each.code, each.at.name, each.at.field) for each in store.snapshot().problems] == [
        ("WEFT0003", "told", "spec.resolution")
    ]


def test_a_machines_proxy_serves_the_ports_that_its_entry_names() -> None:
    store = store_of(service("web"), workload("vm-1", "10.1.0.1", ports={"http": 8081}))
    proxy = Proxy("vm-1", "shop", "10.1.0.1", labels=(("app", "web"),))
    inbound = view(store.snapshot(), proxy).proxy.inbound
    assert [(each.number, each.service_port) for each in inbound] == [(8081, 80)]


def test_a_service_of_kubernetes_selects_workload_entries_too() -> None:
    store = store_of(
        service("web", "shop", port(80, "http", 8080), port(81, "named", "web")),
        endpoint_slice("web", endpoint("10.244.0.1", "web-1")),
        pod("web-1", "10.244.0.1"),
    )
    host = "web.shop.svc.cluster.local"
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.1", serviceAccount="web"))
    assert addresses(store, host) == ["10.1.0.1:8080", "10.244.0.1:8080"]
    assert addresses(store, host, 1) == []
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.1", ports={"web": 9000, "http": 9001}))
    assert addresses(store, host) == ["10.1.0.1:9001", "10.244.0.1:8080"]
    assert addresses(store, host, 1) == ["10.1.0.1:9000"]
    store.apply("WorkloadEntry", workload("vm-1", "10.244.0.1"))
    assert addresses(store, host) == ["10.244.0.1:8080"]
    store.delete("WorkloadEntry", "shop", "vm-1")
    assert addresses(store, host) == ["10.244.0.1:8080"]


def test_health_is_what_the_condition_says_and_a_probed_workload_waits_for_it() -> None:
    spec: JSON = {"resolution": "STATIC", "workloadSelector": {"labels": {"app": "web"}}}
    probed = {"proxy.istio.io/health-checks-enabled": "true"}
    store = store_of(entry("web", "web.example.com", **spec))
    for status, annotations, healthy in (
        (None, None, True),
        (None, probed, False),
        ({"conditions": [{"type": "Healthy", "status": "True"}]}, probed, True),
        ({"conditions": [{"type": "Healthy", "status": "False"}]}, None, False),
        ({"conditions": "nonsense"}, None, True),
    ):
        store.apply("WorkloadEntry", workload("vm-1", "10.1.0.1", status=status, annotations=annotations))
        assert found(store, "web.example.com").endpoints[0][0].healthy is healthy


def test_kubernetes_goes_before_an_entry_of_the_same_host_and_the_entry_is_told_so() -> None:
    host = "web.shop.svc.cluster.local"
    store = store_of(entry("squat", host, namespace="evil"), service("web"))
    assert seen(store, "evil", host) == seen(store, "shop", host)
    assert found(store, host).service.kubernetes
    assert [(each.code, each.at.name, each.at.field) for each in store.snapshot().problems] == [
        ("WEFT0003", "squat", "spec.hosts[0]")
    ]
    store.delete("Service", "shop", "web")
    assert not found(store, host).service.kubernetes


def test_each_namespace_may_have_an_entry_of_its_own_for_one_host() -> None:
    own: JSON = {"exportTo": ["."]}
    store = store_of(
        entry("a", "api.example.com", namespace="one", subjectAltNames=["one"], **own),
        entry("b", "api.example.com", namespace="two", subjectAltNames=["two"], created="2020-01-01", **own),
    )
    for namespace in ("one", "two"):
        service_view = seen(store, namespace, "api.example.com")
        assert service_view is not None
        assert service_view.service.subject_alt_names == (namespace,)
    assert seen(store, "three", "api.example.com") is None


def test_the_oldest_entry_that_all_may_see_holds_for_the_rest() -> None:
    store = store_of(
        entry("young", "api.example.com", namespace="one", created="2026-01-01T00:00:00Z"),
        entry("old", "api.example.com", namespace="two", created="2020-01-01T00:00:00Z"),
    )
    three, one = seen(store, "three", "api.example.com"), seen(store, "one", "api.example.com")
    assert three is not None
    assert three.service.namespace == "two"
    assert one is not None
    assert one.service.namespace == "one"


def test_several_entries_of_a_namespace_for_one_host_add_up() -> None:
    static: JSON = {"resolution": "STATIC"}
    store = store_of(
        entry(
            "a", "db.example.com", endpoints=[{"address": "10.0.0.1"}], created="2020-01-01T00:00:00Z", **static
        ),
        entry("b", "db.example.com", endpoints=[{"address": "10.0.0.2"}], ports=[TLS, HTTP], **static),
    )
    assert [each.number for each in found(store, "db.example.com").service.ports] == [443, 80]
    assert addresses(store, "db.example.com") == ["10.0.0.1:443", "10.0.0.2:443"]
    assert addresses(store, "db.example.com", 1) == ["10.0.0.2:80"]
    assert not store.snapshot().problems


def test_an_entry_that_describes_the_host_otherwise_than_an_older_one_is_left_out_and_told_so() -> None:
    store = store_of(
        entry("a", "db.example.com", created="2020-01-01T00:00:00Z"),
        entry("b", "db.example.com", resolution="NONE", created="2026-01-01T00:00:00Z"),
    )
    assert found(store, "db.example.com").service.resolution is Resolution.DNS
    assert [(each.code, each.at.name, each.at.field) for each in store.snapshot().problems] == [
        ("WEFT0003", "b", "spec.hosts[0]")
    ]


def test_a_change_makes_anew_only_what_it_touches() -> None:
    spec: JSON = {"resolution": "STATIC", "workloadSelector": {"labels": {"app": "web"}}}
    store = store_of(
        entry("web", "web.example.com", **spec),
        entry("other", "other.example.com"),
        service("plain"),
        workload("vm-1", "10.1.0.1"),
    )
    before = store.snapshot().directory.services
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.2"))
    after = store.snapshot().directory.services
    assert {host for host in after if before[host] is not after[host]} == {"web.example.com"}
    store.apply("WorkloadEntry", workload("vm-1", "10.1.0.2"))
    assert store.snapshot().directory.services is after


def test_addresses_in_the_status_are_the_hosts_and_nonsense_there_does_no_harm() -> None:
    held = [{"host": "a.example.com", "value": "240.240.0.9"}]
    store = store_of({**entry("api", "a.example.com"), "status": {"addresses": held}})
    assert found(store, "a.example.com").service.allocated == ("240.240.0.9",)
    store.apply("ServiceEntry", {**entry("api", "a.example.com"), "status": {"addresses": 7}})
    assert found(store, "a.example.com").service.allocated == ()
