"""What must hold of a MeshConfig beyond its shape."""

import json
import re
from collections.abc import Iterator
from typing import Final

from weft.api import ca_certificates_checks, codes
from weft.api.checks import check_duration, check_export_to, check_labels
from weft.api.extension_provider_checks import check_providers
from weft.api.header_checks import COMMAND, COMMANDS
from weft.api.mesh_config import LabelSelector, MeshConfig
from weft.api.report import Report
from weft.api.traffic_policy import TrafficPolicy
from weft.api.traffic_policy_checks import check_policy
from weft.base.names import is_dns_label, nearest
from weft.base.problem import Problem

INBOUND_NAMES: Final = frozenset({"SERVICE", "SERVICE_FQDN", "SERVICE_PORT", "TARGET_PORT", "SERVICE_PORT_NAME"})
OUTBOUND_NAMES: Final = frozenset(
    {"SERVICE", "SERVICE_NAME", "SERVICE_FQDN", "SERVICE_PORT", "SERVICE_PORT_NAME", "SUBSET_NAME"}
)
_VARIABLE: Final = re.compile(r"%([^%]*)%")
_LOG_ONLY: Final = frozenset({"UPSTREAM_CLUSTER_RAW", "START_TIME_LOCAL", "CONNECTION_TERMINATION_DETAILS"})
"""Operators that logs may hold, and headers may not."""
_LISTS: Final = ("In", "NotIn")


def check(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    """Give all that is wrong with the settings, or works otherwise than it looks."""
    yield from _times(mesh, report, place)
    exports = {
        "defaultServiceExportTo": mesh.default_service_export_to,
        "defaultVirtualServiceExportTo": mesh.default_virtual_service_export_to,
        "defaultDestinationRuleExportTo": mesh.default_destination_rule_export_to,
    }
    for name, written in exports.items():
        yield from check_export_to(written, f"{place}.{name}", report)
    if mesh.root_namespace is not None and not is_dns_label(mesh.root_namespace):
        message = f'"{mesh.root_namespace}" is not a namespace.'
        yield report.error(f"{place}.rootNamespace", message, "Write the name of a namespace.")
    yield from _domains(mesh, report, place)
    yield from ca_certificates_checks.check(mesh.ca_certificates, f"{place}.caCertificates", report)
    yield from _patterns(mesh, report, place)
    yield from _ports(mesh, report, place)
    for index, each in enumerate(mesh.discovery_selectors):
        yield from _selector(each, f"{place}.discoverySelectors[{index}]", report)
    yield from _policies(mesh, report, place)
    yield from _retries(mesh, report, place)
    yield from _tls(mesh, report, place)
    yield from _logs(mesh, report, place)
    yield from check_providers(mesh.extension_providers, f"{place}.extensionProviders", report)


def _domains(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    named = [] if mesh.trust_domain is None else [("trustDomain", mesh.trust_domain)]
    named += [(f"trustDomainAliases[{index}]", each) for index, each in enumerate(mesh.trust_domain_aliases)]
    for field, each in named:
        yield from ca_certificates_checks.check_domain(each, f"{place}.{field}", report)


def _times(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    yield from check_duration(mesh.connect_timeout, f"{place}.connectTimeout", report)
    yield from check_duration(
        mesh.protocol_detection_timeout, f"{place}.protocolDetectionTimeout", report, zero=True
    )
    yield from check_duration(mesh.dns_refresh_rate, f"{place}.dnsRefreshRate", report)
    if mesh.tcp_keepalive is not None:
        yield from check_duration(mesh.tcp_keepalive.time, f"{place}.tcpKeepalive.time", report)
        yield from check_duration(mesh.tcp_keepalive.interval, f"{place}.tcpKeepalive.interval", report)


def _ports(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    taken = {15000, 15002, 15004, 15008, 15020, 15021, 15053, 15090}
    ports = {
        "proxyListenPort": mesh.proxy_listen_port or 15001,
        "proxyInboundListenPort": mesh.proxy_inbound_listen_port or 15006,
        "proxyHttpPort": mesh.proxy_http_port or 0,
    }
    for name, port in ports.items():
        if port in taken:
            hint = "Use one that no other part of the proxy has."
            yield report.error(f"{place}.{name}", f"port {port} is taken by the proxy itself.", hint)
        if port:
            taken.add(port)


def _patterns(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    patterns = {
        "inboundClusterStatName": (mesh.inbound_cluster_stat_name, INBOUND_NAMES),
        "outboundClusterStatName": (mesh.outbound_cluster_stat_name, OUTBOUND_NAMES),
    }
    for name, (pattern, known) in patterns.items():
        for each in _VARIABLE.findall(pattern or ""):
            if each not in known:
                hint = f"Use {', '.join(f'%{one}%' for one in sorted(known))}."
                yield report.error(f"{place}.{name}", f'"%{each}%" is not known.', hint)


def _selector(selector: LabelSelector, field: str, report: Report) -> Iterator[Problem]:
    yield from check_labels(selector.match_labels, f"{field}.matchLabels", report)
    for index, each in enumerate(selector.match_expressions):
        here = f"{field}.matchExpressions[{index}]"
        if not each.key:
            yield report.error(f"{here}.key", "there is no key.", "Write the key of a label.")
        if each.operator in _LISTS and not each.values:
            yield report.error(f"{here}.values", f"{each.operator} needs values.", "Write one or more.")
        if each.operator not in _LISTS and each.values:
            yield report.error(f"{here}.values", f"{each.operator} takes no values.", "Leave them out.")


def _policies(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    default = mesh.default_traffic_policy
    if default is not None:
        policy = TrafficPolicy(
            connection_pool=default.connection_pool, outlier_detection=default.outlier_detection
        )
        yield from check_policy(policy, f"{place}.defaultTrafficPolicy", report)


def _logs(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    """A format that Envoy refuses would keep every listener back."""
    written = mesh.access_log_format
    if not written:
        return
    field = f"{place}.accessLogFormat"
    for found in COMMAND.finditer(written):
        if found[0] == "%":
            hint = "Write %% for a percent sign, or an operator such as %RESPONSE_CODE%."
            yield report.error(field, "has a percent sign that begins no operator.", hint)
        elif found[1] and found[1] not in COMMANDS | _LOG_ONLY:
            near = nearest(found[1], COMMANDS | _LOG_ONLY)
            hint = f"Did you mean %{near}%?" if near else "Write %% for a percent sign."
            yield report.error(field, f'"{found[0]}" is not an operator of Envoy.', hint)
    if mesh.access_log_encoding == "JSON" and not isinstance(_json(written), dict):
        hint = 'Write an object, such as {"status": "%RESPONSE_CODE%"}, or accessLogEncoding: TEXT.'
        yield report.error(field, "is not a JSON object.", hint)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _retries(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    policies = {
        "defaultHttpRetryPolicy": mesh.default_http_retry_policy,
        "defaultInboundHttpRetryPolicy": mesh.default_inbound_http_retry_policy,
    }
    for name, retries in policies.items():
        if retries is None:
            continue
        yield from check_duration(retries.backoff, f"{place}.{name}.backoff", report)
        if retries.per_try_timeout is not None:
            hint = "Set it in VirtualServices."
            yield report.warning(
                f"{place}.{name}.perTryTimeout", "cannot be set for the whole mesh.", hint, codes.NOT_ACTED_ON
            )


def _tls(mesh: MeshConfig, report: Report, place: str) -> Iterator[Problem]:
    if mesh.mesh_mtls is not None and mesh.mesh_mtls.ecdh_curves:
        message = "the mesh's mTLS heeds no curves, as Istio documents."
        yield report.warning(f"{place}.meshMTLS.ecdhCurves", message, "Leave it out.", codes.NOT_ACTED_ON)
