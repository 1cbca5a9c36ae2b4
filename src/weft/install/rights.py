"""What istiod may do in a cluster: what it does, and nothing more."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

_ACCOUNT = "istiod"
_GROUP = "rbac.authorization.k8s.io"
_READ = ("get", "list", "watch")
ISTIO_GROUPS = ("extensions.istio.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io")
"""The API groups of the mesh's own resources."""


def rights(namespace: str, labels: Json, signers: Sequence[str] = ()) -> list[Json]:
    """The account of istiod, its rights in the whole cluster, and those in its own namespace.

    `signers` of the cluster are those that sign certificates in the place of the mesh's own authority.
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
            "rules": [*_cluster_rules(), *_signing(signers)],
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
            # the authority's own key, istio-ca-secret, or the one an operator plugged in, cacerts, and the roots
            # that are trusted besides, weft-trusted-roots
            "rules": [_rule("", ["secrets"], [*_READ, "create", "update", "patch"])],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": own,
            "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": _ACCOUNT},
            "subjects": [account],
        },
    ]


def _cluster_rules() -> list[Json]:
    webhooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
    return [
        _rule("", ["endpoints", "namespaces", "nodes", "pods", "services"], _READ),
        _rule("discovery.k8s.io", ["endpointslices"], _READ),
        {"apiGroups": list(ISTIO_GROUPS), "resources": ["*"], "verbs": list(_READ)},
        # the addresses that hosts without any are given, for all proxies to know alike
        _rule("networking.istio.io", ["serviceentries/status"], ["get", "patch", "update"]),
        # workloads outside the cluster that register themselves, and their health
        _rule("networking.istio.io", ["workloadentries"], ["create", "update", "patch", "delete"]),
        _rule("networking.istio.io", ["workloadentries/status"], ["get", "patch", "update"]),
        _rule("networking.k8s.io", ["ingresses", "ingressclasses"], _READ),
        # where an Ingress is served
        _rule("networking.k8s.io", ["ingresses/status"], ["patch", "update"]),
        # what is wrong with a user's rule, told where `kubectl describe` shows it
        _rule("", ["events"], ["get", "create", "patch"]),
        # the root certificate, for the pods of every namespace
        _rule("", ["configmaps"], [*_READ, "create", "update", "patch"]),
        # caBundle, by which the API server knows istiod
        _rule("admissionregistration.k8s.io", webhooks, [*_READ, "update", "patch"]),
        # certificates of gateways, in any namespace: istiod reads those that a gateway asks for and may get
        _rule("", ["secrets"], _READ),
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
        _rule(group, ["signers"], ["approve"]) | {"resourceNames": list(signers)},
    ]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Json:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
