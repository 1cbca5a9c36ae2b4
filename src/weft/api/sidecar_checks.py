"""What must hold of a Sidecar beyond its shape."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from weft.api import codes
from weft.api.checks import check_host, check_labels
from weft.api.gateway import ServerTls
from weft.api.gateway_tls_checks import check_parameters, check_pins
from weft.api.own_places import is_own_port, is_own_socket
from weft.api.report import Report
from weft.api.sidecar import (
    EgressListener,
    IngressListener,
    ListenerPort,
    OutboundTrafficPolicy,
    Sidecar,
)
from weft.api.traffic_policy_checks import check_pool
from weft.base.names import host_fault, is_dns_label
from weft.base.problem import Problem

UNIX: Final = "unix://"
PROTOCOLS: Final = frozenset(
    {"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "UDP", "MONGO", "MYSQL", "REDIS"}
)
HTTP_PROXY: Final = "HTTP_PROXY"
_OWN_TLS: Final = frozenset({"SIMPLE", "MUTUAL"})
_BOTH_PARTS: Final = 2


def check(sidecar: Sidecar, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a Sidecar, or works otherwise than it looks."""
    spec = sidecar.spec
    if spec.workload_selector is not None:
        yield from check_labels(spec.workload_selector.labels, "spec.workloadSelector.labels", report)
    yield from _ingress(spec.ingress, report)
    yield from _egress(spec.egress, report)
    if spec.inbound_connection_pool is not None:
        yield from check_pool(spec.inbound_connection_pool, "spec.inboundConnectionPool", report)
    if spec.outbound_traffic_policy is not None:
        yield from _policy(spec.outbound_traffic_policy, report)


def _ingress(listeners: tuple[IngressListener, ...], report: Report) -> Iterator[Problem]:
    seen: dict[int, int] = {}
    for index, each in enumerate(listeners):
        field = f"spec.ingress[{index}]"
        yield from _port(each.port, f"{field}.port", report)
        if not each.port.number:
            yield report.error(f"{field}.port.number", "there is no port.", "Write the port that clients dial.")
        elif (first := seen.setdefault(each.port.number, index)) != index:
            message = f"port {each.port.number} is already in spec.ingress[{first}]."
            yield report.error(f"{field}.port.number", message, "Keep one of them.")
        if each.bind.startswith(UNIX):
            yield report.error(f"{field}.bind", "a Unix socket takes nothing from outside.", "Write an address.")
        elif each.bind:
            yield from _address(each.bind, f"{field}.bind", report)
        yield from _endpoint(each.default_endpoint, f"{field}.defaultEndpoint", report)
        if each.tls is not None:
            yield from _tls(each.tls, each.port, f"{field}.tls", report)
        if each.connection_pool is not None:
            yield from check_pool(each.connection_pool, f"{field}.connectionPool", report)


def _egress(listeners: tuple[EgressListener, ...], report: Report) -> Iterator[Problem]:
    seen: dict[tuple[str, int], int] = {}
    for index, each in enumerate(listeners):
        field = f"spec.egress[{index}]"
        if not each.hosts:
            hint = 'Write which hosts it is for, such as "./*" or "*/*"; "~/*" is none.'
            yield report.error(f"{field}.hosts", "there are no hosts.", hint)
        for number, host in enumerate(each.hosts):
            yield from _imported(host, f"{field}.hosts[{number}]", report)
        if each.port is None:
            yield from _catch_all(each, field, report, last=index == len(listeners) - 1)
            continue
        place = (each.bind, each.port.number)
        if (first := seen.setdefault(place, index)) != index:
            message = f"port {each.port.number} is already in spec.egress[{first}]."
            yield report.error(f"{field}.port.number", message, "Keep one of them.")
        yield from _port(each.port, f"{field}.port", report, outbound=True)
        yield from _bind(each, each.port, field, report)


def _catch_all(listener: EgressListener, field: str, report: Report, *, last: bool) -> Iterator[Problem]:
    if not last:
        message = "a listener without a port takes all that is left, so what follows has no effect."
        yield report.error(field, message, "Give it a port, or move it to the end.")
    if listener.bind.startswith(UNIX):
        yield report.error(f"{field}.bind", "a Unix socket needs a port with a protocol.", "Add port.")
    elif listener.bind:
        yield from _address(listener.bind, f"{field}.bind", report)


def _bind(listener: EgressListener, port: ListenerPort, field: str, report: Report) -> Iterator[Problem]:
    if listener.bind.startswith(UNIX):
        if not listener.bind.removeprefix(UNIX).startswith(("/", "@")):
            hint = "Write unix:///PATH, or unix://@NAME for an abstract one."
            yield report.error(f"{field}.bind", f'"{listener.bind}" is no absolute path.', hint)
        if port.number:
            message = "a Unix socket has no port number."
            yield report.error(f"{field}.port.number", message, "Write 0, or leave it out.")
        if listener.capture_mode == "IPTABLES":
            message = "iptables cannot lead traffic to a Unix socket."
            yield report.error(f"{field}.captureMode", message, "Leave it out, or write NONE.")
        return
    if not port.number:
        yield report.error(f"{field}.port.number", "there is no port.", "Write 1 to 65535.")
    if listener.bind:
        yield from _address(listener.bind, f"{field}.bind", report)


def _imported(written: str, field: str, report: Report) -> Iterator[Problem]:
    """`NAMESPACE/HOST`, either part with a leading `~` that takes it out again."""
    parts = written.split("/")
    if len(parts) != _BOTH_PARTS:
        hint = f'Write NAMESPACE/HOST: "./{written}" is one of its own namespace, "*/{written}" of any.'
        yield report.error(field, f'"{written}" is not of the form NAMESPACE/HOST.', hint)
        return
    namespace, host = parts
    if namespace == "~":
        if host != "*":
            yield report.error(field, f'"{written}" is none of anything.', 'Write "~/*".')
        return
    bare = namespace.removeprefix("~")
    if bare not in {"*", "."} and not is_dns_label(bare):
        hint = 'Write the name of a namespace, "." for its own or "*" for all.'
        yield report.error(field, f'"{namespace}" is not a namespace.', hint)
    fault = host_fault(host.removeprefix("~"), wildcard=True)
    if fault:
        yield report.error(field, f"{fault}.", "Write a full host name, *.example.com or *.")


def _port(port: ListenerPort, field: str, report: Report, *, outbound: bool = False) -> Iterator[Problem]:
    known = PROTOCOLS | {HTTP_PROXY} if outbound else PROTOCOLS
    if not port.protocol:
        hint = f"Use one of {', '.join(sorted(known))}."
        yield report.error(f"{field}.protocol", "there is no protocol.", hint)
    elif port.protocol.upper() not in known:
        hint = f"Use one of {', '.join(sorted(known))}."
        yield report.error(f"{field}.protocol", f'"{port.protocol}" is not a protocol.', hint)
    elif port.protocol.upper() == "UDP":
        hint = "UDP goes past the proxy; leave the listener out."
        yield report.warning(f"{field}.protocol", "the mesh carries no UDP.", hint)
    if port.target_port is not None:
        hint = "Use defaultEndpoint where the application listens elsewhere."
        yield report.warning(f"{field}.targetPort", "has no effect on a Sidecar's port.", hint)


def _address(bind: str, field: str, report: Report) -> Iterator[Problem]:
    try:
        ipaddress.ip_address(bind)
    except ValueError:
        yield report.error(field, f'"{bind}" is not an address.', "Write an IP address, such as 127.0.0.1.")


def _endpoint(written: str, field: str, report: Report) -> Iterator[Problem]:
    if is_own_socket(written):
        way_out = "Write the path of the application's own socket."
        yield report.error(field, f'"{written}" is where the proxy has its credentials.', way_out)
    if not written or written.startswith(f"{UNIX}/"):
        return
    hint = "Write 127.0.0.1:PORT, 0.0.0.0:PORT for the pod's own address, or unix:///PATH."
    host, _, port = written.rpartition(":") if ":" in written else (written, "", "")
    if not (port.isdecimal() and 1 <= int(port) <= 65535):
        yield report.error(field, f'"{written}" has no port.', hint)
    elif is_own_port(host.strip("[]"), int(port)):
        way_out = "Write the application's port."
        yield report.error(field, f'"{written}" is a port of the proxy\'s own.', way_out)
    if host not in {"127.0.0.1", "0.0.0.0", "[::1]", "[::]"}:
        yield report.error(field, f'"{host}" is not the pod itself.', hint)


def _tls(tls: ServerTls, port: ListenerPort, field: str, report: Report) -> Iterator[Problem]:
    if tls.mode not in _OWN_TLS:
        message = f"{tls.mode} is nothing that a sidecar's own server can do."
        yield report.error(
            f"{field}.mode", message, "Write SIMPLE or MUTUAL, or leave tls out for the mesh's own."
        )
    for given, name in ((tls.server_certificate, "serverCertificate"), (tls.private_key, "privateKey")):
        if not given:
            yield report.error(f"{field}.{name}", "the file is missing.", "Write its path in istio-proxy.")
    if tls.mode == "MUTUAL" and not tls.ca_certificates:
        hint = "Write the path of the roots that clients' certificates go back to."
        yield report.error(f"{field}.caCertificates", "the file is missing.", hint)
    if port.protocol.upper() not in {"HTTPS", "TLS"}:
        hint = "Write HTTPS for requests, TLS for other bytes."
        yield report.error(f"{field}", f"{port.protocol} is not spoken over TLS.", hint)
    yield from check_parameters(tls, field, report)
    yield from check_pins(tls, field, report)
    secrets = {
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
        "caCertCredentialName": tls.ca_cert_credential_name,
        "httpsRedirect": tls.https_redirect,
        "tlsCertificates": tls.tls_certificates,
        "insecureSkipVerify": tls.insecure_skip_verify,
    }
    for name, value in secrets.items():
        if value:
            message = "is for gateways only."
            yield report.error(f"{field}.{name}", message, "A sidecar takes its certificate from files.")


def _policy(policy: OutboundTrafficPolicy, report: Report) -> Iterator[Problem]:
    field = "spec.outboundTrafficPolicy"
    proxy = policy.egress_proxy
    if proxy is None:
        return
    yield from check_host(proxy.host, f"{field}.egressProxy.host", report, wildcard=False)
    if policy.mode != "ALLOW_ANY":
        message = "nothing unknown leaves, so nothing goes to the egress proxy."
        yield report.error(f"{field}.egressProxy", message, "Write mode: ALLOW_ANY.", codes.SCHEMA)
    if proxy.port is None:
        yield report.error(f"{field}.egressProxy.port", "there is no port.", "Add port: {number: …}.")
