"""What is built, what is shared, and that the real Envoy takes all of it."""

from dataclasses import replace
from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import envoy, mesh
from tests.support.identities import Authority
from tests.support.proto import cluster_pb2, endpoint_pb2, route_pb2

from weft.model.client_tls import ClientTls, TlsMode
from weft.model.routing import Destination, HostRoutes, HttpRoute, Unresolved
from weft.model.services import Endpoint, InboundPort, Protocol, Service, ServicePort
from weft.model.traffic import HostTraffic, LoadBalancer, Subset, TrafficPolicy
from weft.model.view import PortView, ServiceView, View
from weft.xds.generate import Generator, generate
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resources

NGINX = "outbound|80||nginx.sidecar.svc.cluster.local"


def many(count: int) -> View:
    services = [
        mesh.service_view(
            f"svc-{index:03}",
            f"10.97.{index // 200}.{index % 200 + 1}",
            [("http", 80, Protocol.HTTP), ("tcp", 9000 + index, Protocol.TCP)],
            endpoints=tuple(mesh.endpoint(f"10.244.{index // 200}.{pod + 1}", 8080) for pod in range(3)),
        )
        for index in range(count)
    ]
    return mesh.view(*services)


def changed(before: Resources, after: Resources) -> set[str]:
    """The names of the resources that are not the very same objects."""
    both = {(kind, name) for side in (before, after) for kind, named in side.items() for name in named}
    return {name for kind, name in both if before[kind].get(name) is not after[kind].get(name)}


def with_endpoint(view: View, index: int) -> View:
    """The view after one more pod of the service at `index` became ready."""
    service = view.services[index]
    grown = replace(service.ports[0], endpoints=(*service.ports[0].endpoints, mesh.endpoint("10.244.9.9", 8080)))
    services = list(view.services)
    services[index] = replace(service, ports=(grown, *service.ports[1:]))
    return replace(view, services=tuple(services))


def test_proxies_of_one_namespace_share_everything_but_the_inbound_side() -> None:
    generator = Generator()
    view = many(20)
    server = replace(view, proxy=replace(view.proxy, name="nginx-0", inbound=(mesh.NGINX_INBOUND,)))
    twin = replace(server, proxy=replace(server.proxy, name="nginx-1", address="10.244.0.99"))
    client, one, two = (generator.resources(each) for each in (view, server, twin))
    assert changed(client, one) == {"virtualInbound", "inbound|80||"}
    assert one is two


def test_proxies_of_another_namespace_differ_in_route_tables_only() -> None:
    generator = Generator()
    view = many(20)
    elsewhere = replace(view, proxy=replace(view.proxy, namespace="elsewhere"))
    assert changed(generator.resources(view), generator.resources(elsewhere)) == {"80"}


def test_one_endpoint_changes_one_assignment() -> None:
    generator = Generator()
    view = many(20)
    before = generator.resources(view)
    after = generator.resources(with_endpoint(view, 7))
    assert changed(before, after) == {"outbound|80||svc-007.sidecar.svc.cluster.local"}
    name = "outbound|80||svc-007.sidecar.svc.cluster.local"
    assert before[CLUSTER][name] is after[CLUSTER][name]
    assert before[ENDPOINT][name].version != after[ENDPOINT][name].version


def test_views_that_are_equal_give_equal_bytes_whatever_was_built_before() -> None:
    generator = Generator()
    generator.resources(with_endpoint(many(10), 3))
    assert generator.resources(many(10)) == generate(many(10))


@given(st.permutations(list(range(5))))
@settings(max_examples=20)
def test_the_order_of_endpoints_does_not_matter(order: list[int]) -> None:
    pods = [mesh.endpoint(f"10.244.0.{index}", 80) for index in range(5)]
    shuffled = tuple(pods[index] for index in order)

    def built(endpoints: tuple[Endpoint, ...]) -> Resources:
        ports = [("http", 80, Protocol.HTTP)]
        return generate(mesh.view(mesh.service_view("nginx", "10.96.0.9", ports, endpoints=endpoints)))

    assert built(shuffled) == built(tuple(pods))


def test_subsets_get_the_endpoints_that_carry_their_labels_and_policies_of_their_own() -> None:
    pods = (
        mesh.endpoint("10.244.0.1", 80, labels=(("app", "nginx"), ("version", "v1"))),
        mesh.endpoint("10.244.0.2", 80, labels=(("app", "nginx"), ("version", "v2"))),
    )
    subsets = tuple(
        Subset(name, (("version", name),), TrafficPolicy(balancer))
        for name, balancer in (("v1", LoadBalancer.RANDOM), ("v2", LoadBalancer.ROUND_ROBIN))
    )
    traffic = HostTraffic(TrafficPolicy(LoadBalancer.RANDOM), subsets, "canary.sidecar")
    resources = generate(
        mesh.view(
            mesh.service_view("nginx", "10.96.0.9", [("http", 80, Protocol.HTTP)], endpoints=pods, traffic=traffic)
        )
    )
    addresses = {}
    for subset in ("", "v1", "v2"):
        name = f"outbound|80|{subset}|nginx.sidecar.svc.cluster.local"
        message = endpoint_pb2.ClusterLoadAssignment.FromString(resources[ENDPOINT][name].body)
        addresses[subset] = [
            each.endpoint.address.socket_address.address
            for part in message.endpoints
            for each in part.lb_endpoints
        ]
    assert addresses == {"": ["10.244.0.1", "10.244.0.2"], "v1": ["10.244.0.1"], "v2": ["10.244.0.2"]}
    v2 = cluster_pb2.Cluster.FromString(resources[CLUSTER]["outbound|80|v2|nginx.sidecar.svc.cluster.local"].body)
    assert v2.lb_policy == cluster_pb2.Cluster.ROUND_ROBIN
    path = "/apis/networking.istio.io/v1/namespaces/sidecar/destination-rule/canary"
    assert v2.metadata.filter_metadata["istio"]["config"] == path


def odd() -> View:
    """Everything that could make Envoy refuse something."""
    pods = (mesh.endpoint("10.244.0.1", 80), Endpoint("10.244.0.2", 80, healthy=False))
    http = ("http", 80, Protocol.HTTP)
    nobody = (Unresolved("host not found: nobody", 100),)
    alias = Service(
        hostname="outside.sidecar.svc.cluster.local",
        name="outside",
        namespace="sidecar",
        addresses=(),
        ports=(ServicePort("http", 80, Protocol.HTTP),),
        external_name="example.com",
    )
    # a service entry whose host is the short name of a service, in another case
    entry = Service(
        hostname="NGINX", name="nginx", namespace="sidecar", addresses=("10.96.0.9",), ports=alias.ports
    )
    ports = (PortView(80, (), mesh.to_itself(alias.hostname, 80)),)
    modes = [
        mesh.service_view(
            f"tls-{mode.lower()}",
            f"10.96.1.{index + 1}",
            [http, ("grpc", 7000 + index, Protocol.GRPC)],
            endpoints=pods,
            traffic=HostTraffic(TrafficPolicy(balancer, ClientTls(mode, certificate="/c", key="/k"))),
        )
        for index, (mode, balancer) in enumerate(zip(TlsMode, cycle(LoadBalancer), strict=False))
    ]
    return mesh.view(
        *modes,
        ServiceView(alias, HostTraffic(), ports),
        ServiceView(entry, HostTraffic(), ports),
        mesh.service_view("nginx", "10.96.0.9", [http], endpoints=pods),
        mesh.service_view("tcp", "10.96.0.10", [("tcp", 80, Protocol.TCP)], endpoints=pods),
        mesh.service_view(
            "db", "", [("tcp", 3306, Protocol.TCP), http, ("x", 99, Protocol.AUTO)], endpoints=pods, headless=True
        ),
        mesh.service_view("empty", "10.96.0.11", []),
        mesh.service_view("lost", "10.96.0.12", [http], routes=HostRoutes((HttpRoute(nobody),), "lost.sidecar")),
        mesh.service_view("bare", "10.96.0.13", [http], routes=HostRoutes((HttpRoute(()),), "bare.sidecar")),
        mesh.service_view("none", "10.96.0.14", [http], routes=HostRoutes((), "none.sidecar")),
        mesh.service_view(
            "weightless",
            "10.96.0.15",
            [http],
            routes=HostRoutes((HttpRoute((Destination("a", 1, "", 0), Destination("b", 1, "", 0))),), "w.sidecar"),
        ),
        # HTTP on ports of the proxy itself
        mesh.service_view(
            "own", "10.96.0.16", [(f"http-{port}", port, Protocol.HTTP) for port in (15001, 15006, 15021, 15090)]
        ),
        inbound=(
            InboundPort(80, Protocol.HTTP, "nginx.sidecar.svc.cluster.local", 80),
            InboundPort(80, Protocol.TCP, "tcp.sidecar.svc.cluster.local", 80),
            InboundPort(3306, Protocol.TCP, "db.sidecar.svc.cluster.local", 3306),
            InboundPort(99, Protocol.AUTO, "db.sidecar.svc.cluster.local", 99),
            InboundPort(7000, Protocol.GRPC, "tls-auto.sidecar.svc.cluster.local", 7000),
        ),
    )


def test_envoy_takes_whatever_services_there_are() -> None:
    resources = generate(odd())
    identity = Authority().issue("spiffe://cluster.local/ns/sidecar/sa/default")
    assert envoy.validate(resources) == ""
    with envoy.started(resources, identity) as (running, management):
        dump = running.json("/config_dump")
        assert management.rejected == []
    sections = {section["@type"].rsplit(".", 1)[-1]: section for section in dump["configs"]}
    active = sections["ListenersConfigDump"]["dynamic_listeners"]
    assert {each["name"] for each in active if "active_state" in each} == set(resources[LISTENER])
    tables = sections["RoutesConfigDump"]["dynamic_route_configs"]
    assert {each["route_config"]["name"] for each in tables} == set(resources[ROUTE])
    clusters = {each["cluster"]["name"] for each in sections["ClustersConfigDump"]["dynamic_active_clusters"]}
    assert clusters == set(resources[CLUSTER])


def test_a_domain_belongs_to_the_first_host_that_claims_it() -> None:
    table = route_pb2.RouteConfiguration.FromString(generate(odd())[ROUTE]["80"].body)
    claims = [domain.lower() for host in table.virtual_hosts for domain in host.domains]
    assert len(claims) == len(set(claims))
    domains = {host.name: list(host.domains) for host in table.virtual_hosts}
    assert domains["NGINX:80"] == ["NGINX", "10.96.0.9"]
    assert domains["nginx.sidecar.svc.cluster.local:80"] == [
        "nginx.sidecar.svc.cluster.local",
        "nginx.sidecar.svc",
        "nginx.sidecar",
    ]


def test_an_identity_is_expected_of_every_endpoint_that_takes_mutual_tls() -> None:
    pods = (mesh.endpoint("10.244.0.1", 80, account="b"), mesh.endpoint("10.244.0.2", 80, account="a"))
    known = generate(
        mesh.view(mesh.service_view("nginx", "10.96.0.9", [("http", 80, Protocol.HTTP)], endpoints=pods))
    )
    unknown = generate(mesh.view(mesh.service_view("nginx", "10.96.0.9", [("http", 80, Protocol.HTTP)])))
    body = known[CLUSTER][NGINX].body
    assert b"spiffe://cluster.local/ns/sidecar/sa/a" in body
    assert b"spiffe://cluster.local/ns/sidecar/sa/b" in body
    assert b"outbound_.80_._.nginx.sidecar.svc.cluster.local" in body
    # nobody known yet: at least the namespace must be right
    assert b"spiffe://cluster.local/ns/sidecar/" in unknown[CLUSTER][NGINX].body


def test_a_headless_service_is_reached_where_its_client_dialled() -> None:
    resources = generate(odd())
    name = "outbound|3306||db.sidecar.svc.cluster.local"
    cluster = cluster_pb2.Cluster.FromString(resources[CLUSTER][name].body)
    assert cluster.type == cluster_pb2.Cluster.ORIGINAL_DST
    assert name not in resources[ENDPOINT]
    assert {"10.244.0.1_3306", "10.244.0.2_3306"} <= set(resources[LISTENER])
