"""SpiderReservedIP (spiderpool.spidernet.io): addresses that no pod gets, whatever pool they are in."""

from typing import Annotated

from msgspec import Meta

from weft.api.underlay_shape import Cidrs, IPVersion, Object, Part


class ReservedIPSpec(Part, frozen=True, kw_only=True):
    """Addresses of one family."""

    ip_version: Annotated[IPVersion | None, Meta(description="4 or 6; it follows from the addresses.")] = None
    ips: Annotated[Cidrs | None, Meta(description="Addresses: 10.6.0.9, 10.6.0.2-10.6.0.8 or 10.6.0.128/28.")] = (
        None
    )


class SpiderReservedIP(Object, frozen=True, kw_only=True):
    """Addresses that no pod gets."""

    spec: ReservedIPSpec = ReservedIPSpec()
