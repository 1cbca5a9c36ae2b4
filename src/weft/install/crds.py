"""The CustomResourceDefinitions of Istio's API, as `weft up` and `weft install` apply them.

Names, versions, short names and columns are Istio's. The schemas of the kinds that are acted on come from the
shapes that decode them, so that what kubectl accepts and what the mesh reads cannot drift apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from weft.api.authorization_policy import AuthorizationPolicySpec
from weft.api.destination_rule import DestinationRuleSpec
from weft.api.envoy_filter import EnvoyFilterSpec
from weft.api.gateway import GatewaySpec
from weft.api.peer_authentication import PeerAuthenticationSpec
from weft.api.proxy_config import ProxyConfigSpec
from weft.api.request_authentication import RequestAuthenticationSpec
from weft.api.service_entry import ServiceEntrySpec
from weft.api.sidecar import SidecarSpec
from weft.api.virtual_service import VirtualServiceSpec
from weft.api.workload_entry import WorkloadEntrySpec
from weft.api.workload_group import WorkloadGroupSpec
from weft.install.schema import structural

Column = tuple[str, str]
"""A printer column: its title and the path of its value."""

_AGE: Final[Column] = ("Age", ".metadata.creationTimestamp")
_NETWORKING: Final = ("v1", "v1beta1", "v1alpha3")
_SECURITY: Final = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Definition:
    """One kind. The first of `versions` is stored. Without `spec`, anything is accepted under spec."""

    kind: str
    plural: str
    group: str
    versions: tuple[str, ...]
    about: str
    short_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    spec: type[msgspec.Struct] | None = None
    storage: str = ""

    @property
    def categories(self) -> tuple[str, ...]:
        """What `kubectl get istio-io` and the like gather."""
        area = self.group.partition(".")[0]
        return () if area == "install" else ("istio-io", f"{area}-istio-io")


DEFINITIONS: Final = (
    Definition(
        "AuthorizationPolicy", "authorizationpolicies", "security.istio.io", _SECURITY,
        "Who may send what to a workload.",
        ("ap",), (("Action", ".spec.action"), _AGE), AuthorizationPolicySpec,
    ),
    Definition(
        "DestinationRule", "destinationrules", "networking.istio.io", _NETWORKING,
        "Subsets of a host, and how clients talk to it.",
        ("dr",), (("Host", ".spec.host"), _AGE), DestinationRuleSpec,
    ),
    Definition(
        "EnvoyFilter", "envoyfilters", "networking.istio.io", ("v1alpha3",),
        "Changes to the configuration that proxies get.",
        spec=EnvoyFilterSpec,
    ),
    Definition(
        "Gateway", "gateways", "networking.istio.io", _NETWORKING,
        "Ports and hosts that a gateway at the edge of the mesh serves.",
        ("gw",), spec=GatewaySpec,
    ),
    Definition(
        "IstioOperator", "istiooperators", "install.istio.io", ("v1alpha1",),
        "How the mesh is installed.",
        ("iop", "io"), (("Revision", ".spec.revision"), ("Status", ".status.status"), _AGE),
    ),
    Definition(
        "PeerAuthentication", "peerauthentications", "security.istio.io", _SECURITY,
        "Whether workloads ask their callers for mTLS.",
        ("pa",), (("Mode", ".spec.mtls.mode"), _AGE), PeerAuthenticationSpec,
    ),
    Definition(
        "ProxyConfig", "proxyconfigs", "networking.istio.io", ("v1beta1",),
        "Settings of the proxies of some workloads.",
        spec=ProxyConfigSpec,
    ),
    Definition(
        "RequestAuthentication", "requestauthentications", "security.istio.io", _SECURITY,
        "Which tokens workloads accept with a request.",
        ("ra",), spec=RequestAuthenticationSpec,
    ),
    Definition(
        "ServiceEntry", "serviceentries", "networking.istio.io", _NETWORKING,
        "A service that the cluster itself does not know.",
        ("se",),
        (("Hosts", ".spec.hosts"), ("Location", ".spec.location"), ("Resolution", ".spec.resolution"), _AGE),
        ServiceEntrySpec,
    ),
    Definition(
        "Sidecar", "sidecars", "networking.istio.io", _NETWORKING,
        "What the proxies of some workloads get to see.",
        spec=SidecarSpec,
    ),
    Definition(
        "Telemetry", "telemetries", "telemetry.istio.io", ("v1", "v1alpha1"),
        "Metrics, traces and access logs of some workloads.",
        ("telemetry",), (_AGE,), storage="v1alpha1",
    ),
    Definition(
        "VirtualService", "virtualservices", "networking.istio.io", _NETWORKING,
        "How requests to a host are routed.",
        ("vs",), (("Gateways", ".spec.gateways"), ("Hosts", ".spec.hosts"), _AGE), VirtualServiceSpec,
    ),
    Definition(
        "WasmPlugin", "wasmplugins", "extensions.istio.io", ("v1alpha1",),
        "WebAssembly filters for some workloads.",
        columns=(_AGE,),
    ),
    Definition(
        "WorkloadEntry", "workloadentries", "networking.istio.io", _NETWORKING,
        "A workload outside the cluster, such as a virtual machine.",
        ("we",), (_AGE, ("Address", ".spec.address")), WorkloadEntrySpec,
    ),
    Definition(
        "WorkloadGroup", "workloadgroups", "networking.istio.io", _NETWORKING,
        "A template for workloads outside the cluster.",
        ("wg",), (_AGE,), WorkloadGroupSpec,
    ),
)  # fmt: skip
"""All kinds, by name."""


def crds() -> list[dict[str, Any]]:
    """All definitions as Kubernetes objects (apiextensions.k8s.io/v1), sorted by kind."""
    return [_object(each) for each in DEFINITIONS]


def _object(definition: Definition) -> dict[str, Any]:
    singular = definition.kind.lower()
    names: dict[str, Any] = {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": definition.plural,
        "singular": singular,
    }
    if definition.categories:
        names["categories"] = list(definition.categories)
    if definition.short_names:
        names["shortNames"] = list(definition.short_names)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{definition.plural}.{definition.group}",
            "labels": {"app.kubernetes.io/part-of": "weft"},
        },
        "spec": {
            "group": definition.group,
            "names": names,
            "scope": "Namespaced",
            "versions": [_version(definition, each) for each in definition.versions],
        },
    }


def _version(definition: Definition, name: str) -> dict[str, Any]:
    version: dict[str, Any] = {
        "name": name,
        "served": True,
        "storage": name == (definition.storage or definition.versions[0]),
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": _schema(definition)},
    }
    if definition.columns:
        version["additionalPrinterColumns"] = [_column(title, path) for title, path in definition.columns]
    return version


def _column(title: str, path: str) -> dict[str, Any]:
    return {"name": title, "type": "date" if title == "Age" else "string", "jsonPath": path}


def _schema(definition: Definition) -> Mapping[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = structural(definition.spec) if definition.spec else {**anything, "description": definition.about}
    return {
        "type": "object",
        "description": definition.about,
        # Kubernetes adds apiVersion, kind and metadata itself
        "properties": {"spec": spec, "status": dict(anything)},
    }
