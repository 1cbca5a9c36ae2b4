"""What istiod may do in a cluster: what it does, and nothing more."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

_ACCOUNT = "istiod"
_GROUP = "rbac.authorization.k8s.io"
_FOLLOW = ("list", "watch")
_NETWORKING = (
    "destinationrules",
    "envoyfilters",
    "gateways",
    "proxyconfigs",
    "serviceentries",
    "sidecars",
    "virtualservices",
    "workloadentries",
    "workloadgroups",
)
ISTIO_GROUPS = ("extensions.istio.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io")
"""The API groups of the mesh's own resources."""


def rights(namespace: str, labels: Json, signers: Sequence[str] = (), *, untaint: bool = False) -> list[Json]:
    """The account of istiod, its rights in the whole cluster, and those in its own namespace.

    `signers` of the cluster are those that sign certificates in the place of the mesh's own authority; `untaint`:
    it opens nodes once their node process is ready.
    """
    cluster_wide = f"istiod-clusterrole-{namespace}"
    account = {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": namespace}
    own = {"name": _ACCOUNT, "namespace": namespace, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": own},
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": cluster_wide, "labels": labels},
            "rules": [*_cluster_rules(), *_signing(signers), *_untainting(untaint=untaint)],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": cluster_wide, "labels": labels},
            "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": cluster_wide},
            "subjects": [account],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "Role",
            "metadata": own,
            "rules": _own_rules(),
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": _ACCOUNT},
            "subjects": [account],
        },
    ]


def _own_rules() -> list[Json]:
    """What it does in its own namespace, with objects that it knows by name."""
    return [
        # the mesh's settings, read at the start and followed; an event tells what is wrong with them
        _rule("", ["configmaps"], ["get", *_FOLLOW], ["istio"]),
        # the key of the mesh: its own, the one that an operator plugged in, and the roots that are trusted
        _rule("", ["secrets"], ["get", *_FOLLOW, "patch"], ["istio-ca-secret", "cacerts", "weft-trusted-roots"]),
        # a name cannot be asked for before there is an object
        _rule("", ["secrets"], ["create"]),
    ]


def _cluster_rules() -> list[Json]:
    webhooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
    policies = ["authorizationpolicies", "peerauthentications", "requestauthentications"]
    return [
        # what runs where, and in which namespaces
        _rule("", ["namespaces", "nodes", "pods", "services"], _FOLLOW),
        # on which node the pod of a node proxy is, which asks for certificates of its neighbours
        _rule("", ["pods"], ["get"]),
        _rule("discovery.k8s.io", ["endpointslices"], _FOLLOW),
        # the mesh's own resources; one is read again for the event that tells what is wrong with it
        _rule("networking.istio.io", _NETWORKING, ["get", *_FOLLOW]),
        _rule("security.istio.io", policies, ["get", *_FOLLOW]),
        # the addresses that hosts without any are given, for all proxies to know alike
        _rule("networking.istio.io", ["serviceentries/status"], ["patch"]),
        # workloads outside the cluster that register themselves, and their health
        _rule("networking.istio.io", ["workloadentries"], ["create", "patch", "delete"]),
        _rule("networking.istio.io", ["workloadentries/status"], ["patch"]),
        _rule("networking.k8s.io", ["ingresses"], ["get", *_FOLLOW]),
        _rule("networking.k8s.io", ["ingressclasses"], _FOLLOW),
        # where an Ingress is served
        _rule("networking.k8s.io", ["ingresses/status"], ["patch"]),
        # what is wrong with a user's rule, told where `kubectl describe` shows it
        _rule("", ["events"], ["get", "create", "patch"]),
        # the root certificate, for the pods of every namespace
        _rule("", ["configmaps"], [*_FOLLOW, "patch"], ["istio-ca-root-cert"]),
        _rule("", ["configmaps"], ["create"]),
        # caBundle, by which the API server knows istiod; sets of revisions have names of their own
        _rule("admissionregistration.k8s.io", webhooks, [*_FOLLOW, "patch"]),
        # certificates of gateways, in any namespace: it follows, by its name, what one asks for and may have
        _rule("", ["secrets"], _FOLLOW),
        _rule("authorization.k8s.io", ["subjectaccessreviews"], ["create"]),
        # who a proxy is
        _rule("authentication.k8s.io", ["tokenreviews"], ["create"]),
    ]


def _signing(signers: Sequence[str]) -> list[Json]:
    if not signers:
        return []
    group = "certificates.k8s.io"
    return [
        # a request for each certificate of a workload, its answer awaited, and taken away afterwards
        _rule(group, ["certificatesigningrequests"], ["create", "get", "list", "watch", "delete"]),
        # istiod has authenticated who asks, which is what approval says
        _rule(group, ["certificatesigningrequests/approval"], ["update"]),
        # and for these signers only: nobody becomes an administrator by a request to another
        _rule(group, ["signers"], ["approve"], signers),
    ]


def _untainting(*, untaint: bool) -> list[Json]:
    # a taint is a part of the node, which RBAC cannot tell from the others
    return [_rule("", ["nodes"], ["patch"])] if untaint else []


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str] = ()) -> Json:
    """RBAC holds lists and watches to `names` too, where their field selector asks for one name."""
    rule = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    return {**rule, "resourceNames": list(names)} if names else rule
