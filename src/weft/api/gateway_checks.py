"""What must hold of a Gateway beyond its shape, and what works otherwise than it looks."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from weft.api import codes, gateway_tls_checks
from weft.api.checks import check_host, check_labels
from weft.api.gateway import Gateway, Server
from weft.api.report import Report
from weft.base.names import is_dns_label, nearest
from weft.base.problem import Problem

HTTP: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
"""Protocols of plaintext requests."""
OVER_TLS: Final = frozenset({"HTTPS", "TLS"})
TCP: Final = frozenset({"TCP", "MONGO", "MYSQL", "REDIS"})
PROTOCOLS: Final = HTTP | OVER_TLS | TCP
"""What a port of a gateway may speak, in capitals; users may write them in any case."""


def check(gateway: Gateway, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a Gateway, or works otherwise than it looks."""
    spec = gateway.spec
    if not spec.servers:
        yield report.error("spec.servers", "there are no servers.", "Add at least one, with a port and hosts.")
    yield from check_labels(spec.selector, "spec.selector", report)
    names: dict[str, int] = {}
    ports: dict[str, int] = {}
    for index, server in enumerate(spec.servers):
        field = f"spec.servers[{index}]"
        yield from _server(server, field, report)
        for name, kept, place in ((server.port.name, ports, "port.name"), (server.name, names, "name")):
            first = kept.setdefault(name, index) if name else index
            if first != index:
                message = f'"{name}" is already the name in spec.servers[{first}].{place}.'
                yield report.error(f"{field}.{place}", message, "Give each server a name of its own.")


def _server(server: Server, field: str, report: Report) -> Iterator[Problem]:
    port = server.port
    if port.protocol.upper() not in PROTOCOLS:
        near = nearest(port.protocol, PROTOCOLS)
        hint = f'Did you mean "{near}"?' if near else f"Write one of {', '.join(sorted(PROTOCOLS))}."
        yield report.error(f"{field}.port.protocol", f'"{port.protocol}" is no protocol of a gateway.', hint)
    if not port.name:
        yield report.error(f"{field}.port.name", "the port has no name.", "Name it, for instance https.")
    elif not is_dns_label(port.name.lower()):
        hint = "Use letters, digits and dashes, 63 at most."
        yield report.error(f"{field}.port.name", f'"{port.name}" cannot be the name of a port.', hint)
    without_effect = (
        ("port.targetPort", port.target_port, "The gateway's Service says which port of the pod it is."),
        ("defaultEndpoint", server.default_endpoint, "Route to a destination by a VirtualService."),
    )
    for name, value, hint in without_effect:
        if value:
            yield report.warning(f"{field}.{name}", "has no effect on a gateway, as in Istio.", hint)
    if server.bind:
        yield from _bind(server.bind, f"{field}.bind", report)
    yield from _hosts(server.hosts, f"{field}.hosts", report)
    yield from gateway_tls_checks.check(server, field, report)


def _bind(bind: str, field: str, report: Report) -> Iterator[Problem]:
    try:
        ip_address(bind)
    except ValueError:
        yield report.error(field, f'"{bind}" is not an IP address.', "Write one, or take bind out for all.")


def _hosts(hosts: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    if not hosts:
        yield report.error(field, "there are no hosts.", 'Name hosts, or write "*" for all.')
    seen: dict[str, int] = {}
    for index, written in enumerate(hosts):
        here = f"{field}[{index}]"
        namespace, slash, host = written.rpartition("/")
        if slash and namespace not in {"*", "."} and not is_dns_label(namespace):
            hint = 'Write "ns/host", "./host" or "*/host".'
            yield report.error(here, f'"{namespace}" is not a namespace.', hint)
        yield from check_host(host, here, report, wildcard=True)
        first = seen.setdefault(written.lower(), index)
        if first != index:
            message = f'"{written}" is already in {field}[{first}].'
            yield report.warning(here, message, "Take one of them out.", codes.SCHEMA_WARNING)
