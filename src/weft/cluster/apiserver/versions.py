"""Between the form an object is stored in and the version a request speaks."""

from typing import Any

from weft.cluster.apiserver import autoscalers
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.scheme import Scheme, storage_api_version

Obj = dict[str, Any]
# events.k8s.io/v1 is the core Event under other names (pkg/apis/events/v1/conversion.go).
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_CORE_NAMES = {new: old for old, new in _EVENT_NAMES.items()}


def to_stored(kind: Kind, obj: Obj, scheme: Scheme) -> Obj:
    """The object as it is stored; `kind` is the version it was written in."""
    if kind.group == "events.k8s.io":
        obj = {_CORE_NAMES.get(key, key): value for key, value in obj.items()}
    if kind.api_version == "autoscaling/v1":
        obj = autoscalers.to_v2(obj)
    return {**obj, "apiVersion": storage_api_version(kind, scheme), "kind": kind.kind}


def from_stored(kind: Kind, obj: Obj) -> Obj:
    """The object as the version `kind` shows it."""
    if kind.group == "events.k8s.io":
        obj = {_EVENT_NAMES.get(key, key): value for key, value in obj.items()}
    if kind.api_version == "autoscaling/v1":
        obj = autoscalers.to_v1(obj)
    return {**obj, "apiVersion": kind.api_version, "kind": kind.kind}
