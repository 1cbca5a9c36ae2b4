"""Istio's NameTable on the wire. A proxy's agent needs no more of the model than this."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from weft.model.name_table import Named

_Field = descriptor_pb2.FieldDescriptorProto


class NameTableError(ValueError):
    """The bytes are no NameTable."""


def encoded(infos: tuple[Named, ...]) -> bytes:
    """An istio.networking.nds.v1.NameTable."""
    table = _TABLE()
    for info in infos:
        table.table[info.hostname].ips.extend(info.addresses)
        table.table[info.hostname].registry = info.registry
        table.table[info.hostname].shortname = info.shortname
        table.table[info.hostname].namespace = info.namespace
    body: bytes = table.SerializeToString(deterministic=True)
    return body


def decode(body: bytes) -> tuple[Named, ...]:
    """What a NameTable says; NameTableError for other bytes."""
    try:
        table = _TABLE.FromString(body)
    except DecodeError as error:
        raise NameTableError(f"not a NameTable: {error}") from error
    return tuple(
        Named(host, tuple(info.ips), info.registry, info.shortname, info.namespace)
        for host, info in sorted(table.table.items())
    )


def _class() -> Any:
    # a pool of their own: whoever loads Istio's descriptors beside us does not collide with these
    file = descriptor_pb2.FileDescriptorProto(name="nds.proto", package="istio.networking.nds.v1", syntax="proto3")
    table = file.message_type.add(name="NameTable")
    info = table.nested_type.add(name="NameInfo")
    info.field.add(name="ips", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_REPEATED)
    for number, name in enumerate(("registry", "shortname", "namespace"), start=2):
        info.field.add(name=name, number=number, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    entry = table.nested_type.add(name="TableEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
    _message(entry, "value", 2, ".istio.networking.nds.v1.NameTable.NameInfo", _Field.LABEL_OPTIONAL)
    _message(table, "table", 1, ".istio.networking.nds.v1.NameTable.TableEntry", _Field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("istio.networking.nds.v1.NameTable")
    return message_factory.GetMessageClass(found)


def _message(parent: Any, name: str, number: int, type_name: str, label: Any) -> None:
    parent.field.add(name=name, number=number, type=_Field.TYPE_MESSAGE, type_name=type_name, label=label)


_TABLE = _class()
