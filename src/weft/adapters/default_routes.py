"""The default routes of one interface, taken away or put where another gateway is asked for (pyroute2)."""

import errno
import os
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from weft.adapters.pod_network import Kernel, inside, opened

_FAMILIES: Final = {4: 2, 6: 10}
"""AF_INET and AF_INET6."""
_MAIN: Final = 254


def change(
    namespace: str, interface: str, drop: Collection[int], gateways: Collection[IPv4Address | IPv6Address]
) -> None:
    """Of a namespace's main table: no default route of the IP versions `drop` by the interface, but by `gateways`.

    OSError where the kernel does not let us, or there is no such interface.
    """
    from pyroute2.netlink.exceptions import NetlinkError

    def work() -> None:
        with opened() as kernel:
            index = next(iter(kernel.link_lookup(ifname=interface)), None)
            if index is None:
                raise OSError(errno.ENODEV, f"there is no interface {interface}")
            try:
                _change(kernel, index, drop, gateways)
            except NetlinkError as error:
                told = f"the default route by {interface}: {os.strerror(error.code)}"
                raise OSError(error.code, told) from error

    inside(namespace, work)


def _change(
    kernel: Kernel, index: int, drop: Collection[int], gateways: Collection[IPv4Address | IPv6Address]
) -> None:
    for version in drop:
        family = _FAMILIES[version]
        for route in list(kernel.get_routes(family=family, table=_MAIN)):
            if route["dst_len"] == 0 and route.get("oif") == index:
                known = {"gateway": route.get("gateway"), "priority": route.get("priority")}
                told = {name: value for name, value in known.items() if value}
                kernel.route("del", family=family, dst="default", oif=index, table=_MAIN, **told)
    for gateway in gateways:
        family = _FAMILIES[gateway.version]
        kernel.route("replace", family=family, dst="default", gateway=str(gateway), oif=index, table=_MAIN)
