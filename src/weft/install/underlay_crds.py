"""The CustomResourceDefinitions of underlay networks: Spiderpool's kinds and Multus's NetworkAttachmentDefinition.

Names, short names and columns are theirs; the schemas come from the shapes that decode the objects.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from weft.api import network_attachment, underlay_shape
from weft.api.network_attachment import NetworkAttachmentSpec
from weft.api.spider_coordinator import CoordinatorSpec, CoordinatorStatus
from weft.api.spider_endpoint import EndpointStatus
from weft.api.spider_ippool import IPPoolSpec, IPPoolStatus
from weft.api.spider_multus_config import MultusConfigSpec
from weft.api.spider_reserved_ip import ReservedIPSpec
from weft.api.spider_subnet import SubnetSpec, SubnetStatus
from weft.install.schema import structural

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; with a priority it is shown by `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Definition:
    """One kind. `defaults` are values by the path of their field; `status` of a `subresource` is written apart."""

    kind: str
    about: str
    short_names: tuple[str, ...]
    spec: type[msgspec.Struct] | None = None
    status: type[msgspec.Struct] | None = None
    columns: tuple[Column, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    namespaced: bool = False
    subresource: bool = False
    group: str = underlay_shape.GROUP
    version: str = underlay_shape.VERSION
    plural: str = ""
    singular: str = ""


_FAMILY: Final = (Column("VERSION", ".spec.ipVersion"), Column("SUBNET", ".spec.subnet"))
_COUNTS: Final = (
    Column("ALLOCATED-IP-COUNT", ".status.allocatedIPCount", "integer"),
    Column("TOTAL-IP-COUNT", ".status.totalIPCount", "integer"),
)
_APP_NAMESPACE: Final = r".spec.podAffinity.matchLabels['ipam\.spidernet\.io/app\-namespace']"
_FIRST: Final = ".status.current.ips[0]"

DEFINITIONS: Final = (
    Definition(
        "NetworkAttachmentDefinition",
        "A network that pods ask for by name.",
        ("net-attach-def",),
        NetworkAttachmentSpec,
        namespaced=True,
        group=network_attachment.GROUP,
        version="v1",
        plural="network-attachment-definitions",
        singular="network-attachment-definition",
    ),
    Definition(
        "SpiderCoordinator",
        "How the routes of a pod's interfaces are put in order.",
        ("scc",),
        CoordinatorSpec,
        CoordinatorStatus,
        (
            Column("MODE", ".spec.mode"),
            Column("PODCIDRTYPE", ".spec.podCIDRType"),
            Column("PHASE", ".status.phase"),
            Column("REASON", ".status.reason", priority=10),
            Column("OVERLAYPODCIDR", ".status.overlayPodCIDR", priority=10),
            Column("SERVICECIDR", ".status.serviceCIDR", priority=10),
        ),
        {
            "mode": "auto",
            "tunePodRoutes": True,
            "hostRuleTable": 500,
            "podRPFilter": 0,
            "txQueueLen": 0,
            "vethMTU": 1500,
        },
        subresource=True,
    ),
    Definition(
        "SpiderEndpoint",
        "The addresses of one pod.",
        ("se",),
        status=EndpointStatus,
        columns=(
            Column("INTERFACE", f"{_FIRST}.interface"),
            Column("IPV4POOL", f"{_FIRST}.ipv4Pool"),
            Column("IPV4", f"{_FIRST}.ipv4"),
            Column("IPV6POOL", f"{_FIRST}.ipv6Pool"),
            Column("IPV6", f"{_FIRST}.ipv6"),
            Column("NODE", ".status.current.node"),
        ),
        namespaced=True,
    ),
    Definition(
        "SpiderIPPool",
        "Addresses of one subnet, and who may have them.",
        ("sp",),
        IPPoolSpec,
        IPPoolStatus,
        (
            *_FAMILY,
            *_COUNTS,
            Column("DEFAULT", ".spec.default", "boolean"),
            Column("DISABLE", ".spec.disable", "boolean", 10),
            Column("NODENAME", ".spec.nodeName", priority=10),
            Column("MULTUSNAME", ".spec.multusName", priority=10),
            Column("APP-NAMESPACE", _APP_NAMESPACE, priority=10),
        ),
        {"default": False, "disable": False},
        subresource=True,
    ),
    Definition(
        "SpiderMultusConfig",
        "A network for pods, of which a NetworkAttachmentDefinition is made.",
        ("smc",),
        MultusConfigSpec,
        columns=(Column("TYPE", ".spec.cniType"),),
        defaults={"cniType": "custom", "enableCoordinator": True, "disableIPAM": False},
        namespaced=True,
    ),
    Definition(
        "SpiderReservedIP",
        "Addresses that no pod gets, whatever pool they are in.",
        ("sr",),
        ReservedIPSpec,
        columns=(Column("VERSION", ".spec.ipVersion"),),
    ),
    Definition(
        "SpiderSubnet",
        "Addresses that pools are made of, by hand or for applications.",
        ("ss",),
        SubnetSpec,
        SubnetStatus,
        (*_FAMILY, *_COUNTS),
        subresource=True,
    ),
)
"""All kinds, by name."""


def underlay_crds() -> list[Json]:
    """All definitions as Kubernetes objects (apiextensions.k8s.io/v1), sorted by kind."""
    return [_object(each) for each in DEFINITIONS]


def _object(definition: Definition) -> Json:
    plural = definition.plural or f"{definition.kind.lower()}s"
    names: Json = {
        "kind": definition.kind,
        "listKind": f"{definition.kind}List",
        "plural": plural,
        "singular": definition.singular or definition.kind.lower(),
        "shortNames": list(definition.short_names),
    }
    if definition.group == underlay_shape.GROUP:
        names["categories"] = ["spiderpool"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{definition.group}",
            "labels": {"app.kubernetes.io/part-of": "weft"},
        },
        "spec": {
            "group": definition.group,
            "names": names,
            "scope": "Namespaced" if definition.namespaced else "Cluster",
            "versions": [_version(definition)],
        },
    }


def _version(definition: Definition) -> Json:
    version: Json = {
        "name": definition.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(definition)},
    }
    if definition.subresource:
        version["subresources"] = {"status": {}}
    if definition.columns:
        version["additionalPrinterColumns"] = [*_columns(definition)]
    return version


def _columns(definition: Definition) -> Iterator[Json]:
    age = Column("AGE", ".metadata.creationTimestamp", "date")
    last = () if definition.kind == "SpiderEndpoint" else (age,)
    for each in (*definition.columns, *last):
        column = {"name": each.name, "type": each.type, "jsonPath": each.path}
        yield column | ({"priority": each.priority} if each.priority else {})


def _schema(definition: Definition) -> Json:
    # Kubernetes adds apiVersion, kind and metadata itself
    properties = {}
    if definition.spec:
        properties["spec"] = structural(definition.spec)
        for name, value in definition.defaults.items():
            properties["spec"]["properties"][name]["default"] = value
    if definition.status:
        properties["status"] = structural(definition.status)
    return {"type": "object", "description": definition.about, "properties": properties}
