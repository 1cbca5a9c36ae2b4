"""What must hold of a ServiceEntry beyond its shape, and what works otherwise than it looks."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Final

from weft.api import codes
from weft.api.checks import check_export_to, check_host, check_labels
from weft.api.own_places import is_own_port
from weft.api.report import Report
from weft.api.service_entry import AUTO_ALLOCATE, ServiceEntry, ServiceEntrySpec
from weft.api.workload_entry import UNIX
from weft.api.workload_entry_checks import check_entry, check_ports, is_address, is_numeric
from weft.base.names import host_fault, nearest
from weft.base.problem import Problem

HTTP: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
"""Protocols that tell hosts apart by the authority of each request."""
TLS: Final = frozenset({"HTTPS", "TLS"})
"""Protocols that tell hosts apart by the server name (SNI)."""
PROTOCOLS: Final = HTTP | TLS | {"TCP", "UDP", "MONGO", "MYSQL", "REDIS"}
BY_DNS: Final = frozenset({"DNS", "DNS_ROUND_ROBIN"})
"""Resolutions that ask the DNS for endpoints."""


def check(entry: ServiceEntry, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with an entry, or works otherwise than it looks."""
    spec = entry.spec
    yield from _hosts(spec, report)
    yield from _addresses(spec, report)
    yield from _ports(spec, report)
    yield from _resolution(spec, report)
    yield from _indistinguishable(entry, report)
    yield from _endpoints(spec, report)
    yield from check_export_to(spec.export_to, "spec.exportTo", report)
    for index, name in enumerate(spec.subject_alt_names):
        if not name:
            hint = "Write a DNS name, an IP address or a SPIFFE ID, or take it out."
            yield report.error(f"spec.subjectAltNames[{index}]", "the name is empty.", hint)
    if _needs_addresses(entry):
        yield from _unreachable_by_address(spec, report)


def allocates(entry: ServiceEntry) -> bool:
    """Whether hosts of this entry get addresses of their own (as in Istio)."""
    spec = entry.spec
    asked = (entry.metadata.labels or {}).get(AUTO_ALLOCATE, "").lower()
    return not spec.addresses and (spec.resolution or "NONE") != "NONE" and asked != "false"


def _hosts(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    if not spec.hosts:
        yield report.error("spec.hosts", "there are no hosts.", "Name at least one, for instance api.example.com.")
    seen: dict[str, int] = {}
    for index, host in enumerate(spec.hosts):
        field = f"spec.hosts[{index}]"
        if host == "*":
            yield report.error(
                field, '"*" would stand for every host there is.', "Write *.example.com, or a host."
            )
        else:
            yield from check_host(host, field, report, wildcard=True)
        first = seen.setdefault(host.lower(), index)
        if first != index:
            yield report.error(field, f'"{host}" is already in spec.hosts[{first}].', "Take one of them out.")


def _addresses(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    for index, address in enumerate(spec.addresses):
        field = f"spec.addresses[{index}]"
        try:
            ip_network(address, strict=False)
        except ValueError:
            hint = "Write an IP address, or a range such as 10.1.0.0/16."
            yield report.error(field, f'"{address}" is neither an address nor a range.', hint)
            continue
        if "/" in address and (spec.resolution or "NONE") not in {"NONE", "STATIC"}:
            hint = "Use NONE or STATIC, or single addresses."
            yield report.error(field, f"a range cannot go with resolution {spec.resolution}.", hint)


def _ports(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    if not spec.ports:
        hint = "Add ports: [{number: 443, name: tls, protocol: TLS}]."
        yield report.warning("spec.ports", "there are no ports, so nothing is reached by this entry.", hint)
    numbers: dict[int, int] = {}
    names: dict[str, int] = {}
    for index, port in enumerate(spec.ports):
        field = f"spec.ports[{index}]"
        if not port.name:
            yield report.error(f"{field}.name", "the port has no name.", "Name it, for instance http.")
        if port.protocol and port.protocol.upper() not in PROTOCOLS:
            near = nearest(port.protocol, PROTOCOLS)
            hint = f'Did you mean "{near}"?' if near else f"Known: {', '.join(sorted(PROTOCOLS))}."
            yield report.error(f"{field}.protocol", f'"{port.protocol}" is not a protocol.', hint)
        if numbers.setdefault(port.number, index) != index:
            message = f"{port.number} is already the number of spec.ports[{numbers[port.number]}]."
            yield report.error(f"{field}.number", message, "Take one of them out.")
        if port.name and names.setdefault(port.name, index) != index:
            message = f'"{port.name}" is already the name of spec.ports[{names[port.name]}].'
            yield report.error(f"{field}.name", message, "Give each port a name of its own.")


def _resolution(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    match spec.resolution or "NONE":
        case "NONE":
            if spec.endpoints:
                message = "resolution is NONE: connections go where the client dials, not to endpoints."
                yield report.error("spec.endpoints", message, "Write resolution: STATIC or DNS.")
        case "STATIC":
            if not spec.endpoints and spec.workload_selector is None:
                message = "resolution is STATIC, but there are no endpoints: requests get 503."
                yield report.warning("spec.endpoints", message, "Add endpoints or a workloadSelector.")
        case "DNS" | "DNS_ROUND_ROBIN":
            yield from _by_dns(spec, report)
        case "DYNAMIC_DNS":
            yield from _dynamic(spec, report)


def _by_dns(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    if spec.resolution == "DNS_ROUND_ROBIN" and len(spec.endpoints) > 1:
        hint = "Keep one, or write resolution: DNS."
        yield report.error("spec.endpoints", "DNS_ROUND_ROBIN takes one endpoint at most.", hint)
    if spec.endpoints or spec.workload_selector is not None:
        return
    for index, host in enumerate(spec.hosts):
        field = f"spec.hosts[{index}]"
        if host.startswith("*"):
            hint = "Add endpoints, name the hosts, or write resolution: NONE or DYNAMIC_DNS."
            yield report.error(field, f'the DNS cannot be asked for "{host}", and there are no endpoints.', hint)
        elif is_address(host) or is_numeric(host):
            hint = "Write resolution: STATIC, and the address as an endpoint."
            yield report.error(field, f'"{host}" is an address, which the DNS is not asked for.', hint)


def _dynamic(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    if spec.endpoints or spec.workload_selector is not None:
        field = "spec.endpoints" if spec.endpoints else "spec.workloadSelector"
        message = "resolution is DYNAMIC_DNS: the name that each client asks for is looked up."
        yield report.error(field, message, "Take it out, or write resolution: DNS.")
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in HTTP | TLS:
            message = "DYNAMIC_DNS needs to read the host that is asked for, so this port is left out."
            hint = "Write protocol: HTTP, HTTP2, GRPC, HTTPS or TLS."
            yield report.warning(f"spec.ports[{index}].protocol", message, hint)


def _indistinguishable(entry: ServiceEntry, report: Report) -> Iterator[Problem]:
    spec = entry.spec
    if len(spec.hosts) < 2 or spec.resolution in {None, "NONE"} or allocates(entry):
        return
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in HTTP | TLS:
            message = f"several hosts cannot be told apart in {port.protocol.upper() or 'unknown bytes'}."
            hint = "Write one ServiceEntry for each host."
            yield report.error(f"spec.ports[{index}].protocol", message, hint)


def _endpoints(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    if spec.workload_selector is not None:
        yield from check_labels(spec.workload_selector.labels, "spec.workloadSelector.labels", report)
        if spec.endpoints:
            hint = "Keep one of them."
            yield report.error("spec.workloadSelector", "endpoints and a selector exclude each other.", hint)
        if not spec.workload_selector.labels:
            hint = "Write the labels of the workloads that are meant."
            message = "selects every pod and WorkloadEntry of the namespace."
            yield report.warning("spec.workloadSelector.labels", message, hint)
    names: Mapping[str, None] = dict.fromkeys(port.name for port in spec.ports)
    for index, each in enumerate(spec.endpoints):
        field = f"spec.endpoints[{index}]"
        yield from check_entry(each, field, report)
        if each.address.startswith(UNIX):
            yield from _socket(spec, field, report)
            continue
        yield from check_ports(each, names, field, report)
        for port in spec.ports:
            number = each.ports.get(port.name) or port.target_port or port.number
            if is_own_port(each.address, number):
                message = f"port {number} of {each.address} is the own one of every proxy that dials it."
                hint = "Write the address of the server that is meant, and its port."
                yield report.error(f"{field}.address", message, hint)
        if (
            spec.resolution == "STATIC"
            and not host_fault(each.address, wildcard=False)
            and not is_address(each.address)
            and not is_numeric(each.address)
        ):
            message = f'"{each.address}" is a name, and resolution STATIC asks no DNS.'
            yield report.error(f"{field}.address", message, "Write its address, or resolution: DNS.")


def _socket(spec: ServiceEntrySpec, field: str, report: Report) -> Iterator[Problem]:
    if spec.resolution != "STATIC":
        yield report.error(f"{field}.address", "a socket is no name for the DNS.", "Write resolution: STATIC.")
    if len(spec.ports) != 1:
        yield report.error("spec.ports", "a socket serves exactly one port.", "Keep one of the ports.")


def _needs_addresses(entry: ServiceEntry) -> bool:
    """Whether nothing but the host says which connections are meant."""
    named = all(not host.startswith("*") for host in entry.spec.hosts)
    return not entry.spec.addresses and not (allocates(entry) and named)


def _unreachable_by_address(spec: ServiceEntrySpec, report: Report) -> Iterator[Problem]:
    for index, port in enumerate(spec.ports):
        if port.protocol.upper() not in HTTP | TLS | {"UDP"}:
            message = f"connections to port {port.number} are told apart by their address, and there is none."
            hint = "Add addresses, or write a protocol that names the host: HTTP or TLS."
            yield report.warning(f"spec.ports[{index}]", message, hint, codes.ADDRESSES_NEEDED)
