"""Which filter chain the simulator takes, and what it refuses to guess."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support import mesh

from weft.model.services import Protocol
from weft.xds import encode
from weft.xds.generate import generate
from weft.xds.proto import address_pb2, listener_components_pb2, listener_pb2, route_pb2
from weft.xds.resource import ROUTE
from weft.xds.simulate import NotUnderstoodError, Request, simulate
from weft.xds.simulate_chains import HTTP_INSPECTOR, TLS_INSPECTOR, filter_chain

MATCH: Any = listener_components_pb2.FilterChainMatch


def listener(*chains: tuple[str, dict[str, Any]], default: str = "") -> Any:
    made = listener_pb2.Listener(
        filter_chains=[
            listener_components_pb2.FilterChain(name=name, filter_chain_match=MATCH(**match))
            for name, match in chains
        ],
        listener_filters=[
            listener_components_pb2.ListenerFilter(name=each) for each in (HTTP_INSPECTOR, TLS_INSPECTOR)
        ],
    )
    if default:
        made.default_filter_chain.name = default
    return made


def taken(listener: Any, request: Request) -> str:
    chain = filter_chain(listener, request)
    return "" if chain is None else str(chain.name)


def cidr(prefix: str, length: int) -> Any:
    found = address_pb2.CidrRange(address_prefix=prefix)
    found.prefix_len.value = length
    return found


SNI = (
    ("exact", {"server_names": ["a.example.com"]}),
    ("wild", {"server_names": ["*.example.com"]}),
    ("wilder", {"server_names": ["*.com"]}),
    ("any", {"transport_protocol": "tls"}),
)


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("a.example.com", "exact"),
        ("A.example.com", "exact"),
        ("b.example.com", "wild"),
        ("b.a.example.com", "wild"),
        ("example.com", "wilder"),
        ("example.org", "any"),
        ("", "any"),
    ],
)
def test_the_longest_server_name_wins(name: str, chain: str) -> None:
    request = Request("10.0.0.1", 443, http=False, tls=True, server_name=name)
    assert taken(listener(*SNI), request) == chain


def test_a_chosen_server_name_is_not_left_again_for_another_chain() -> None:
    chains: tuple[tuple[str, dict[str, Any]], ...] = (
        ("named", {"server_names": ["a.org"], "application_protocols": ["h2"]}),
        ("any", {}),
    )
    request = Request("10.0.0.1", 443, tls=True, server_name="a.org", protocols=("http/1.1",))
    assert taken(listener(*chains), request) == ""
    assert taken(listener(*chains, default="rest"), request) == "rest"


@pytest.mark.parametrize(
    ("address", "chain"), [("10.1.2.3", "narrow"), ("10.2.2.3", "wide"), ("192.168.0.1", "rest")]
)
def test_the_narrowest_network_wins(address: str, chain: str) -> None:
    chains: tuple[tuple[str, dict[str, Any]], ...] = (
        ("wide", {"prefix_ranges": [cidr("10.0.0.0", 8)]}),
        ("narrow", {"prefix_ranges": [cidr("10.1.0.0", 16)]}),
        ("rest", {}),
    )
    assert taken(listener(*chains), Request(address, 80)) == chain


@pytest.mark.parametrize(
    ("offered", "chain"),
    [(("h2", "http/1.1"), "two"), (("http/1.1", "h2"), "one"), (("x",), "rest"), ((), "rest")],
)
def test_the_clients_first_protocol_wins(offered: Sequence[str], chain: str) -> None:
    chains: tuple[tuple[str, dict[str, Any]], ...] = (
        ("one", {"application_protocols": ["http/1.1"]}),
        ("two", {"application_protocols": ["h2"]}),
        ("rest", {}),
    )
    request = Request("10.0.0.1", 443, tls=True, protocols=tuple(offered))
    assert taken(listener(*chains), request) == chain


def test_a_field_that_the_simulator_does_not_know_stops_it() -> None:
    service = mesh.service_view("web", "10.100.0.1", [("http", 80, Protocol.HTTP)])
    resources = dict(generate(mesh.view(service)))
    table = route_pb2.RouteConfiguration.FromString(resources[ROUTE]["80"].body)
    table.virtual_hosts[0].routes[0].route.internal_redirect_policy.SetInParent()
    resources[ROUTE] = {**resources[ROUTE], "80": encode.resource(ROUTE, "80", table)}
    with pytest.raises(
        NotUnderstoodError, match=r"route default: .* route\.internal_redirect_policy of envoy\.config"
    ):
        simulate(Request("10.100.0.1", 80, "web"), resources)
