"""Message classes of containerd's APIs, out of the descriptors that its own binary carries.

So the messages always match the daemon that is installed, and no generated code is kept here.
"""

import mmap
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
)

CONTAINERD = Path("/usr/bin/containerd")
_GZIP = b"\x1f\x8b\x08"
_RUNTIME = "runtime.v1"
_EVENT_PACKAGES = ("containerd.services.events.v1", "containerd.events", "containerd.types")
_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, timestamp_pb2)

Message = Any  # a class made at run time: its fields are known to protobuf only


class DescriptorError(Exception):
    """The binary carries no CRI descriptors; the message names it."""


class Messages:
    """Message classes by full name (`runtime.v1.VersionRequest`), made when first asked for."""

    def __init__(self, files: bytes) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for module in _WELL_KNOWN:
            self._pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
            self._pool.AddSerializedFile(file.SerializeToString())

    def __call__(self, name: str) -> Message:
        """The class of a message; KeyError where this containerd has none of that name."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))

    def method(self, service: str, method: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
        """How to write the request of a call and to read its response."""
        described = self._pool.FindServiceByName(service).methods_by_name[method]
        answer = message_factory.GetMessageClass(described.output_type)
        return (lambda message: bytes(message.SerializeToString())), answer.FromString


def load(binary: Path = CONTAINERD, cache: Path | None = None) -> Messages:
    """Read the descriptors of `binary`, or of the `cache` folder when it has them for this very binary.

    Extracting takes some 0.1 s; the cached file is named after the binary's size and time.
    """
    if not binary.exists():
        raise DescriptorError(f"{binary}: no such file. Install containerd.")
    stat = binary.stat()
    kept = cache / f"cri-{stat.st_size:x}-{stat.st_mtime_ns:x}.binpb" if cache else None
    if kept and kept.exists():
        return Messages(kept.read_bytes())
    files = extract(binary)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        half = kept.with_suffix(".tmp")
        half.write_bytes(files)
        half.replace(kept)
    return Messages(files)


def extract(binary: Path) -> bytes:
    """A serialized FileDescriptorSet of the files that we speak of, in the order of their imports."""
    runtime, events = [], {}
    for file in _embedded(binary):
        if file.package == _RUNTIME:
            runtime.append(file)
        elif file.package.startswith(_EVENT_PACKAGES):
            events[file.name] = file
    if not runtime:
        raise DescriptorError(f"{binary}: carries no CRI v1 descriptors. Weft needs containerd 1.6 or newer.")
    chosen = descriptor_pb2.FileDescriptorSet()
    for file in (*runtime[:1], *_in_order(events)):
        chosen.file.append(_plain(file, set(events)))
    return chosen.SerializeToString()


def _embedded(binary: Path) -> Iterator[descriptor_pb2.FileDescriptorProto]:
    with binary.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(_GZIP)
        while at != -1:
            try:
                raw = zlib.decompressobj(31).decompress(data[at : at + 400_000])
                file = descriptor_pb2.FileDescriptorProto.FromString(raw)
            except Exception:  # noqa: BLE001, any three bytes may look like a gzip header, and fail in many ways
                file = None
            if file is not None and file.name.endswith(".proto"):
                yield file
            at = data.find(_GZIP, at + 3)


def _in_order(
    files: dict[str, descriptor_pb2.FileDescriptorProto],
) -> list[descriptor_pb2.FileDescriptorProto]:
    done: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def visit(name: str) -> None:
        if name in files and name not in done:
            for dependency in files[name].dependency:
                visit(dependency)
            done[name] = files[name]

    for name in files:
        visit(name)
    return list(done.values())


def _plain(file: descriptor_pb2.FileDescriptorProto, ours: set[str]) -> descriptor_pb2.FileDescriptorProto:
    # gogoproto's options only steer Go's code generator; without them its descriptors need not be loaded
    plain = descriptor_pb2.FileDescriptorProto()
    plain.CopyFrom(file)
    known = {module.DESCRIPTOR.name for module in _WELL_KNOWN} | ours
    kept = [name for name in plain.dependency if name in known]
    del plain.dependency[:], plain.public_dependency[:], plain.weak_dependency[:]
    plain.dependency.extend(kept)
    plain.ClearField("options")
    plain.ClearField("extension")
    plain.syntax = "proto3"
    for message in plain.message_type:
        _strip(message)
    for enum in plain.enum_type:
        _strip_enum(enum)
    return plain


def _strip(message: descriptor_pb2.DescriptorProto) -> None:
    if not message.options.map_entry:
        message.ClearField("options")
    for field in message.field:
        field.ClearField("options")
    for nested in message.nested_type:
        _strip(nested)
    for enum in message.enum_type:
        _strip_enum(enum)


def _strip_enum(enum: descriptor_pb2.EnumDescriptorProto) -> None:
    enum.ClearField("options")
    for value in enum.value:
        value.ClearField("options")
