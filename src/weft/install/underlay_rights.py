"""What the underlay's processes may do in a cluster: what each does, and nothing more."""

from collections.abc import Sequence
from typing import Any, Final

from weft.install.underlay_webhooks import GROUP

Json = dict[str, Any]

_RBAC: Final = "rbac.authorization.k8s.io"
_FOLLOW: Final = ("list", "watch")
_READ: Final = ("get", *_FOLLOW)


def agent(name: str, namespace: str, labels: Json) -> list[Json]:
    """The node process: it gives addresses, attaches networks, and tells of both on the pod."""
    return _bound(name, namespace, labels, _agent_rules(), _own_agent_rules(name))


def controller(name: str, namespace: str, labels: Json, cilium: str = "cilium-config") -> list[Json]:
    """The controller: it makes networks, watches ranges, takes back addresses, and checks what users write.

    `cilium` is the ConfigMap of Cilium's settings.
    """
    return _bound(name, namespace, labels, _controller_rules(name, cilium), _own_controller_rules(name))


def init(name: str, namespace: str, labels: Json) -> list[Json]:
    """What makes the default SpiderCoordinator and pools, once."""
    # server-side apply creates what is not there; names cannot be held to it where there is no object yet
    rules = [_rule(GROUP, ["spidercoordinators", "spiderippools"], ["create", "patch"])]
    return _bound(name, namespace, labels, rules, [])


def _agent_rules() -> list[Json]:
    return [
        # the pods of this node, followed, and one by name where a call comes before the watch has told of it
        _rule("", ["pods"], _READ),
        # which addresses and interfaces a pod got, told on the pod (network-status)
        _rule("", ["pods/status"], ["patch"]),
        # pools are chosen by labels of nodes, and by labels and annotations of namespaces; whether our own goes
        _rule("", ["namespaces", "nodes"], _READ),
        # addresses are given out of pools, some are reserved, and an endpoint notes who has which
        _rule(GROUP, ["spiderippools"], _READ),
        _rule(GROUP, ["spiderippools/status"], ["patch"]),
        _rule(GROUP, ["spiderreservedips"], _FOLLOW),
        _rule(GROUP, ["spiderendpoints"], ["get", "list", "create", "patch", "delete"]),
        # the cluster's ranges and defaults
        _rule(GROUP, ["spidercoordinators"], _FOLLOW),
        # networks that pods name
        _rule("k8s.cni.cncf.io", ["network-attachment-definitions"], _READ),
        # why a pod does not start, told where `kubectl describe` shows it
        _rule("", ["events"], ["get", "create", "patch"]),
    ]


def _own_agent_rules(name: str) -> list[Json]:
    # whether our DaemonSet is gone: only then are the plugins taken away when we end
    return [_rule("apps", ["daemonsets"], ["get"], [name])]


def _controller_rules(name: str, cilium: str) -> list[Json]:
    webhooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
    told = ["spidercoordinators", "spiderippools", "spidersubnets"]
    return [
        # who still has a use for an address
        _rule("", ["pods", "nodes"], _FOLLOW),
        _rule("kubevirt.io", ["virtualmachines", "virtualmachineinstances"], ["list"]),
        # how many pods applications have, whose pools are made of subnets
        _rule("apps", ["deployments", "replicasets", "statefulsets", "daemonsets"], _FOLLOW),
        _rule("batch", ["jobs"], _FOLLOW),
        # the cluster's ranges, from whichever network plugin it has
        _rule("", ["configmaps"], _FOLLOW, ["kubeadm-config", cilium]),
        _rule("crd.projectcalico.org", ["ippools"], _FOLLOW),
        _rule("cilium.io", ["ciliumnodes", "ciliumpodippools"], _FOLLOW),
        _rule("networking.k8s.io", ["servicecidrs"], _FOLLOW),
        # the underlay's own resources: their finalizers, and the state of each
        _rule(GROUP, [*told, "spidermultusconfigs", "spiderreservedips"], _FOLLOW),
        _rule(GROUP, told, ["patch"]),
        _rule(GROUP, [f"{kind}/status" for kind in told], ["patch"]),
        # pools of subnets for applications; one is read again where an address of it could not be taken back
        _rule(GROUP, ["spiderippools"], ["get", "create", "delete"]),
        # who has which address, as far as it is to be corrected
        _rule(GROUP, ["spiderendpoints"], ["get", "list", "create", "patch", "delete"]),
        # one network for each SpiderMultusConfig, which cannot be gone before it: that may ask for a right, too
        _rule("k8s.cni.cncf.io", ["network-attachment-definitions"], [*_FOLLOW, "create", "update", "delete"]),
        _rule(GROUP, ["spidermultusconfigs/finalizers"], ["update"]),
        # caBundle, by which the API server knows us
        _rule("admissionregistration.k8s.io", webhooks, ["get", "patch"], [name]),
        # what cannot be made, told where `kubectl describe` shows it
        _rule("", ["events"], ["get", "create", "patch"]),
    ]


def _own_controller_rules(name: str) -> list[Json]:
    return [
        # the key of our webhooks, which replicas share
        _rule("", ["secrets"], ["get", "update"], [f"{name}-server-certs"]),
        # a name cannot be asked for before there is an object
        _rule("", ["secrets"], ["create"]),
    ]


def _bound(name: str, namespace: str, labels: Json, rules: list[Json], own: list[Json]) -> list[Json]:
    wide: Json = {"name": name, "labels": labels}
    there = {**wide, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": there},
        *_role("ClusterRole", wide, rules, name, namespace),
        *(_role("Role", there, own, name, namespace) if own else []),
    ]


def _role(kind: str, metadata: Json, rules: list[Json], account: str, namespace: str) -> list[Json]:
    """Rules, and who has them."""
    reference = {"apiGroup": _RBAC, "kind": kind, "name": metadata["name"]}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": namespace}]
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": reference,
            "subjects": subjects,
        },
    ]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Json:
    rule: Json = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule
