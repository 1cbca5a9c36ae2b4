"""Changes of EnvoyFilters to a proxy's bootstrap, made by its agent."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from weft.api.envoy_filter_checks import MESSAGES
from weft.api.envoy_values import parsed
from weft.xds.patch_merge import merge
from weft.xds.proto import bootstrap_pb2


def patched(bootstrap: Mapping[str, Any], changes: Iterable[bytes]) -> dict[str, Any]:
    """A bootstrap, as JSON, with serialized ones merged into it."""
    message = parsed(MESSAGES["BOOTSTRAP"], bootstrap)
    for each in changes:
        change = bootstrap_pb2.Bootstrap.FromString(each)
        merge(message, change)
    found: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found
