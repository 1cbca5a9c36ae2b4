"""PUT: which kinds it may create, and which it changes only over a revision (`registry/*/strategy.go`)."""

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call
from weft.cluster.apiserver.scheme import Scheme

_RBAC = "rbac.authorization.k8s.io"
_CREATED = frozenset(
    {
        ("", "endpoints"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("", "limitranges"),
        ("", "services"),
        ("coordination.k8s.io", "leases"),
        (_RBAC, "roles"),
        (_RBAC, "rolebindings"),
        (_RBAC, "clusterroles"),
        (_RBAC, "clusterrolebindings"),
    }
)
_CONDITIONAL = frozenset(
    {
        ("coordination.k8s.io", "leases"),
        ("policy", "poddisruptionbudgets"),
        ("node.k8s.io", "runtimeclasses"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "volumeattachments"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    }
)


def may_create(call: Call) -> bool:
    """Whether a PUT of something that is not there makes it."""
    return (call.kind.group, call.kind.plural) in _CREATED and not call.subresource


def check_create(call: Call, authorization: Authorization) -> None:
    """Refuse who may update but not create."""
    action = Action("create", call.kind.group, call.kind.plural, call.namespace, call.name)
    if not authorization.allows(call.user, action):
        raise errors.forbidden(call.kind, call.name, authorization.refused(call.user, action))


def need_revision(call: Call, scheme: Scheme) -> None:
    """Refuse a PUT without resourceVersion where the kind wants one."""
    if scheme.custom(call.kind) is not None or (call.kind.group, call.kind.plural) in _CONDITIONAL:
        found = errors.invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise errors.invalid(call.kind, call.name, [found])
