"""SpiderEndpoint (spiderpool.spidernet.io): the addresses of one pod, which its name and namespace name."""

from typing import Annotated

from msgspec import Meta, field

from weft.api.underlay_shape import Object, Part, Route


class IPAllocation(Part, frozen=True, kw_only=True, omit_defaults=True):
    """What one interface of a pod has. Addresses carry the length of their subnet's prefix: 10.6.0.9/16."""

    interface: str
    ipv4: str | None = None
    ipv6: str | None = None
    ipv4_pool: str | None = None
    ipv6_pool: str | None = None
    vlan: Annotated[int, Meta(ge=0, le=4095)] = 0
    ipv4_gateway: str | None = None
    ipv6_gateway: str | None = None
    clean_gateway: bool | None = None
    routes: tuple[Route, ...] | None = None
    mac: str | None = None


class PodIPAllocation(Part, frozen=True, kw_only=True):
    """What a pod has, and which pod it is."""

    uid: str = ""
    node: str = ""
    ips: tuple[IPAllocation, ...] = ()


class EndpointStatus(Part, frozen=True, kw_only=True):
    """The addresses, and who made the pod."""

    current: PodIPAllocation = PodIPAllocation()
    owner_controller_type: Annotated[
        str, Meta(description="The kind of the topmost controller: Deployment, StatefulSet, VirtualMachine, …")
    ] = ""
    owner_controller_name: str = ""


class SpiderEndpoint(Object, frozen=True, kw_only=True):
    """The addresses of one pod."""

    status: EndpointStatus = field(default_factory=EndpointStatus)
