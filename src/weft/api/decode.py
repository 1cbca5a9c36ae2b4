"""From a JSON object to a resource, or to the problems in the way. Bad input raises nothing."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from weft.api import ingress, kubernetes
from weft.api.effect import without_effect
from weft.api.faults import faults
from weft.api.report import Report
from weft.api.resources import RESOURCES
from weft.api.shape import Resource, Shape
from weft.base.problem import At, Problem, Severity

T = TypeVar("T")
KUBERNETES: Mapping[str, type[kubernetes.Partial]] = {
    "Service": kubernetes.Service,
    "EndpointSlice": kubernetes.EndpointSlice,
    "Pod": kubernetes.Pod,
    "Namespace": kubernetes.Namespace,
    "Node": kubernetes.Node,
    "Ingress": ingress.Ingress,
    "IngressClass": ingress.IngressClass,
}
"""Kubernetes' kinds that the mesh reads, each by its partial shape."""


def decode(shape: type[T], obj: Mapping[str, Any]) -> T | tuple[Problem, ...]:
    """Read one object. What is wrong comes back as problems of severity Error, each with its field and a way out.

    Of a `status`, the server's business, only what the shape names is read; nonsense there is skipped.
    """
    body = _readable(shape, obj) if issubclass(shape, Shape) else obj
    report = Report(place(shape.__name__, obj))
    try:
        value = msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        return _misfits(shape, body, report) or (
            report.error("", f"{error}.", "Compare it with kubectl explain."),
        )
    errors = tuple(each for each in check(value) if each.severity is Severity.ERROR)
    return errors or value


def check(value: object) -> tuple[Problem, ...]:
    """Everything to be said about a decoded object by itself: what is invalid, without effect, or deprecated."""
    return tuple(_checked(value)) if isinstance(value, Resource) else ()


def place(kind: str, obj: Mapping[str, Any]) -> At:
    """Say where an object is, as far as it can be read."""
    meta = obj.get("metadata")
    meta = meta if isinstance(meta, Mapping) else {}
    return At(kind=kind, namespace=str(meta.get("namespace") or ""), name=str(meta.get("name") or ""))


def _checked(value: Resource) -> Iterator[Problem]:
    name, meta = type(value).__name__, value.metadata
    kind = RESOURCES[name]
    report = Report(At(kind=name, namespace=meta.namespace, name=meta.name))
    if value.kind not in {"", name}:
        yield report.error("kind", f'expected "{name}", got "{value.kind}".', f"Write kind: {name}.")
    if value.api_version not in {"", *kind.versions}:
        hint = f"Use one of {', '.join(kind.versions)}."
        yield report.error("apiVersion", f'"{value.api_version}" is not a version of {name}.', hint)
    yield from kind.check(value, report)
    yield from without_effect(getattr(value, "spec", None), "spec", report)


def _readable(shape: type[Shape], obj: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(obj)
    status = body.pop("status", None)
    known = next((each.type for each in msgspec.structs.fields(shape) if each.name == "status"), None)
    if status is not None and known is not None:
        with contextlib.suppress(msgspec.ValidationError):
            body["status"] = msgspec.convert(status, known)
    return body


def _misfits(shape: type[Any], body: Mapping[str, Any], report: Report) -> tuple[Problem, ...]:
    found = faults(inspect.type_info(shape), body)
    return tuple(report.error(each.path, each.message, each.hint) for each in found)
