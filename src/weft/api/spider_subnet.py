"""SpiderSubnet (spiderpool.spidernet.io): addresses that pools are made of, by hand or for applications."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, field

from weft.api.underlay_shape import Cidrs, IPVersion, Natural, Object, Part, Route, VlanID, past


class SubnetSpec(Part, frozen=True, kw_only=True):
    """The addresses of a subnet that pools may have."""

    ip_version: Annotated[IPVersion | None, Meta(description="4 or 6; it follows from the subnet.")] = None
    subnet: Annotated[str, Meta(description="The subnet, such as 10.6.0.0/16.")]
    ips: Annotated[
        Cidrs | None, Meta(description="Addresses for pools: 10.6.0.9, 10.6.0.2-10.6.0.8 or 10.6.0.128/28.")
    ] = None
    exclude_ips: Annotated[
        Cidrs | None, Meta(description="Addresses of ips that no pool has, in the same forms.")
    ] = field(default=None, name="excludeIPs")
    gateway: Annotated[str | None, Meta(description="The gateway that pools made for applications have.")] = None
    vlan: Annotated[VlanID | None, past("SpiderMultusConfig has vlanID.")] = None
    routes: Annotated[tuple[Route, ...] | None, Meta(description="Routes that such pools have.")] = None


class SubnetStatus(Part, frozen=True, kw_only=True):
    """Which pools have which of the addresses."""

    controlled_ippools: Annotated[
        str | None, Meta(description="JSON: by pool, its addresses and the application it is for.")
    ] = field(default=None, name="controlledIPPools")
    total_ip_count: Natural | None = field(default=None, name="totalIPCount")
    allocated_ip_count: Natural | None = field(default=None, name="allocatedIPCount")


class SpiderSubnet(Object, frozen=True, kw_only=True):
    """Addresses that pools are made of."""

    spec: SubnetSpec
    status: SubnetStatus = SubnetStatus()


class ControlledPool(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A pool of a subnet. `application` is `group/version:kind:namespace:name` of who it was made for."""

    ips: tuple[str, ...]
    application: str | None = None


_ENCODER = msgspec.json.Encoder(order="sorted")


def controlled_pools_text(pools: Mapping[str, ControlledPool]) -> str | None:
    """Write `status.controlledIPPools`: None where there are none."""
    return _ENCODER.encode(pools).decode() if pools else None
