"""The xDS messages on the wire, both kinds. Responses are joined from bytes: protobuf concatenation merges."""

from dataclasses import dataclass
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from weft.xds import protobuf
from weft.xds.channel import Send
from weft.xds.resource import Resource
from weft.xds.sotw import FullRequest, FullSend
from weft.xds.stream import Request

_LARGEST_CACHE = 50_000
_LONGEST_ERROR = 8 * 1024
"""Characters of a proxy's words that are kept: they are shown, logged and remembered."""


@dataclass(frozen=True, slots=True)
class Node:
    """Who a client says it is. Metadata is Istio's: NAMESPACE, LABELS, SERVICE_ACCOUNT and more."""

    id: str
    cluster: str
    metadata: dict[str, Any]


class WireError(ValueError):
    """The bytes are not the message that they should be."""


def decode(message: bytes) -> tuple[Request, Node | None]:
    """A DeltaDiscoveryRequest. The node is there in the first message of a stream only."""
    try:
        raw = discovery_pb2.DeltaDiscoveryRequest.FromString(message)  # type: ignore[attr-defined]  # made at import
    except DecodeError as error:
        raise WireError(f"not a DeltaDiscoveryRequest: {error}") from error
    request = Request(
        type_url=raw.type_url,
        subscribe=tuple(raw.resource_names_subscribe),
        unsubscribe=tuple(raw.resource_names_unsubscribe),
        versions=dict(raw.initial_resource_versions),
        nonce=raw.response_nonce,
        error=_error(raw),
    )
    return request, _node(raw)


def decode_full(message: bytes) -> tuple[FullRequest, Node | None]:
    """A DiscoveryRequest, of the state-of-the-world kind. The node is there in a stream's first message only."""
    try:
        raw = discovery_pb2.DiscoveryRequest.FromString(message)  # type: ignore[attr-defined]  # made at import
    except DecodeError as error:
        raise WireError(f"not a DiscoveryRequest: {error}") from error
    return FullRequest(raw.type_url, frozenset(raw.resource_names), raw.response_nonce, _error(raw)), _node(raw)


def full(send: FullSend) -> bytes:
    """A DiscoveryResponse. The nonce is the version too: a response is made of whatever was newest."""
    parts: list[bytes] = [protobuf.text(1, send.nonce)]
    for one in send.resources:
        any_head = protobuf.text(1, one.type_url) + protobuf.head(2, len(one.body))
        parts += (protobuf.head(2, len(any_head) + len(one.body)), any_head, one.body)
    parts += (protobuf.text(4, send.type_url), protobuf.text(5, send.nonce))
    return b"".join(parts)


def _error(raw: Any) -> str | None:
    if not raw.HasField("error_detail"):
        return None
    # they go into logs, where a line break would begin an entry of the client's own
    words = "".join(each if each.isprintable() else " " for each in raw.error_detail.message[:_LONGEST_ERROR])
    return words.strip() or "rejected"


def _node(raw: Any) -> Node | None:
    if not raw.HasField("node"):
        return None
    return Node(raw.node.id, raw.node.cluster, _whole(MessageToDict(raw.node.metadata)))


def _whole(value: Any) -> Any:
    """JSON that went through a protobuf Struct, where all numbers are floats, as it was written."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _whole(each) for key, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value


class Encoder:
    """Encodes delta responses. What precedes a resource's body is kept, for it is the same for every proxy."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, str, str, int], bytes] = {}

    def delta(self, send: Send) -> bytes:
        """A DeltaDiscoveryResponse."""
        parts: list[bytes] = []
        for one in send.resources:
            parts += (self._head(one), one.body)
        parts.append(protobuf.text(4, send.type_url))
        parts.append(protobuf.text(5, send.nonce))
        parts += (protobuf.text(6, name) for name in send.removed)
        return b"".join(parts)

    def _head(self, resource: Resource) -> bytes:
        key = (resource.type_url, resource.name, resource.version, len(resource.body))
        if (head := self._heads.get(key)) is None:
            if len(self._heads) >= _LARGEST_CACHE:
                self._heads.clear()
            head = self._heads[key] = _head(resource)
        return head


def _head(resource: Resource) -> bytes:
    """All of `DeltaDiscoveryResponse.resources` up to the body, which is the last field of the last field."""
    size = len(resource.body)
    value = protobuf.head(2, size)  # Any.value
    any_url = protobuf.text(1, resource.type_url)  # Any.type_url
    any_size = len(any_url) + len(value) + size
    fields = protobuf.text(1, resource.version) + protobuf.text(3, resource.name) + protobuf.head(2, any_size)
    return protobuf.head(2, len(fields) + any_size) + fields + any_url + value
