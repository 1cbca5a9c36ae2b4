"""Who may do what: administrators all, kubelets what their pods need, and everybody what RBAC grants.

Source: `plugin/pkg/auth/authorizer/rbac`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from weft.cluster.apiserver import nodeauthorization
from weft.cluster.apiserver.actions import Action
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.users import MASTERS, SERVICE_ACCOUNT, User

_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The one place where access is decided."""

    cluster: Cluster

    def allows(self, user: User, action: Action) -> bool:
        """Whether the user may do this."""
        if MASTERS in user.groups:
            return True
        node = nodeauthorization.node_of(user)
        if node and not action.path and not nodeauthorization.refusal(self.cluster, node, action):
            return True
        return any(_permits(rule, action) for rule in self.rules(user, action.namespace))

    def refused(self, user: User, action: Action) -> str:
        """The sentence of a 403 after its subject, with the reason where one is known."""
        node = nodeauthorization.node_of(user)
        why = nodeauthorization.refusal(self.cluster, node, action) if node and not action.path else ""
        return f"{refusal(user, action)}: {why}" if why else refusal(user, action)

    def rules(self, user: User, namespace: str) -> Iterator[Obj]:
        """Every rule that is granted to the user, cluster-wide and in a namespace."""
        store = self.cluster.store
        for row in store.rows(f"{_GROUP}/clusterrolebindings"):
            binding = row.decode()
            if _binds(binding, user, ""):
                yield from self._role(binding, "")
        if namespace:
            for row in store.rows(f"{_GROUP}/rolebindings", namespace):
                binding = row.decode()
                if _binds(binding, user, namespace):
                    yield from self._role(binding, namespace)

    def _role(self, binding: Obj, namespace: str) -> list[Obj]:
        reference = binding["roleRef"]
        plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        kind = self.cluster.scheme.find(_GROUP, "v1", plural)
        where = "" if plural == "clusterroles" else namespace
        row = self.cluster.row(kind, where, reference["name"]) if kind else None
        return list((row.decode().get("rules") if row else None) or ())


def refusal(user: User, action: Action) -> str:
    """The sentence of a 403 after its subject."""
    if action.path:
        return f'User "{user.name}" cannot {action.verb} path "{action.path}"'
    where = f' in the namespace "{action.namespace}"' if action.namespace else " at the cluster scope"
    return (
        f'User "{user.name}" cannot {action.verb} resource "{action.resource}" in API'
        f' group "{action.group}"{where}'
    )


def _binds(binding: Obj, user: User, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        match subject.get("kind"):
            case "User" if subject.get("name") == user.name:
                return True
            case "Group" if subject.get("name") in user.groups:
                return True
            case "ServiceAccount":
                where = subject.get("namespace") or namespace
                if user.name == f"{SERVICE_ACCOUNT}{where}:{subject.get('name')}":
                    return True
    return False


def _permits(rule: Obj, action: Action) -> bool:
    if not _has(rule.get("verbs"), action.verb):
        return False
    if action.path:
        return any(_path(pattern, action.path) for pattern in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        _has(rule.get("apiGroups"), action.group)
        and _resource(rule.get("resources") or (), action.resource)
        and (not names or action.name in names)
    )


def _has(values: list[str] | None, wanted: str) -> bool:
    return "*" in (values or ()) or wanted in (values or ())


def _resource(patterns: Sequence[str], resource: str) -> bool:
    _, _, below = resource.partition("/")
    return "*" in patterns or resource in patterns or (bool(below) and f"*/{below}" in patterns)


def _path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == path
