"""What the simulator knows the meaning of: a field that it does not know stops it, rather than misleads.

A message type lists the fields that are followed, or that make no difference to what becomes of a request.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from weft.xds.understood_fields import FIELDS, OPAQUE


class NotUnderstoodError(LookupError):
    """The simulator met something that it cannot follow. The message names it: the place and the field."""


def require(message: Any, place: str, besides: Iterable[str] = ()) -> None:
    """Raise NotUnderstoodError if a field of `message`, or of a message in it, is not known.

    `besides` are fields of `message` itself that are looked at by and by.
    """
    for path in unknown(message, frozenset(besides)):
        raise NotUnderstoodError(f"{place}: the simulator does not understand {path}")


def unknown(message: Any, besides: frozenset[str] = frozenset()) -> Iterator[str]:
    """The paths of all fields that are set and not known."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Any":
        yield from _packed(message)
        return
    if name in OPAQUE or name.startswith("google.protobuf."):
        return
    known = FIELDS.get(name)
    for field, value in message.ListFields():
        if field.name in besides:
            continue
        if known is None or field.name not in known:
            yield f"{field.name} of {name}"
        elif field.message_type is not None:
            for each in _messages(field, value):
                yield from (f"{field.name}.{path}" for path in unknown(each))


def _messages(field: Any, value: Any) -> Iterable[Any]:
    if field.message_type.GetOptions().map_entry:
        is_message = field.message_type.fields_by_name["value"].message_type is not None
        return value.values() if is_message else ()
    return value if field.is_repeated else (value,)


def _packed(message: Any) -> Iterator[str]:
    name = message.type_url.rpartition("/")[2]
    if name in OPAQUE:
        return
    if name not in FIELDS:
        yield name
        return
    try:
        kind = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
        inner = kind.FromString(message.value)
    except (KeyError, DecodeError):
        yield name
        return
    yield from unknown(inner)
