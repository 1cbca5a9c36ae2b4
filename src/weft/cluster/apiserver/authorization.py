"""Who may do what: administrators all, kubelets what their pods need, and everybody what RBAC grants.

Source: `plugin/pkg/auth/authorizer/rbac`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from weft.cluster.apiserver import nodeauthorization, rules
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.users import MASTERS, SERVICE_ACCOUNT, User

_GROUP = "rbac.authorization.k8s.io"
EVERYTHING: tuple[Obj, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
"""What administrators hold."""


class Decision(NamedTuple):
    """Whether something is allowed, and why, where there is more to say."""

    allowed: bool
    reason: str = ""


class Grant(NamedTuple):
    """A rule that somebody holds, and by which binding."""

    rule: Obj
    by: str


@dataclass(frozen=True, slots=True)
class Authorization:
    """The one place where access is decided."""

    cluster: Cluster

    def allows(self, user: User, action: Action) -> bool:
        """Whether the user may do this."""
        return self.decide(user, action).allowed

    def decide(self, user: User, action: Action) -> Decision:
        """Whether the user may do this, and the reason as reviews tell it."""
        if MASTERS in user.groups:
            return Decision(allowed=True)
        node = nodeauthorization.node_of(user)
        why = nodeauthorization.refusal(self.cluster, node, action) if node and not action.path else ""
        if node and not action.path and not why:
            return Decision(allowed=True)
        broken: list[str] = []
        for grant in self.grants(user, action.namespace, broken):
            if rules.permits(grant.rule, action):
                return Decision(allowed=True, reason=f"RBAC: allowed by {grant.by}")
        said = f"RBAC: {_all(broken)}" if broken else ""
        return Decision(allowed=False, reason=", ".join(part for part in (why, said) if part))

    def refused(self, user: User, action: Action) -> str:
        """The sentence of a 403 after its subject, with the reason where one is known."""
        why = self.decide(user, action).reason
        return f"{refusal(user, action)}: {why}" if why else refusal(user, action)

    def rules(self, user: User, namespace: str) -> list[Obj]:
        """Every rule that the user holds, cluster-wide and in a namespace."""
        held = [grant.rule for grant in self.grants(user, namespace)]
        return [*EVERYTHING, *held] if MASTERS in user.groups else held

    def grants(self, user: User, namespace: str, broken: list[str] | None = None) -> Iterator[Grant]:
        """Every rule that a binding gives the user; `broken` gathers bindings to roles that are not there."""
        store = self.cluster.store
        for row in store.rows(f"{_GROUP}/clusterrolebindings"):
            yield from self._granted(row.decode(), user, "", broken)
        if namespace:
            for row in store.rows(f"{_GROUP}/rolebindings", namespace):
                yield from self._granted(row.decode(), user, namespace, broken)

    def _granted(self, binding: Obj, user: User, namespace: str, broken: list[str] | None) -> Iterator[Grant]:
        subject = _bound(binding, user, namespace)
        if subject is None:
            return
        reference, name = binding["roleRef"], binding["metadata"]["name"]
        role = self.role(reference, namespace)
        if role is None:
            if broken is not None:
                broken.append(f'{reference["kind"].lower()}.{_GROUP} "{reference["name"]}" not found')
            return
        where = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
        by = f'{where} of {reference["kind"]} "{reference["name"]}" to {subject}'
        for rule in role.get("rules") or ():
            yield Grant(rule, by)

    def role(self, reference: Obj, namespace: str) -> Obj | None:
        """The role that a binding refers to."""
        plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        kind = self.cluster.scheme.find(_GROUP, "v1", plural)
        where = "" if plural == "clusterroles" else namespace
        row = self.cluster.row(kind, where, reference["name"]) if kind else None
        return row.decode() if row else None


def _all(messages: list[str]) -> str:
    return messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"


def refusal(user: User, action: Action) -> str:
    """The sentence of a 403 after its subject."""
    if action.path:
        return f'User "{user.name}" cannot {action.verb} path "{action.path}"'
    where = f' in the namespace "{action.namespace}"' if action.namespace else " at the cluster scope"
    return (
        f'User "{user.name}" cannot {action.verb} resource "{action.resource}" in API'
        f' group "{action.group}"{where}'
    )


def _bound(binding: Obj, user: User, namespace: str) -> str | None:
    """The subject of a binding that is the user, as reasons show it."""
    for subject in binding.get("subjects") or ():
        name = subject.get("name")
        match subject.get("kind"):
            case "User" if name == user.name:
                return f'User "{name}"'
            case "Group" if name in user.groups:
                return f'Group "{name}"'
            case "ServiceAccount":
                where = subject.get("namespace") or namespace
                if user.name == f"{SERVICE_ACCOUNT}{where}:{name}":
                    return f'ServiceAccount "{name}/{where}"'
    return None
