"""Label and field selectors: parsed once at the door, matched often."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.cluster.apiserver import errors, label_syntax


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. `operator` is `In`, `NotIn`, `Exists`, `DoesNotExist`, `Gt` or `Lt`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy this term. `NotIn` holds for an absent key, as in Kubernetes."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case _:
                return _compares(value, self.operator, self.values[0])


def _compares(value: str | None, operator: str, bound: str) -> bool:
    if value is None or not value.lstrip("-").isdigit() or not bound.lstrip("-").isdigit():
        return False
    return int(value) > int(bound) if operator == "Gt" else int(value) < int(bound)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none means everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether the labels of an object satisfy every requirement."""
        return all(requirement.matches(labels or {}) for requirement in self.requirements)


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b,c in (d,e),!f`; a malformed term is a 400."""
    try:
        return LabelSelector(tuple(Requirement(*term) for term in label_syntax.read(text)))
    except label_syntax.SelectorError as error:
        raise errors.bad_request(str(error)) from error


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Read the `matchLabels`/`matchExpressions` form that objects carry."""
    given = selector or {}
    labels = [Requirement(key, "In", (value,)) for key, value in (given.get("matchLabels") or {}).items()]
    terms = [
        Requirement(term["key"], term["operator"], tuple(term.get("values") or ()))
        for term in given.get("matchExpressions") or []
    ]
    return LabelSelector((*labels, *terms))


# What may be asked of built-in kinds besides metadata.name and metadata.namespace (pkg/apis/*/v1/conversion.go).
_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "events": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    "nodes": frozenset({"spec.unschedulable"}),
    "namespaces": frozenset({"status.phase"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "replicasets": frozenset({"status.replicas"}),
    "replicationcontrollers": frozenset({"status.replicas"}),
    "jobs": frozenset({"status.successful"}),
    "certificatesigningrequests": frozenset({"spec.signerName"}),
}


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms of `field=value` and `field!=value`; all must hold."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's fields satisfy every term; an absent field counts as empty."""
        return all((_field(obj, path) == value) is equal for path, value, equal in self.terms)

    def exact(self, path: str) -> str | None:
        """The value that the selector pins `path` to, where it does."""
        return next((value for field, value, equal in self.terms if field == path and equal), None)


_HELD_AS = {"status.successful": "status.succeeded"}
"""Fields that selectors know by another name."""
_UNSET = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.successful": "0",
    "status.replicas": "0",
}


def _field(obj: Mapping[str, Any], path: str) -> str:
    value: Any = obj
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    for part in _HELD_AS.get(path, path).split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return _UNSET.get(path, "")
    return str(value)


def parse_fields(text: str, plural: str, extra: Sequence[str] = ()) -> FieldSelector:
    """Read `metadata.name=x,status.phase!=Running`; a field the kind cannot be selected by is a 400."""
    terms = []
    known = _FIELDS.get(plural, frozenset()) | {"metadata.name", "metadata.namespace"} | frozenset(extra)
    for term in (part for part in re.split(r"(?<!\\),", text) if part):
        found = re.match(r"^([^=!]+)(==|!=|=)(.*)$", term)
        if not found:
            raise errors.bad_request(f"invalid field selector: '{text}'; can't understand '{term}'")
        path, operator, value = found.groups()
        if path not in known:
            raise errors.bad_request(_unknown(path, plural, extra))
        terms.append((path, re.sub(r"\\(.)", r"\1", value), operator != "!="))
    return FieldSelector(tuple(terms))


def _unknown(path: str, plural: str, extra: Sequence[str]) -> str:
    """What Kubernetes says of a field that a kind cannot be selected by: each kind in its own words."""
    if plural == "jobs":
        return f'field label "{path}" not supported for batchv1.Job'
    if extra or plural in _FIELDS:
        return f"field label not supported: {path}"
    return f'"{path}" is not a known field selector: only "metadata.name", "metadata.namespace"'
