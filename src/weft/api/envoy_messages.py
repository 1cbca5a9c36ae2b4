"""Envoy's message types by name, each loaded when it is first asked for.

A message's package is the folder of its module: `envoy.extensions.filters.http.lua.v3.Lua` lies in
`envoy/extensions/filters/http/lua/v3/`.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory

ROOTS: Final = frozenset({"envoy", "xds", "udpa", "google"})
PREFIX: Final = "type.googleapis.com/"


def message_class(full_name: str) -> Any | None:
    """The class of a message, None where there is none of that name."""
    package = full_name.rpartition(".")[0]
    if package.partition(".")[0] not in ROOTS:
        return None
    # a message may lie inside another one, whose name is no package
    while package and not messages_in(package):
        package = package.rpartition(".")[0]
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return message_factory.GetMessageClass(descriptor)


def required(full_name: str) -> Any:
    """The class of a message that is there."""
    found = message_class(full_name)
    if found is None:
        raise LookupError(full_name)
    return found


def class_of(packed: Any) -> Any | None:
    """The class of what an Any holds."""
    return message_class(str(packed.type_url).rpartition("/")[2])


@cache
def messages_in(package: str) -> frozenset[str]:
    """The names of the messages of a package, its modules loaded; none where there is no such package."""
    try:
        folder = importlib.import_module(package)
    except (ImportError, ValueError):
        return frozenset()
    modules = (
        importlib.import_module(f"{package}.{each.name}")
        for each in pkgutil.iter_modules(getattr(folder, "__path__", ()))
        if each.name.endswith("_pb2")
    )
    return frozenset(name for each in modules for name in each.DESCRIPTOR.message_types_by_name)
