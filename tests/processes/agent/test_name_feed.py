"""istiod's names on Envoy's stream."""

from collections.abc import Sequence

from envoy.service.discovery.v3 import discovery_pb2

from weft.model.name_table import Named
from weft.processes.agent.name_feed import NameFeed
from weft.processes.agent.relay import type_of
from weft.xds import encode
from weft.xds.channel import Send
from weft.xds.name_messages import encoded
from weft.xds.resource import CLUSTER, NAME_TABLE
from weft.xds.wire import Encoder

WEB = Named("web.shop.svc.cluster.local", ("10.96.0.9",), "Kubernetes", "web", "shop")
API = Named("api.example.com", ("240.240.0.1",))


def response(*infos: Named, removed: tuple[str, ...] = (), nonce: str = "1") -> bytes:
    resources = tuple(encode.from_bytes(NAME_TABLE, each.hostname, encoded((each,))) for each in infos)
    return Encoder().delta(Send(NAME_TABLE, resources, removed, nonce))


def request(message: bytes) -> discovery_pb2.DeltaDiscoveryRequest:  # type: ignore[name-defined]  # made at import
    return discovery_pb2.DeltaDiscoveryRequest.FromString(message)  # type: ignore[attr-defined]  # made at import


async def test_names_come_go_and_are_acknowledged() -> None:
    told: list[Sequence[Named]] = []
    feed = NameFeed(told.append)
    acknowledged = request(await feed.take(response(WEB, API, nonce="7")))
    assert (acknowledged.response_nonce, acknowledged.HasField("error_detail")) == ("7", False)
    await feed.take(response(removed=(WEB.hostname,)))
    assert [list(each) for each in told] == [[WEB, API], [API]]


async def test_a_new_stream_says_what_is_known_so_that_only_changes_come() -> None:
    feed = NameFeed(lambda _: None)
    assert not request(feed.opening()).initial_resource_versions
    await feed.take(response(WEB))
    assert list(request(feed.opening()).initial_resource_versions) == [WEB.hostname]


async def test_what_is_no_table_is_refused_and_the_names_stay() -> None:
    told: list[Sequence[Named]] = []
    feed = NameFeed(told.append)
    await feed.take(response(WEB))
    broken = encode.from_bytes(NAME_TABLE, "broken", b"\xff\xff")
    refusal = request(await feed.take(Encoder().delta(Send(NAME_TABLE, (broken,), (), "9"))))
    assert refusal.response_nonce == "9"
    assert "not a NameTable" in refusal.error_detail.message
    assert told == [[WEB]]


def is_names(response: bytes) -> bool:
    return type_of(response) == NameFeed.type_url


def test_envoys_responses_are_told_apart_without_being_decoded() -> None:
    cluster = encode.from_bytes(CLUSTER, "a", b"\xff" * 1000)
    assert not is_names(Encoder().delta(Send(CLUSTER, (cluster,), (), "1")))
    assert is_names(response(WEB))
    assert is_names(response(removed=("a",)))
