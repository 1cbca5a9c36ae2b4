"""Which webhooks concern a request."""

from dataclasses import dataclass
from typing import Any, Literal

from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind
from weft.cluster.apiserver.selectors import from_object

Sort = Literal["mutating", "validating"]
_GROUP = "admissionregistration.k8s.io"


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook, the configuration it stands in, and the version in which it sees the object."""

    configuration: str
    webhook: Obj
    kind: Kind

    @property
    def name(self) -> str:
        """The webhook's qualified name."""
        return str(self.webhook["name"])

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other."""
        return self.configuration, self.name


def hooks(attributes: Attributes, cluster: Cluster, sort: Sort) -> list[Hook]:
    """The webhooks to call for a request, by name of their configuration (`webhook/generic`)."""
    kind = attributes.call.kind
    if kind.group == _GROUP:
        return []  # a webhook cannot guard the webhooks, or nobody could mend a broken one
    found = []
    for row in cluster.store.rows(f"{_GROUP}/{sort}webhookconfigurations"):
        webhooks = row.decode().get("webhooks") or ()
        for webhook in webhooks:
            seen = _seen_as(webhook, attributes, cluster)
            if seen and _selected(webhook, attributes, cluster):
                found.append(Hook(row.key.name, webhook, seen))
    return found


def constrained(resources: Obj, attributes: Attributes, cluster: Cluster) -> Kind | None:
    """The version in which a policy's `matchConstraints` mean a request; None where they do not."""
    webhook = {**resources, "rules": [*(resources.get("resourceRules") or ())]}
    seen = _seen_as(webhook, attributes, cluster)
    excluded = {**webhook, "rules": [*(resources.get("excludeResourceRules") or ())]}
    if seen is None or _seen_as(excluded, attributes, cluster) is not None:
        return None
    return seen if _selected(webhook, attributes, cluster) else None


def _seen_as(webhook: Obj, attributes: Attributes, cluster: Cluster) -> Kind | None:
    """The version that the webhook's rules name: the request's own or, by matchPolicy Equivalent, another one."""
    own = attributes.call.kind
    others = [
        custom.kind
        for custom in cluster.scheme.customs()
        if (custom.kind.group, custom.kind.plural) == (own.group, own.plural) and custom.kind != own
    ]
    kinds = [own, *others] if webhook.get("matchPolicy", "Equivalent") == "Equivalent" else [own]
    rules = webhook.get("rules") or ()
    return next((kind for kind in kinds if any(_rule(rule, attributes, kind) for rule in rules)), None)


def _selected(webhook: Obj, attributes: Attributes, cluster: Cluster) -> bool:
    in_namespace = _namespace(webhook.get("namespaceSelector"), attributes, cluster)
    return in_namespace and _object(webhook.get("objectSelector"), attributes)


def _rule(rule: Obj, attributes: Attributes, kind: Kind) -> bool:
    call = attributes.call
    scope = rule.get("scope", "*")
    if rule.get("resourceNames") and attributes.name not in rule["resourceNames"]:
        return False
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
