"""What must hold of a VirtualService's routes of connections: `spec.tls` and `spec.tcp`."""

from collections.abc import Iterator
from ipaddress import ip_network

from msgspec import json

from weft.api import codes
from weft.api.checks import check_host, check_labels
from weft.api.report import Report
from weft.api.virtual_service import StreamDestination, TcpMatch, TlsMatch, VirtualServiceSpec
from weft.base.names import host_covers, host_fault
from weft.base.problem import Problem


def check(spec: VirtualServiceSpec, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with the routes of connections, or works otherwise than it looks."""
    yield from _unreachable("spec.tls", [each.match for each in spec.tls], report)
    yield from _unreachable("spec.tcp", [each.match or (TcpMatch(),) for each in spec.tcp], report)
    for index, tls in enumerate(spec.tls):
        field = f"spec.tls[{index}]"
        if not tls.match:
            hint = "Add match: [{sniHosts: [...]}]. Routes of all connections belong into spec.tcp."
            yield report.error(f"{field}.match", "there is no match.", hint)
        for position, match in enumerate(tls.match):
            yield from _tls_match(match, spec.hosts, f"{field}.match[{position}]", report)
        yield from _destinations(tls.route, f"{field}.route", report)
    for index, tcp in enumerate(spec.tcp):
        field = f"spec.tcp[{index}]"
        for position, other in enumerate(tcp.match):
            yield from _tcp_match(other, f"{field}.match[{position}]", report)
        yield from _destinations(tcp.route, f"{field}.route", report)


def _unreachable(
    field: str, routes: list[tuple[TlsMatch, ...]] | list[tuple[TcpMatch, ...]], report: Report
) -> Iterator[Problem]:
    """Matches that an earlier route has already. Wider ones before are no matter: the most telling match wins."""
    first: dict[bytes, int] = {}
    for index, matches in enumerate(routes):
        keys = [json.encode(each) for each in matches]
        repeated = [(position, first[key]) for position, key in enumerate(keys) if key in first]
        if keys and len(repeated) == len(keys):
            message = f"{field}[{repeated[0][1]}] already takes all that this route asks for."
            yield report.warning(f"{field}[{index}]", message, "Take one of them out.", codes.UNREACHABLE)
        else:
            for position, other in repeated:
                message = f"{field}[{other}] already has this match."
                hint = "Take one of them out."
                yield report.warning(f"{field}[{index}].match[{position}]", message, hint, codes.INEFFECTIVE_MATCH)
        for key in keys:
            first.setdefault(key, index)


def _tls_match(match: TlsMatch, hosts: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    if not match.sni_hosts:
        yield report.error(f"{field}.sniHosts", "there are no hosts.", "Name those that clients ask for by SNI.")
    for index, host in enumerate(match.sni_hosts):
        here = f"{field}.sniHosts[{index}]"
        if host_fault(host, wildcard=True):
            yield from check_host(host, here, report, wildcard=True)
        elif not any(_covers(each, host) for each in hosts):
            message = f'"{host}" is not among spec.hosts ({", ".join(hosts)}).'
            yield report.error(here, message, "Add it to spec.hosts, or take it out here.")
    yield from _subnets(match.destination_subnets, f"{field}.destinationSubnets", report)
    yield from check_labels(match.source_labels, f"{field}.sourceLabels", report)


def _tcp_match(match: TcpMatch, field: str, report: Report) -> Iterator[Problem]:
    yield from _subnets(match.destination_subnets, f"{field}.destinationSubnets", report)
    if match.source_subnet and not is_subnet(match.source_subnet):
        yield _no_subnet(match.source_subnet, f"{field}.sourceSubnet", report)
    yield from check_labels(match.source_labels, f"{field}.sourceLabels", report)


def _covers(host: str, server_name: str) -> bool:
    """Whether a host of the rule means this server name; a short name means all that it may be short for."""
    host, server_name = host.lower(), server_name.lower()
    short = "." not in host and "*" not in host
    return host_covers(host, server_name) or (short and server_name.startswith(f"{host}."))


def is_subnet(text: str) -> bool:
    """Whether a text is an IP address or a CIDR block; bits below the block's mask are of no account."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _subnets(subnets: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    for index, each in enumerate(subnets):
        if not is_subnet(each):
            yield _no_subnet(each, f"{field}[{index}]", report)


def _no_subnet(text: str, field: str, report: Report) -> Problem:
    hint = "Write an address (10.1.2.3) or a block (10.1.0.0/16)."
    return report.error(field, f'"{text}" is neither an IP address nor a block of them.', hint)


def _destinations(route: tuple[StreamDestination, ...], field: str, report: Report) -> Iterator[Problem]:
    if not route:
        yield report.error(field, "there is no destination.", "Add - destination: {host: ...}.")
    for index, each in enumerate(route):
        yield from check_host(each.destination.host, f"{field}[{index}].destination.host", report, wildcard=False)
    if len(route) < 2:
        return
    for index, each in enumerate(route):
        if each.weight is None:
            hint = "Give every destination of a route its weight; 0 means none of the connections."
            yield report.warning(f"{field}[{index}]", "has no weight, so it gets no connections.", hint)
    total = sum(each.weight or 0 for each in route)
    if not total:
        yield report.error(field, "all weights are 0.", "Give weights that sum to 100.")
    elif total != 100:
        shares = ", ".join(f"{(each.weight or 0) * 100 / total:.4g} %" for each in route)
        message = f"the weights sum to {total}, not 100; Envoy scales them to {shares}."
        yield report.warning(field, message, "Write weights that sum to 100.")
