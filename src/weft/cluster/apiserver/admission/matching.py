"""Which webhooks concern a request."""

from dataclasses import dataclass
from typing import Any, Literal

from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.selectors import from_object

Sort = Literal["mutating", "validating"]
_GROUP = "admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook and the configuration it stands in."""

    configuration: str
    webhook: Obj

    @property
    def name(self) -> str:
        """The webhook's qualified name."""
        return str(self.webhook["name"])


def hooks(attributes: Attributes, cluster: Cluster, sort: Sort) -> list[Hook]:
    """The webhooks to call for a request, by name of their configuration (`webhook/generic`)."""
    kind = attributes.call.kind
    if kind.group == _GROUP:
        return []  # a webhook cannot guard the webhooks, or nobody could mend a broken one
    found = []
    for row in cluster.store.rows(f"{_GROUP}/{sort}webhookconfigurations"):
        webhooks = row.decode().get("webhooks") or ()
        found += [Hook(row.key.name, webhook) for webhook in webhooks if _concerns(webhook, attributes, cluster)]
    return found


def _concerns(webhook: Obj, attributes: Attributes, cluster: Cluster) -> bool:
    return (
        any(_rule(rule, attributes) for rule in webhook.get("rules") or ())
        and _namespace(webhook.get("namespaceSelector"), attributes, cluster)
        and _object(webhook.get("objectSelector"), attributes)
    )


def _rule(rule: Obj, attributes: Attributes) -> bool:
    call = attributes.call
    kind = call.kind
    scope = rule.get("scope", "*")
    return (
        _any(rule.get("operations"), attributes.operation)
        and _any(rule.get("apiGroups"), kind.group)
        and _any(rule.get("apiVersions"), kind.version)
        and (scope == "*" or (scope == "Namespaced") is kind.namespaced)
        and any(_resource(pattern, kind.plural, call.subresource) for pattern in rule.get("resources") or ())
    )


def _any(values: Any, wanted: str) -> bool:
    return "*" in (values or ()) or wanted in (values or ())


def _resource(pattern: str, plural: str, subresource: str) -> bool:
    if pattern == "*/*":
        return True
    resource, _, below = pattern.partition("/")
    return resource in {"*", plural} and below in ({"*", subresource} if "/" in pattern else {subresource})


def _namespace(selector: Obj | None, attributes: Attributes, cluster: Cluster) -> bool:
    if not selector:
        return True
    call = attributes.call
    if (call.kind.group, call.kind.plural) == ("", "namespaces"):
        labels = ((attributes.obj or attributes.old or {}).get("metadata") or {}).get("labels")
        return from_object(selector).matches(labels)
    if not call.kind.namespaced:
        return True
    namespace = cluster.core("namespaces", "", call.namespace)
    return from_object(selector).matches(((namespace or {}).get("metadata") or {}).get("labels"))


def _object(selector: Obj | None, attributes: Attributes) -> bool:
    if not selector:
        return True
    wanted = from_object(selector)
    return any(
        obj is not None and wanted.matches((obj.get("metadata") or {}).get("labels"))
        for obj in (attributes.obj, attributes.old)
    )
