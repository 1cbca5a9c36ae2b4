"""SpiderCoordinator (spiderpool.spidernet.io): how the routes of a pod's interfaces are put in order."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.underlay_shape import Cidrs, Natural, Object, Part, Route, past

Mode = Literal["auto", "underlay", "overlay", "disabled"]
PodCIDRType = Literal["auto", "cluster", "calico", "cilium", "none"]
Phase = Literal["Synced", "NotReady"]
RouteTable = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Mtu = Annotated[int, Meta(ge=0, le=65535)]


class CoordinatorSpec(Part, frozen=True, kw_only=True):
    """Settings of the coordinator plugin. What is left out in a SpiderMultusConfig is as the cluster has it."""

    mode: Annotated[
        Mode | None,
        Meta(
            description="underlay: the pod has no interface of an overlay network, and meets the node by veth0. "
            "overlay: its first interface is one. auto: whichever it is. disabled: nothing is done."
        ),
    ] = None
    pod_cidr_type: Annotated[
        PodCIDRType | None,
        Meta(
            description="Where the ranges of the overlay's pods are read: calico, cilium, cluster (kubeadm and "
            "controller manager), auto for the one that is there, none for none."
        ),
    ] = field(default=None, name="podCIDRType")
    hijack_cidr: Annotated[
        Cidrs | None, Meta(description="Ranges that pods reach by way of their node, such as 169.254.0.0/16.")
    ] = field(default=None, name="hijackCIDR")
    policy_routes: Annotated[
        tuple[Route, ...] | None, Meta(description="Routes that pods get after all others, in every table.")
    ] = None
    pod_mac_prefix: Annotated[
        str | None, Meta(description="The first two bytes of MAC addresses, such as 0a:1b; the rest is the IP.")
    ] = field(default=None, name="podMACPrefix")
    tune_pod_routes: Annotated[
        bool | None, Meta(description="Replies of each interface leave by it; the default route is moved.")
    ] = None
    pod_default_route_nic: Annotated[
        str | None, Meta(description="The interface with the default route, if it is not the usual one.")
    ] = field(default=None, name="podDefaultRouteNIC")
    host_rule_table: Annotated[
        RouteTable | None, Meta(description="The node's routing table of routes to its pods.")
    ] = None
    pod_rp_filter: Annotated[
        int | None, Meta(description="rp_filter in the pod: 0, 1 or 2; below 0 it is left as it is.")
    ] = field(default=None, name="podRPFilter")
    tx_queue_len: Annotated[
        Natural | None, Meta(description="The length of the interface's transmit queue; 0 leaves it.")
    ] = None
    veth_link_address: Annotated[
        str | None,
        Meta(description="A link-local address of veth0, such as 169.254.100.1; a mesh's redirection needs one."),
    ] = None
    veth_mtu: Annotated[Mtu | None, Meta(description="The MTU of veth0.")] = field(default=None, name="vethMTU")
    detect_ip_conflict: Annotated[
        bool | None, past("ipam.enableIPConflictDetection of the installation serves.")
    ] = field(default=None, name="detectIPConflict")
    detect_gateway: Annotated[bool | None, past("ipam.enableGatewayDetection of the installation serves.")] = None
    host_rp_filter: Annotated[int | None, past("The node's own rp_filter is left as it is.")] = field(
        default=None, name="hostRPFilter"
    )
    tune_mode: Annotated[str | None, past("mode serves.")] = None


class CoordinatorStatus(Part, frozen=True, kw_only=True):
    """Whether the ranges are known, without which no pod starts, and what they are."""

    phase: Phase = "NotReady"
    reason: str | None = None
    overlay_pod_cidr: Cidrs | None = field(default=None, name="overlayPodCIDR")
    service_cidr: Cidrs | None = field(default=None, name="serviceCIDR")


class SpiderCoordinator(Object, frozen=True, kw_only=True):
    """How the routes of a pod's interfaces are put in order."""

    spec: CoordinatorSpec = CoordinatorSpec()
    status: CoordinatorStatus = CoordinatorStatus()
