"""Nobody hands out more than they hold, unless they may `escalate` or `bind` (`registry/rbac/*/policybased`)."""

from weft.cluster.apiserver import errors, rules
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.authorization import EVERYTHING, Authorization
from weft.cluster.apiserver.cluster import Obj
from weft.cluster.apiserver.users import MASTERS

_GROUP = "rbac.authorization.k8s.io"
_ROLES = frozenset({"roles", "clusterroles"})
_BINDINGS = frozenset({"rolebindings", "clusterrolebindings"})


def check(attributes: Attributes, authorization: Authorization) -> None:
    """Refuse a role or binding that gives rights which its author does not have."""
    call, obj = attributes.call, attributes.obj
    if call.kind.group != _GROUP or obj is None or MASTERS in call.user.groups:
        return
    if call.kind.plural in _ROLES:
        _role(attributes, obj, attributes.old or {}, authorization)
    elif call.kind.plural in _BINDINGS:
        _binding(attributes, obj, attributes.old or {}, authorization)


def _may(attributes: Attributes, authorization: Authorization, verb: str, plural: str, name: str) -> bool:
    call = attributes.call
    return authorization.allows(call.user, Action(verb, _GROUP, plural, call.namespace, name))


def _role(attributes: Attributes, role: Obj, before: Obj, authorization: Authorization) -> None:
    call = attributes.call
    if _may(attributes, authorization, "escalate", call.kind.plural, attributes.name):
        return
    sums = role.get("aggregationRule")
    if sums and sums != before.get("aggregationRule"):
        held = authorization.rules(call.user, "")
        if rules.uncovered(held, EVERYTHING):
            why = "must have cluster-admin privileges to use the aggregationRule"
            raise errors.forbidden(call.kind, attributes.name, why)
    if role.get("rules") != before.get("rules"):
        _confirm(attributes, role.get("rules") or [], authorization)


def _binding(attributes: Attributes, binding: Obj, before: Obj, authorization: Authorization) -> None:
    call, reference = attributes.call, binding.get("roleRef") or {}
    if all(binding.get(field) == before.get(field) for field in ("roleRef", "subjects")):
        return
    plural, name = f"{reference.get('kind', '')}s".lower(), str(reference.get("name", ""))
    if plural not in _ROLES or _may(attributes, authorization, "bind", plural, name):
        return
    role = authorization.role(reference, call.namespace)
    if role is None:
        details = {"name": name, "group": _GROUP, "kind": plural}
        raise errors.StatusError(404, "NotFound", f'{plural}.{_GROUP} "{name}" not found', details)
    _confirm(attributes, role.get("rules") or [], authorization)


def _confirm(attributes: Attributes, wanted: list[Obj], authorization: Authorization) -> None:
    call = attributes.call
    missing = rules.uncovered(authorization.rules(call.user, call.namespace), wanted)
    if missing:
        listed = "\n".join(sorted({rules.described(one) for one in rules.compact(missing)}))
        raise errors.forbidden(
            call.kind,
            attributes.name,
            f'user "{call.user.name}" (groups={rules.quoted(call.user.groups)}) is attempting to grant RBAC'
            f" permissions not currently held:\n{listed}",
        )
