"""Our bytes, read by protobuf's own parser."""

from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from weft.xds import wire
from weft.xds.channel import Send
from weft.xds.resource import CLUSTER, Resource
from weft.xds.sotw import FullRequest, FullSend
from weft.xds.wire import Encoder, WireError

MESSAGES: Any = discovery_pb2  # its classes are made at import

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
resources = st.builds(Resource, st.just(CLUSTER), text, text, st.binary(max_size=40_000))


@given(st.lists(resources, max_size=4), st.lists(text.filter(bool), max_size=3), text)
def test_a_joined_response_is_what_protobuf_reads(added: list[Resource], removed: list[str], nonce: str) -> None:
    encoder = Encoder()
    send = Send(CLUSTER, tuple(added), tuple(removed), nonce)
    for _ in range(2):  # from nothing, and from what is kept
        read = MESSAGES.DeltaDiscoveryResponse.FromString(encoder.delta(send))
        assert read.type_url == CLUSTER
        assert read.nonce == nonce
        assert list(read.removed_resources) == removed
        got = [(one.name, one.version, one.resource.type_url, one.resource.value) for one in read.resources]
        assert got == [(one.name, one.version, CLUSTER, one.body) for one in added]


@given(st.lists(resources, max_size=4), text.filter(bool))
def test_a_whole_response_is_what_protobuf_reads(all_of_them: list[Resource], nonce: str) -> None:
    read = MESSAGES.DiscoveryResponse.FromString(wire.full(FullSend(CLUSTER, tuple(all_of_them), nonce)))
    assert (read.type_url, read.nonce, read.version_info) == (CLUSTER, nonce, nonce)
    assert [(one.type_url, one.value) for one in read.resources] == [(CLUSTER, one.body) for one in all_of_them]


def test_a_whole_request_is_read_with_its_subscription() -> None:
    raw = MESSAGES.DiscoveryRequest(type_url=CLUSTER, response_nonce="7", resource_names=["a", "b"])
    raw.node.id = "n"
    request, node = wire.decode_full(raw.SerializeToString())
    assert request == FullRequest(CLUSTER, frozenset({"a", "b"}), "7")
    assert node is not None
    assert node.id == "n"
    with pytest.raises(WireError, match="DiscoveryRequest"):
        wire.decode_full(b"\xff\xff\xff")


def test_a_request_is_read_with_its_node_and_its_rejection() -> None:
    raw = MESSAGES.DeltaDiscoveryRequest(
        type_url=CLUSTER,
        response_nonce="7",
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
    )
    raw.node.id = "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local"
    raw.node.metadata.update({"NAMESPACE": "shop", "LABELS": {"app": "web"}})
    raw.error_detail.message = "no"
    request, node = wire.decode(raw.SerializeToString())
    assert (request.type_url, request.nonce, request.error) == (CLUSTER, "7", "no")
    assert (request.subscribe, request.unsubscribe, request.versions) == (("a",), ("b",), {"c": "1"})
    assert node is not None
    assert node.metadata == {"NAMESPACE": "shop", "LABELS": {"app": "web"}}


def test_an_acknowledgement_has_no_node_and_no_error() -> None:
    request, node = wire.decode(MESSAGES.DeltaDiscoveryRequest(response_nonce="1").SerializeToString())
    assert request.error is None
    assert node is None


def test_other_bytes_are_an_error() -> None:
    with pytest.raises(WireError, match="DeltaDiscoveryRequest"):
        wire.decode(b"\xff\xff\xff")


def test_whole_numbers_of_a_nodes_metadata_are_whole_again() -> None:
    # protobuf's Struct knows floats alone
    metadata = {"PROXY_CONFIG": {"concurrency": 2, "tracing": {"sampling": 0.5}}, "PORTS": [80]}
    request = MESSAGES.DeltaDiscoveryRequest()
    request.node.id = "sidecar~10.0.0.1~web.shop~shop.svc.cluster.local"
    request.node.metadata.update(metadata)
    _, node = wire.decode(request.SerializeToString())
    assert node is not None
    assert repr(node.metadata["PROXY_CONFIG"]["concurrency"]) == "2"
    assert node.metadata == metadata
