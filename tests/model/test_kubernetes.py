from typing import Any

import pytest
from tests.model.objects import endpoint, endpoint_slice, pod, port, service, snapshot_of, store_of

from weft.model.registry import Registered
from weft.model.services import Endpoint, Protocol

WEB = "web.shop.svc.cluster.local"


def web(*objects: dict[str, Any]) -> Registered:
    return snapshot_of(*objects).directory.services[WEB]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (port(80, "http"), Protocol.HTTP),
        (port(80, "http-web"), Protocol.HTTP),
        (port(3128, "http_proxy-x"), Protocol.HTTP),
        (port(80, "HTTP2"), Protocol.HTTP2),
        (port(80, "grpc-api"), Protocol.GRPC),
        (port(80, "grpc-web"), Protocol.GRPC_WEB),
        (port(80, "grpc-web-x"), Protocol.GRPC_WEB),
        (port(443, "https"), Protocol.HTTPS),
        (port(443, "tls-x"), Protocol.TLS),
        (port(80, "tcp"), Protocol.TCP),
        (port(6379, "redis"), Protocol.TCP),
        (port(80, "web"), Protocol.AUTO),
        (port(80, ""), Protocol.AUTO),
        (port(80, "tcp-x", appProtocol="http"), Protocol.HTTP),
        (port(80, "http", appProtocol="kubernetes.io/h2c"), Protocol.HTTP2),
        (port(80, "http", appProtocol="example.com/own"), Protocol.AUTO),
        (port(3306, ""), Protocol.TCP),
        (port(27017, "db"), Protocol.TCP),
        (port(3306, "http"), Protocol.HTTP),
    ],
)
def test_a_port_speaks_its_app_protocol_else_what_its_name_begins_with(
    made: dict[str, Any], expected: Protocol
) -> None:
    assert [each.protocol for each in web(service("web", "shop", made)).service.ports] == [expected]


def test_ports_that_do_not_carry_tcp_are_left_out() -> None:
    dns = service(
        "web", "shop", port(53, "dns", protocol="UDP"), port(53, "dns-tcp"), port(9, "x", protocol="SCTP")
    )
    assert [(each.name, each.protocol) for each in web(dns).service.ports] == [("dns-tcp", Protocol.TCP)]


def test_a_headless_service_has_no_addresses_and_an_external_name_has_its_target() -> None:
    headless = web(service("web", clusterIP="None", clusterIPs=["None"])).service
    assert (headless.headless, headless.addresses) == (True, ())
    external = web(service("web", type="ExternalName", externalName="example.com", clusterIP="", clusterIPs=None))
    assert (external.service.external_name, external.service.addresses) == ("example.com", ())
    assert web(service("web")).service.addresses == ("10.96.0.9",)


def test_an_endpoint_knows_its_pod() -> None:
    registered = web(
        service("web"),
        endpoint_slice("web", endpoint("10.244.0.6", "web-1")),
        pod("web-1", "10.244.0.6", version="v1"),
    )
    assert registered.endpoints == (
        (
            Endpoint(
                address="10.244.0.6",
                port=8080,
                labels=(
                    ("app", "web"),
                    ("pod-template-hash", "7fc7"),
                    ("security.istio.io/tlsMode", "istio"),
                    ("version", "v1"),
                ),
                mutual_tls=True,
                identity="spiffe://cluster.local/ns/shop/sa/web",
                workload="web",
                namespace="shop",
                node="weft",
            ),
        ),
    )


def test_an_endpoint_without_a_pod_takes_no_mutual_tls() -> None:
    registered = web(service("web"), endpoint_slice("web", endpoint("192.168.1.1")))
    assert registered.endpoints == ((Endpoint("192.168.1.1", 8080, namespace="shop"),),)


@pytest.mark.parametrize(
    ("conditions", "healthy"),
    [
        ([{"ready": True}], [True]),
        ([{"serving": True}], [True]),
        ([{"ready": False}], [False]),
        ([{"ready": True}, {"ready": False, "serving": True, "terminating": True}], [True, False]),
        ([{"ready": False, "serving": True, "terminating": True}], [True]),
        ([{"ready": False, "serving": False, "terminating": True}], [False]),
        ([{"ready": False}, {"ready": False, "serving": True, "terminating": True}], [False, True]),
    ],
)
def test_an_endpoint_that_ends_takes_requests_only_where_no_other_can(
    conditions: list[dict[str, bool]], healthy: list[bool]
) -> None:
    made = [endpoint(f"10.244.0.{index}", "", **each) for index, each in enumerate(conditions, 1)]
    registered = web(service("web"), endpoint_slice("web", *made))
    assert [each.healthy for each in registered.endpoints[0]] == healthy


def test_unready_endpoints_can_be_published() -> None:
    made = service("web", publishNotReadyAddresses=True)
    registered = web(made, endpoint_slice("web", endpoint("10.244.0.6", ready=False)))
    assert [each.healthy for each in registered.endpoints[0]] == [True]


def test_an_endpoint_in_two_slices_counts_once() -> None:
    slices = (
        endpoint_slice("web", endpoint("10.244.0.6", ready=True), name="a"),
        endpoint_slice("web", endpoint("10.244.0.6", ready=False), endpoint("10.244.0.5"), name="b"),
    )
    found = web(service("web"), *slices).endpoints[0]
    assert [(each.address, each.healthy) for each in found] == [("10.244.0.5", True), ("10.244.0.6", True)]


def test_slices_of_the_second_address_family_are_not_the_first_ones() -> None:
    six = endpoint_slice("web", endpoint("fd00::6"), name="six", addressType="IPv6")
    four = endpoint_slice("web", endpoint("10.244.0.6"))
    both = web(service("web", ipFamilies=["IPv4", "IPv6"]), four, six)
    assert [each.address for each in both.endpoints[0]] == ["10.244.0.6"]


def test_a_workload_is_named_for_what_people_deployed() -> None:
    store = store_of(pod("web-7fc7-x", "10.244.0.6"))
    job = pod("report-28123-x", "10.244.0.7")
    job["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "report-28123456", "controller": True}]
    bare = pod("alone", "10.244.0.8")
    del bare["metadata"]["ownerReferences"]
    for each in (job, bare):
        store.apply("Pod", each)
    assert sorted(each.name for each in store.snapshot().workloads.values()) == ["alone", "report", "web"]
