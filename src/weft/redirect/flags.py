"""The command line of `istio-iptables`: Istio's flags, and environment variables that stand in for them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any, Final, NoReturn, TypeVar

from weft.base import durations
from weft.base.flags import is_true
from weft.redirect.capture import (
    EVERYTHING,
    LOCALHOST,
    Address,
    Capture,
    Groups,
    Network,
    Networks,
    Ports,
    Resolvers,
)

T = TypeVar("T")

USER: Final = 1337
_MOST_GROUPS: Final = 64
_MODES: Final = ("REDIRECT", "TPROXY", "NONE")


class FlagError(ValueError):
    """A flag that cannot be honoured; the message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Host:
    """What is read of the machine or pod before flags can be understood. Groups and users are by name."""

    resolvers: tuple[Address, ...] = ()
    has_ipv6: bool = False
    users: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)


NO_HOST: Final = Host()


@dataclass(frozen=True, slots=True)
class Command:
    """What to do. Without any of its switches: make the namespace hold the capture."""

    capture: Capture
    cleanup: bool = False
    """Take the rules away."""
    dry_run: bool = False
    """Print what would be done, with reasons."""
    force: bool = False
    """Write rules again that are there already."""
    skip_rules: bool = False
    validate: bool = False
    """Send connections of our own, and see whether they are captured."""
    probe_port: int = 15002
    probe_seconds: float = 5.0
    binary: str = ""
    """A variant of iptables: "nft", "legacy", or "" for what fits here."""
    native: bool = False
    namespace: str = ""
    cni: bool = False
    """We are on the node's file system, but change a pod's namespace."""
    link_addresses: tuple[Address, ...] = ()
    """Addresses for interfaces that have none and would swallow what is redirected."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FlagError(message)


def parse(argv: Sequence[str], environment: Mapping[str, str] | None = None, host: Host = NO_HOST) -> Command:
    """The command that `argv` asks for. FlagError for a flag that is unknown, malformed or not supported.

    `environment` stands in for flags that are not given: each has a variable of its own name in capitals, as in
    Istio, and some have another besides.
    """
    variables = environment or {}
    found = _arguments(argv, variables)
    return Command(
        _capture(found, variables, host),
        cleanup=found.cleanup_only,
        dry_run=found.dry_run,
        force=found.force_apply,
        skip_rules=found.skip_rule_apply,
        validate=found.run_validation,
        probe_port=found.iptables_probe_port,
        probe_seconds=found.probe_timeout,
        binary=found.force_iptables_binary,
        native=found.native_nftables,
        namespace=found.network_namespace,
        cni=found.cni_mode,
        link_addresses=found.veth_link_address,
    )


def namespace(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """The network namespace that is meant, which must be entered before the rest can be told; "" for this one."""
    return str(_arguments(argv, environment).network_namespace)


def _arguments(argv: Sequence[str], environment: Mapping[str, str]) -> argparse.Namespace:
    found, unknown = _parser(environment).parse_known_args(argv)
    if unknown:
        raise FlagError(f"{' '.join(unknown)}: this flag is not known; leave it out")
    return found


def usage() -> str:
    """The help text."""
    return _parser({}).format_help()


def _capture(found: argparse.Namespace, environment: Mapping[str, str], host: Host) -> Capture:
    uids = found.proxy_uid or (host.users.get(environment.get("ENVOY_USER", "istio-proxy"), USER),)
    return Capture(
        mode=found.istio_inbound_interception_mode,
        # a pod with IPv6 whose IPv6 is not captured would go past its proxy
        ipv6=found.dual_stack or host.has_ipv6,
        outbound_port=found.envoy_port,
        inbound_port=found.inbound_capture_port,
        tunnel_port=found.inbound_tunnel_port,
        proxy_uids=uids,
        proxy_gids=found.proxy_gid or uids,  # as in Istio: the group is the user's unless named
        inbound_ports=found.istio_inbound_ports,
        excluded_inbound_ports=found.istio_local_exclude_ports,
        outbound_networks=found.istio_service_cidr,
        excluded_outbound_networks=found.istio_service_exclude_cidr,
        outbound_ports=found.istio_outbound_ports,
        excluded_outbound_ports=found.istio_local_outbound_ports_exclude,
        excluded_interfaces=found.istio_exclude_interfaces,
        virtual_interfaces=found.kube_virt_interfaces,
        resolvers=_resolvers(found, host.resolvers),
        drop_invalid=found.drop_invalid,
        tproxy_mark=found.istio_inbound_tproxy_mark,
        tproxy_table=found.istio_inbound_tproxy_route_table,
        **_owner_groups(environment, host.groups),
        loopback=_loopback(environment),
    )


def _resolvers(found: argparse.Namespace, own: tuple[Address, ...]) -> Resolvers:
    if not found.redirect_dns:
        return ()
    # a CNI plugin sees the node's resolv.conf, not the pod's
    if found.capture_all_dns or found.cni_mode:
        return EVERYTHING
    if not own:
        raise FlagError("--redirect-dns: /etc/resolv.conf names no nameserver; use --capture-all-dns")
    return own


def _owner_groups(environment: Mapping[str, str], named: Mapping[str, int]) -> dict[str, Any]:
    include, exclude = "ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"
    included = _groups(include, environment.get(include, EVERYTHING), named)
    excluded = _groups(exclude, environment.get(exclude, ""), named)
    if excluded == EVERYTHING:
        raise FlagError(f'{exclude}: "*" would exclude every process; set {include} to "" instead')
    if included != EVERYTHING and excluded:
        raise FlagError(f"{exclude}: groups are excluded from all; set {include} to * or leave it out")
    return {"owner_groups": included, "excluded_owner_groups": excluded}


def _groups(variable: str, text: str, named: Mapping[str, int]) -> Groups:
    if text.strip() == EVERYTHING:
        return EVERYTHING
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _MOST_GROUPS:
        raise FlagError(f"{variable}: {len(parts)} groups; at most {_MOST_GROUPS} can be listed")
    unknown = [part for part in parts if not part.isdecimal() and part not in named]
    if unknown:
        raise FlagError(f"{variable}: there is no group {unknown[0]!r} here; write its number")
    return tuple(int(part) if part.isdecimal() else named[part] for part in parts)


def _loopback(environment: Mapping[str, str]) -> IPv4Network:
    variable = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"
    text = environment.get(variable, str(LOCALHOST))
    try:
        network = IPv4Network(text, strict=False)
    except ValueError as error:
        raise FlagError(f"{variable}: {text!r} is not an IPv4 range; write 127.0.0.1/32") from error
    if not network.is_loopback:
        raise FlagError(f"{variable}: {text!r} is not within 127.0.0.0/8; write 127.0.0.1/32")
    return network


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="istio-iptables",
        allow_abbrev=False,
        add_help=False,
        description="Capture a pod's traffic for its proxy.",
    )
    options = _Options(parser, environment)
    option, switch = options.option, options.switch
    option("-p", "--envoy-port", _port, "15001", "where outbound connections go")
    option("-z", "--inbound-capture-port", _port, "15006", "where inbound connections go")
    option("-e", "--inbound-tunnel-port", _port, "15008", "the proxy's port for tunnels, never captured")
    option("-u", "--proxy-uid", _each(_number), "", "users whose traffic is not captured (1337)")
    option("-g", "--proxy-gid", _each(_number), "", "groups whose traffic is not captured (as -u)")
    option("-m", "--istio-inbound-interception-mode", _mode, "REDIRECT", "REDIRECT, TPROXY or NONE")
    option("-t", "--istio-inbound-tproxy-mark", _mark, "1337", "the mark of TPROXY's packets")
    option("-r", "--istio-inbound-tproxy-route-table", _table, "133", "the routing table of TPROXY's packets")
    option("-b", "--istio-inbound-ports", _ports, "", "inbound ports to capture, * for all")
    option("-d", "--istio-local-exclude-ports", _each(_port), "", "inbound ports that are not, of *")
    option("-o", "--istio-local-outbound-ports-exclude", _each(_port), "", "outbound ports not to capture")
    option("-q", "--istio-outbound-ports", _each(_port), "", "outbound ports to capture, wherever they lead")
    option("-i", "--istio-service-cidr", _networks, "", "outbound ranges to capture, * for all")
    option("-x", "--istio-service-exclude-cidr", _each(_network), "", "outbound ranges that are not")
    option("-c", "--istio-exclude-interfaces", _each(_interface), "", "interfaces not to capture on")
    option("-k", "--kube-virt-interfaces", _each(_interface), "", "interfaces whose inbound traffic is a guest's")
    option("", "--iptables-probe-port", _port, "15002", "the port that --run-validation connects to")
    option("", "--probe-timeout", _duration, "5s", "how long --run-validation waits")
    option("", "--network-namespace", str, "", "where to do it, by path or name; here if not given")
    option("", "--force-iptables-binary", _variant, "", "nft or legacy, whatever is there")
    option("", "--veth-link-address", _each(_address), "", "for interfaces without any (169.254.100.1,fe80::1)")
    # there is little to log here, and what there is goes to stderr
    option("", "--log_output_level", str, "", "accepted for Istio's sake")
    switch("-n", "--dry-run", "print the rules with their reasons, and change nothing")
    switch("", "--redirect-dns", "capture queries to the resolvers of /etc/resolv.conf", "ISTIO_META_DNS_CAPTURE")
    switch("", "--capture-all-dns", "capture queries to any resolver")
    switch("", "--drop-invalid", "drop what fits no connection, where it would be reset", "INVALID_DROP")
    switch("", "--dual-stack", "capture IPv6 too; without it wherever there is an address", *_DUAL_STACK)
    switch("", "--skip-rule-apply", "write no rules")
    switch("", "--run-validation", "connect to ourselves, and exit with 126 where that is not captured")
    switch("", "--reconcile", "replace rules that differ: always done, in one transaction")
    switch("", "--cleanup-only", "take the rules away")
    switch("", "--force-apply", "write the rules though they are there")
    switch("", "--native-nftables", "write nftables in place of iptables")
    switch("", "--cni-mode", "the namespace is a pod's, the file system the node's")
    return parser


_DUAL_STACK: Final = ("ISTIO_DUAL_STACK", "ISTIO_AGENT_DUAL_STACK")


@dataclass(frozen=True, slots=True)
class _Options:
    """Adds options whose defaults come from the environment."""

    parser: argparse.ArgumentParser
    environment: Mapping[str, str]

    def option(self, short: str, name: str, parse: Callable[[str], Any], default: str, about: str) -> None:
        variable = name.removeprefix("--").upper().replace("-", "_")
        value = self.environment.get(variable, "") or default
        try:
            usual = parse(value)
        except argparse.ArgumentTypeError as error:
            raise FlagError(f"{variable}: {error}") from error
        self.parser.add_argument(*filter(None, (short, name)), type=parse, default=usual, help=about)

    def switch(self, short: str, name: str, about: str, *variables: str) -> None:
        own = name.removeprefix("--").upper().replace("-", "_")
        usual = any(is_true(self.environment.get(variable, "")) for variable in (own, *variables))
        # Go's flags take --redirect-dns=false too
        self.parser.add_argument(
            *filter(None, (short, name)), type=_boolean, nargs="?", const=True, default=usual, help=about
        )


def _each(one: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse_list(text: str) -> tuple[T, ...]:
        return tuple(one(part.strip()) for part in text.split(",") if part.strip())

    return parse_list


def _between(lowest: int, highest: int, what: str) -> Callable[[str], int]:
    def parse_number(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} ({lowest} to {highest})")
        return int(text)

    return parse_number


_port = _between(1, 65535, "a port")
_number = _between(0, 2**32 - 2, "a numeric user or group")
_mark = _between(1, 2**32 - 1, "a mark")
# 253 to 255 are the kernel's own tables
_table = _between(1, 252, "a routing table")


def _ports(text: str) -> Ports:
    return EVERYTHING if text.strip() == EVERYTHING else _each(_port)(text)


def _network(text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        message = f"{text!r} is not an address range (10.0.0.0/8, fd00::/8)"
        raise argparse.ArgumentTypeError(message) from error


def _networks(text: str) -> Networks:
    return EVERYTHING if text.strip() == EVERYTHING else _each(_network)(text)


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address (169.254.100.1, fe80::1)") from error


def _interface(text: str) -> str:
    if len(text.encode()) > 15 or "/" in text or any(character.isspace() for character in text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of an interface (at most 15 letters: net1)")
    return text


def _mode(text: str) -> str:
    # Istio's default is no mode, which redirects
    if text and text not in _MODES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(_MODES)}")
    return text or "REDIRECT"


def _variant(text: str) -> str:
    if text not in {"", "nft", "legacy"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither nft nor legacy")
    return text


def _duration(text: str) -> float:
    try:
        return durations.parse_duration(text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration (5s)") from error


def _boolean(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0", "t", "f"}:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return is_true(text)
