"""From protobuf messages to resources."""

import hashlib
from datetime import timedelta
from typing import Any

from google.protobuf import any_pb2, duration_pb2

from weft.xds import protobuf
from weft.xds.resource import Resource


def resource(type_url: str, name: str, message: Any) -> Resource:
    """Serialize `message`: equal messages give equal bytes and versions."""
    return from_bytes(type_url, name, message.SerializeToString(deterministic=True))


def from_bytes(type_url: str, name: str, body: bytes) -> Resource:
    """A resource whose message is serialized already."""
    return Resource(type_url, name, hashlib.blake2b(body, digest_size=8).hexdigest(), body)


def framed(field: int, body: bytes) -> bytes:
    """`body` as a length-delimited field, to be joined with others into one message.

    Concatenated serializations merge (protobuf's encoding guide, "Last One Wins"), so lists need no copying.
    """
    return protobuf.head(field, len(body)) + body


def packed(message: Any) -> any_pb2.Any:
    """`message` inside an Any, deterministically."""
    return any_pb2.Any(
        type_url=f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        value=message.SerializeToString(deterministic=True),
    )


def duration(value: timedelta) -> duration_pb2.Duration:
    """`value` as protobuf's Duration, exact to the microsecond."""
    seconds, rest = divmod(value // timedelta(microseconds=1), 1_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1000)
