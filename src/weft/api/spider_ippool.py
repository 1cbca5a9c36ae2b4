"""SpiderIPPool (spiderpool.spidernet.io): addresses of one subnet, and who may have them."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, field

from weft.api.underlay_shape import (
    Cidrs,
    IPVersion,
    LabelSelector,
    Natural,
    Object,
    Part,
    Route,
    VlanID,
    past,
)


class IPPoolSpec(Part, frozen=True, kw_only=True):
    """Addresses, and the pods that may have them."""

    ip_version: Annotated[IPVersion | None, Meta(description="4 or 6; it follows from the subnet.")] = None
    subnet: Annotated[str, Meta(description="The subnet of the addresses, such as 10.6.0.0/16.")]
    ips: Annotated[
        Cidrs | None, Meta(description="Addresses to give: 10.6.0.9, 10.6.0.2-10.6.0.8 or 10.6.0.128/28.")
    ] = None
    exclude_ips: Annotated[
        Cidrs | None, Meta(description="Addresses of ips that are not given, in the same forms.")
    ] = field(default=None, name="excludeIPs")
    gateway: Annotated[str | None, Meta(description="The gateway of the subnet: the default route.")] = None
    vlan: Annotated[VlanID | None, past("SpiderMultusConfig has vlanID.")] = None
    routes: Annotated[tuple[Route, ...] | None, Meta(description="More routes that pods get.")] = None
    pod_affinity: Annotated[LabelSelector | None, Meta(description="Only pods with these labels.")] = None
    namespace_affinity: Annotated[
        LabelSelector | None,
        Meta(description="Only pods of namespaces with these labels; namespaceName goes before it."),
    ] = None
    namespace_name: Annotated[tuple[str, ...] | None, Meta(description="Only pods of these namespaces.")] = None
    node_affinity: Annotated[
        LabelSelector | None, Meta(description="Only pods on nodes with these labels; nodeName goes before it.")
    ] = None
    node_name: Annotated[tuple[str, ...] | None, Meta(description="Only pods on these nodes.")] = None
    multus_name: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="Only interfaces of these networks: namespace/name, or a name in Spiderpool's namespace."
        ),
    ] = None
    default: Annotated[bool | None, Meta(description="Serves pods that name no pool.")] = None
    disable: Annotated[bool | None, Meta(description="Gives no more addresses; what is given stays.")] = None


class IPPoolStatus(Part, frozen=True, kw_only=True):
    """Which addresses are taken, by whom."""

    allocated_ips: Annotated[
        str | None, Meta(description="JSON: by address, the pod that has it and the pod's UID.")
    ] = field(default=None, name="allocatedIPs")
    released_ips: Annotated[
        str | None, Meta(description="JSON: by time, the addresses that were given back then and rest.")
    ] = field(default=None, name="releasedIPs")
    total_ip_count: Natural | None = field(default=None, name="totalIPCount")
    allocated_ip_count: Natural | None = field(default=None, name="allocatedIPCount")


class SpiderIPPool(Object, frozen=True, kw_only=True):
    """Addresses of one subnet, and who may have them."""

    spec: IPPoolSpec
    status: IPPoolStatus = IPPoolStatus()


class Allocation(Part, frozen=True, kw_only=True, omit_defaults=True):
    """Who has an address: `pod` is namespace/name, `interface` which of its interfaces, if that is known."""

    pod: str
    pod_uid: str = ""
    interface: str = ""


_DECODER = msgspec.json.Decoder(dict[str, Allocation])
_ENCODER = msgspec.json.Encoder(order="sorted")


def allocations(text: str | None) -> dict[str, Allocation]:
    """Read `status.allocatedIPs`; ValueError (msgspec's) where it is no such JSON."""
    return _DECODER.decode(text) if text else {}


def allocations_text(taken: Mapping[str, Allocation]) -> str | None:
    """Write `status.allocatedIPs`: None where nothing is taken."""
    return _ENCODER.encode(taken).decode() if taken else None
