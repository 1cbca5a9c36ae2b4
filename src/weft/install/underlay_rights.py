"""What the underlay's processes may do in a cluster: what each does, and nothing more."""

from collections.abc import Sequence
from typing import Any, Final

from weft.install.underlay_webhooks import GROUP

Json = dict[str, Any]

_RBAC: Final = "rbac.authorization.k8s.io"
_READ: Final = ("get", "list", "watch")


def agent(name: str, namespace: str, labels: Json) -> list[Json]:
    """The node process: it gives addresses, attaches networks, and tells of both on the pod."""
    return _bound(name, namespace, labels, _agent_rules(), _own_agent_rules(name))


def controller(name: str, namespace: str, labels: Json) -> list[Json]:
    """The controller: it makes networks, watches ranges, takes back addresses, and checks what users write."""
    return _bound(name, namespace, labels, _controller_rules(name), _own_controller_rules(name))


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
        # pools are chosen by labels of nodes, and by labels and annotations of namespaces
        _rule("", ["namespaces", "nodes"], _READ),
        # who made a pod decides whether it keeps its addresses
        _rule("apps", ["deployments", "replicasets", "statefulsets", "daemonsets"], ["get"]),
        _rule("batch", ["jobs", "cronjobs"], ["get"]),
        # a virtual machine keeps its addresses as long as it is there
        _rule("kubevirt.io", ["virtualmachines", "virtualmachineinstances"], ["get"]),
        # addresses are given out of pools, and an endpoint notes them
        _rule(GROUP, ["spiderippools", "spidersubnets", "spiderreservedips", "spidermultusconfigs"], _READ),
        _rule(GROUP, ["spiderippools/status"], ["update", "patch"]),
        _rule(GROUP, ["spiderendpoints"], [*_READ, "create", "update", "patch", "delete"]),
        _rule(GROUP, ["spiderendpoints/status"], ["update", "patch"]),
        # the cluster's ranges and defaults
        _rule(GROUP, ["spidercoordinators"], _READ),
        # networks that pods name
        _rule("k8s.cni.cncf.io", ["network-attachment-definitions"], _READ),
        # why a pod does not start, told where `kubectl describe` shows it
        _rule("", ["events"], ["get", "create", "patch"]),
    ]


def _own_agent_rules(name: str) -> list[Json]:
    # whether our DaemonSet is gone: only then are the plugins taken away when we end
    return [_rule("apps", ["daemonsets"], ["get"], [name])]


def _controller_rules(name: str) -> list[Json]:
    kinds = ["spidercoordinators", "spiderendpoints", "spiderippools", "spidermultusconfigs", "spiderreservedips"]
    webhooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
    return [
        # who still has a use for an address
        _rule("", ["pods", "nodes", "namespaces"], _READ),
        _rule("apps", ["deployments", "replicasets", "statefulsets", "daemonsets"], _READ),
        _rule("batch", ["jobs", "cronjobs"], _READ),
        _rule("kubevirt.io", ["virtualmachines", "virtualmachineinstances"], _READ),
        # the cluster's ranges, from whichever network plugin it has
        _rule("", ["configmaps"], _READ),
        _rule("crd.projectcalico.org", ["ippools"], _READ),
        _rule("cilium.io", ["ciliumnodes", "ciliumpodippools"], _READ),
        _rule("networking.k8s.io", ["servicecidrs"], _READ),
        # the underlay's own resources: finalizers, pools of subnets, and the state of each
        _rule(GROUP, [*kinds, "spidersubnets"], [*_READ, "create", "update", "patch", "delete"]),
        _rule(GROUP, [f"{kind}/status" for kind in [*kinds, "spidersubnets"]], ["update", "patch"]),
        # its owner cannot be gone before it, which clusters may ask us to have a say in
        _rule(GROUP, ["spidermultusconfigs/finalizers"], ["update"]),
        # one network for each SpiderMultusConfig
        _rule(
            "k8s.cni.cncf.io", ["network-attachment-definitions"], [*_READ, "create", "update", "patch", "delete"]
        ),
        # caBundle, by which the API server knows us
        _rule("admissionregistration.k8s.io", webhooks, ["get", "patch"], [name]),
        _rule("", ["events"], ["get", "create", "patch"]),
    ]


def _own_controller_rules(name: str) -> list[Json]:
    return [
        # the key of our webhooks, which replicas share
        _rule("", ["secrets"], ["get", "update", "patch"], [f"{name}-server-certs"]),
        _rule("", ["secrets"], ["create"]),
        # one of several replicas acts
        _rule("coordination.k8s.io", ["leases"], ["create", "get", "update", "patch"]),
    ]


def _bound(name: str, namespace: str, labels: Json, rules: list[Json], own: list[Json]) -> list[Json]:
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    wide: Json = {"name": name, "labels": labels}
    made: list[Json] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**wide, "namespace": namespace}},
    ]
    for kind, metadata, held in (
        ("ClusterRole", wide, rules),
        ("Role", {**wide, "namespace": namespace}, own),
    ):
        if held:
            reference = {"apiGroup": _RBAC, "kind": kind, "name": name}
            binding: Json = {"metadata": metadata, "roleRef": reference, "subjects": subjects}
            made += [
                {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, "rules": held},
                {"apiVersion": f"{_RBAC}/v1", "kind": f"{kind}Binding", **binding},
            ]
    return made


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Json:
    rule: Json = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule
