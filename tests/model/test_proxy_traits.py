"""What a proxy's settings make of it."""

from dataclasses import replace
from datetime import timedelta

from tests.support.mesh import service_view, view

from weft.model.proxy_traits import USUAL, IdentityFiles, traits
from weft.model.services import Protocol
from weft.processes.controlplane import node_metadata
from weft.xds.generate import Generator
from weft.xds.proto import listener_pb2, original_src_pb2
from weft.xds.resource import LISTENER


def test_settings_that_say_nothing_of_traffic_leave_a_proxy_as_it_is() -> None:
    assert traits({"concurrency": 2}, at_edge=False) == USUAL
    assert node_metadata.traits({"PROXY_CONFIG": {"concurrency": 2}}, at_edge=False) is USUAL
    assert node_metadata.traits({}, at_edge=True) is USUAL


def test_settings_are_read_once_for_each_kind_of_proxy() -> None:
    config = {"connectionSettings": {"httpMaxConcurrentStreams": 7, "httpIdleTimeout": "90s"}}
    found = node_metadata.traits({"PROXY_CONFIG": config}, at_edge=False)
    assert found.connections.max_concurrent_streams == 7
    assert found.connections.idle_timeout == timedelta(seconds=90)
    assert node_metadata.traits({"PROXY_CONFIG": dict(config)}, at_edge=False) is found


def test_files_with_certificates_are_named_by_metadata_and_a_chain_without_its_key_is_none() -> None:
    metadata = {"TLS_CLIENT_CERT_CHAIN": "/c", "TLS_CLIENT_KEY": "/k", "TLS_SERVER_CERT_CHAIN": "/s"}
    found = node_metadata.traits({**metadata, "TLS_SERVER_ROOT_CERT": "/r"}, at_edge=False)
    assert (found.as_client, found.as_server) == (IdentityFiles("/c", "/k"), IdentityFiles(roots="/r"))


def test_settings_that_nobody_can_read_serve_the_proxy_as_usual() -> None:
    assert traits({"proxyHeaders": {"server": "me"}}, at_edge=False) == USUAL


def test_what_is_said_goes_over_the_profile_and_the_profile_is_for_gateways() -> None:
    edge = {"connectionSettings": {"profile": "EDGE", "httpIdleTimeout": "1m", "httpMergeSlashes": False}}
    found = traits(edge, at_edge=True).connections
    assert (found.idle_timeout, found.merge_slashes, found.max_concurrent_streams) == (
        timedelta(minutes=1),
        False,
        100,
    )
    assert traits(edge, at_edge=False).connections.max_concurrent_streams is None
    action = {"connectionSettings": {"httpHeadersWithUnderscoresAction": "HEADERS_WITH_UNDERSCORES_DROP_HEADER"}}
    assert traits(action, at_edge=False).connections.underscores == "DROP_HEADER"


def test_proxies_of_other_traits_share_among_themselves_and_leave_the_rest_alone() -> None:
    generator = Generator()
    usual = view(service_view("web", "10.96.0.9", [("http", 80, Protocol.HTTP)]))
    named = traits({"proxyHeaders": {"server": {"value": "shop"}}}, at_edge=False)
    other = replace(usual, proxy=replace(usual.proxy, traits=named))
    plain, changed = generator.resources(usual)[LISTENER], generator.resources(other)[LISTENER]
    assert plain["0.0.0.0_80"] is not changed["0.0.0.0_80"]
    assert plain["virtualOutbound"] is changed["virtualOutbound"], "nothing in it is of requests"
    again = replace(usual, proxy=replace(usual.proxy, name="twin", traits=named))
    assert generator.resources(again)[LISTENER]["0.0.0.0_80"] is changed["0.0.0.0_80"]
    assert generator.resources(usual)[LISTENER] is plain


def test_transparent_interception_makes_the_inbound_listener_transparent_and_no_gateways() -> None:
    found = traits({"interceptionMode": "TPROXY"}, at_edge=False)
    assert found.transparent
    assert not traits({"interceptionMode": "TPROXY"}, at_edge=True).transparent
    assert traits({"interceptionMode": "REDIRECT"}, at_edge=False) == USUAL
    usual = view(service_view("web", "10.96.0.9", [("http", 80, Protocol.HTTP)]))
    other = replace(usual, proxy=replace(usual.proxy, traits=found))
    resources = Generator().resources(other)[LISTENER]
    inbound = listener_pb2.Listener.FromString(resources["virtualInbound"].body)
    assert inbound.transparent.value
    first, second, *_ = inbound.listener_filters
    assert [first.name, second.name] == [
        "envoy.filters.listener.original_dst",
        "envoy.filters.listener.original_src",
    ]
    mark = original_src_pb2.OriginalSrc()
    assert second.typed_config.Unpack(mark)
    assert mark.mark == 1337
    assert not listener_pb2.Listener.FromString(resources["virtualOutbound"].body).HasField("transparent")
