"""What the coordinator is to do for one interface: what the pod says, else its network, else the cluster."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, Literal

import msgspec

from weft.api.spider_coordinator import CoordinatorSpec, CoordinatorStatus

Mode = Literal["auto", "underlay", "overlay", "disabled"]
Network = IPv4Network | IPv6Network
Ip = IPv4Address | IPv6Address

DEFAULT_ROUTE_NIC: Final = "ipam.spidernet.io/default-route-nic"
"""The annotation by which a pod chooses the interface of its default route."""
DISABLED: Final = frozenset({"disabled", "disable"})
"""Spellings of the mode that does nothing."""
_TABLES: Final = range(1, 1 << 32)


class SettingsError(ValueError):
    """A setting that cannot be honoured; the message names it, where it stands, and the way out."""


class _Plugin(CoordinatorSpec, frozen=True, kw_only=True):
    """The plugin's own configuration: fields of the SpiderCoordinator, and ranges of old networks."""

    mode: str | None = None  # type: ignore[assignment]
    overlay_pod_cidr: tuple[str, ...] | None = msgspec.field(default=None, name="overlayPodCIDR")
    service_cidr: tuple[str, ...] | None = msgspec.field(default=None, name="serviceCIDR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it. `hijacked` are the ranges that pods reach by their node: services, the overlay's pods, others."""

    mode: Mode = "auto"
    hijacked: tuple[Network, ...] = ()
    policy_routes: tuple[tuple[Network, Ip], ...] = ()
    mac_prefix: str = ""
    tune: bool = True
    default_nic: str = ""
    table: int = 500
    rp_filter: int = 0
    queue: int = 0
    link_address: Ip | None = None
    mtu: int = 1500


def settings(
    plugin: Mapping[str, Any],
    cluster: CoordinatorSpec,
    status: CoordinatorStatus,
    annotations: Mapping[str, str],
) -> Settings:
    """Of the plugin's configuration, the SpiderCoordinator and the pod's annotations; SettingsError.

    `auto` in a network is what older controllers write where nothing was chosen: there the cluster's mode counts.
    """
    try:
        own = msgspec.convert(plugin, _Plugin)
    except msgspec.ValidationError as error:
        raise SettingsError(f"the configuration of plugin coordinator: {error}") from error

    def chosen(name: str, default: Any) -> Any:
        return next((v for each in (own, cluster) if (v := getattr(each, name)) is not None), default)

    ranges = (
        *(own.service_cidr if own.service_cidr is not None else status.service_cidr or ()),
        *(own.overlay_pod_cidr if own.overlay_pod_cidr is not None else status.overlay_pod_cidr or ()),
        *chosen("hijack_cidr", ()),
    )
    link_address = chosen("veth_link_address", "")
    return Settings(
        mode=_mode(own.mode, cluster.mode),
        hijacked=tuple(
            dict.fromkeys(_network(each, "hijackCIDR, serviceCIDR or overlayPodCIDR") for each in ranges)
        ),
        policy_routes=tuple(
            (_network(each.dst, "policyRoutes"), _ip(each.gw, "policyRoutes"))
            for each in chosen("policy_routes", ())
        ),
        mac_prefix=_mac_prefix(chosen("pod_mac_prefix", "")),
        tune=chosen("tune_pod_routes", True),  # noqa: FBT003 -- it is the default
        default_nic=annotations.get(DEFAULT_ROUTE_NIC) or chosen("pod_default_route_nic", ""),
        table=_within(chosen("host_rule_table", 500), _TABLES, "hostRuleTable"),
        rp_filter=_within(chosen("pod_rp_filter", 0), range(-(1 << 31), 3), "podRPFilter"),
        queue=chosen("tx_queue_len", 0),
        link_address=_ip(link_address, "vethLinkAddress") if link_address else None,
        mtu=chosen("veth_mtu", 1500),
    )


def _mode(own: str | None, cluster: str | None) -> Mode:
    said = own if own not in {None, "", "auto"} else cluster
    if said in DISABLED:
        return "disabled"
    match said or "auto":
        case "auto" | "underlay" | "overlay" as mode:
            return mode
        case other:
            raise SettingsError(
                f"mode {other!r} of plugin coordinator is none. Use auto, underlay, overlay or disabled."
            )


def _mac_prefix(text: str) -> str:
    if not text:
        return ""
    try:
        first, second = (int(part, 16) for part in text.replace("-", ":").split(":"))
        packed = bytes((first, second))
    except ValueError:
        packed = b""
    if not packed or packed[0] & 1:
        raise SettingsError(f"podMACPrefix {text!r} begins no unicast address. Write two bytes as 0a:1b.")
    return packed.hex(":")


def _network(text: str, where: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}. Write a range as 10.96.0.0/12.") from error


def _ip(text: str, where: str) -> Ip:
    try:
        return ip_address(text)
    except ValueError as error:
        raise SettingsError(f"{where}: {error}. Write an address as 169.254.100.1.") from error


def _within(value: int, allowed: range, where: str) -> int:
    if value not in allowed:
        raise SettingsError(f"{where} is {value}. Use {allowed.start} to {allowed.stop - 1}.")
    return value
