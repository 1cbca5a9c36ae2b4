"""The command line of `istio-iptables`, with Istio's flags."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import NoReturn, TypeVar

from weft.base.flags import is_true
from weft.redirect.capture import EVERYTHING, Capture, Networks, Ports, Resolvers

T = TypeVar("T")


class FlagError(ValueError):
    """A flag that cannot be honoured; the message names it."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to do: apply the capture, take it away (`cleanup`), or only print it (`dry_run`).

    `binary` forces a variant of iptables: "nft", "legacy", or "" for the machine's own choice.
    """

    capture: Capture
    cleanup: bool = False
    dry_run: bool = False
    binary: str = ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(message)


def parse(
    argv: Sequence[str], environment: Mapping[str, str] | None = None, resolvers: Sequence[IPv4Address] = ()
) -> Command:
    """The command that `argv` asks for. FlagError for a flag that is unknown, malformed or not supported.

    `environment` stands in for flags that are not given, by Istio's variables; `resolvers` are the pod's own.
    """
    found, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise FlagError(f"{' '.join(unknown)}: this flag is not supported; leave it out")
    if found.mode != "REDIRECT":
        raise FlagError(f"-m {found.mode}: only REDIRECT interception is supported")
    uids = found.uids or (1337,)
    capture = Capture(
        outbound_port=found.outbound,
        inbound_port=found.inbound,
        tunnel_port=found.tunnel,
        proxy_uids=uids,
        proxy_gids=found.gids or uids,  # as in Istio: the group is the user's unless named
        inbound_ports=found.inbound_ports,
        excluded_inbound_ports=found.excluded_inbound,
        outbound_networks=found.networks,
        excluded_outbound_networks=found.excluded_networks,
        outbound_ports=found.outbound_ports,
        excluded_outbound_ports=found.excluded_outbound,
        excluded_interfaces=found.excluded_interfaces,
        virtual_interfaces=found.virtual_interfaces,
        resolvers=_resolvers(found, environment or {}, tuple(resolvers)),
    )
    return Command(capture, cleanup=found.cleanup, dry_run=found.dry_run, binary=found.binary)


def _resolvers(
    found: argparse.Namespace, environment: Mapping[str, str], own: tuple[IPv4Address, ...]
) -> Resolvers:
    if not (found.redirect_dns or is_true(environment.get("ISTIO_META_DNS_CAPTURE", ""))):
        return ()
    if found.capture_all_dns:
        return EVERYTHING
    if not own:
        raise FlagError("--redirect-dns: /etc/resolv.conf names no IPv4 nameserver; use --capture-all-dns")
    return own


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="istio-iptables", allow_abbrev=False)
    add = parser.add_argument
    add("-p", "--envoy-port", dest="outbound", type=_port, default=15001)
    add("-z", "--inbound-capture-port", dest="inbound", type=_port, default=15006)
    add("-e", "--inbound-tunnel-port", dest="tunnel", type=_port, default=15008)
    add("-u", "--proxy-uid", dest="uids", type=_each(_id), default=())
    add("-g", "--proxy-gid", dest="gids", type=_each(_id), default=())
    add("-m", "--istio-inbound-interception-mode", dest="mode", default="REDIRECT")
    add("-b", "--istio-inbound-ports", dest="inbound_ports", type=_ports, default=())
    add("-d", "--istio-local-exclude-ports", dest="excluded_inbound", type=_each(_port), default=())
    add("-o", "--istio-local-outbound-ports-exclude", dest="excluded_outbound", type=_each(_port), default=())
    add("-q", "--istio-outbound-ports", dest="outbound_ports", type=_each(_port), default=())
    add("-i", "--istio-service-cidr", dest="networks", type=_networks, default=())
    add("-x", "--istio-service-exclude-cidr", dest="excluded_networks", type=_each(_network), default=())
    add("-c", "--istio-exclude-interfaces", dest="excluded_interfaces", type=_each(str), default=())
    add("-k", "--kube-virt-interfaces", dest="virtual_interfaces", type=_each(str), default=())
    add("--redirect-dns", dest="redirect_dns", action="store_true")
    add("--capture-all-dns", dest="capture_all_dns", action="store_true")
    add("-n", "--dry-run", dest="dry_run", action="store_true")
    add("--cleanup-only", dest="cleanup", action="store_true")
    add("--force-iptables-binary", dest="binary", choices=("nft", "legacy", ""), default="")
    # there is little to log here, and what there is goes to stderr
    add("--log_output_level", dest="log_level", default="")
    return parser


def _each(one: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse_list(text: str) -> tuple[T, ...]:
        return tuple(one(part.strip()) for part in text.split(",") if part.strip())

    return parse_list


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _id(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a numeric user or group")
    return int(text)


def _ports(text: str) -> Ports:
    return EVERYTHING if text.strip() == EVERYTHING else _each(_port)(text)


def _network(text: str) -> IPv4Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address range (10.0.0.0/8)") from error
    if not isinstance(network, IPv4Network):
        raise argparse.ArgumentTypeError(f"{text!r}: only IPv4 ranges are supported")
    return network


def _networks(text: str) -> Networks:
    return EVERYTHING if text.strip() == EVERYTHING else _each(_network)(text)
