"""Merging one message of Envoy into another, as EnvoyFilter's MERGE does it.

protobuf's own merge, with three differences: values that are messages only to be optional (durations, wrapped
scalars) are replaced, so that `false` can be said; messages of equal types inside an Any are merged; and lists
may be replaced instead of appended to.
"""

from typing import Any, Final

from weft.api.envoy_messages import class_of
from weft.xds import encode

_ANY: Final = "google.protobuf.Any"
_VALUES: Final = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Duration", "Timestamp", "BoolValue", "StringValue", "BytesValue", "DoubleValue", "FloatValue"),
        *("Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "Value", "ListValue"),
    )
)


def merge(target: Any, source: Any, *, replace_lists: bool = False) -> None:
    """Change `target` to what `source`, a message of the same type, adds to it."""
    for field, value in source.ListFields():
        if field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            _merge_map(getattr(target, field.name), value, is_message=_holds_messages(field))
        elif field.is_repeated:
            listed = getattr(target, field.name)
            if replace_lists:
                del listed[:]
            listed.extend(value)
        elif field.message_type is None:
            setattr(target, field.name, value)
        else:
            _merge_message(getattr(target, field.name), value, replace_lists=replace_lists)


def merge_any(target: Any, source: Any, *, replace_lists: bool = False) -> None:
    """Merge what two Anys hold, where both are of one type; else `source` replaces `target`."""
    kind = class_of(source)
    if kind is None or target.type_url != source.type_url:
        target.CopyFrom(source)
        return
    inside = kind.FromString(target.value)
    merge(inside, kind.FromString(source.value), replace_lists=replace_lists)
    target.CopyFrom(encode.packed(inside))


def _merge_message(target: Any, value: Any, *, replace_lists: bool) -> None:
    name = value.DESCRIPTOR.full_name
    if name in _VALUES:
        target.CopyFrom(value)
    elif name == _ANY:
        merge_any(target, value, replace_lists=replace_lists)
    else:
        target.SetInParent()  # an empty message says something by being there
        merge(target, value, replace_lists=replace_lists)


def _merge_map(target: Any, source: Any, *, is_message: bool) -> None:
    """An entry replaces that of the same key, except that what Anys hold is merged."""
    for key, value in source.items():
        if not is_message:
            target[key] = value
        elif value.DESCRIPTOR.full_name == _ANY and key in target:
            merge_any(target[key], value)
        else:
            target[key].CopyFrom(value)


def _holds_messages(field: Any) -> bool:
    return field.message_type.fields_by_name["value"].message_type is not None
