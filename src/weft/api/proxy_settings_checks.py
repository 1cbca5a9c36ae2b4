"""From settings as written to ProxySettings, or to the problems in the way; and settings laid over each other."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from cryptography import x509
from msgspec import inspect

from weft.api.checks import check_duration, check_regex
from weft.api.effect import without_effect
from weft.api.faults import faults
from weft.api.proxy_settings import ConnectionSettings, ProxySettings
from weft.api.report import Report
from weft.base.problem import Problem

_KIND: Final = inspect.type_info(ProxySettings)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:(\d{1,5})", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*", re.ASCII)
_OWN: Final = frozenset({"CA_ADDR", "INSTANCE_IP", "POD_NAME", "POD_NAMESPACE", "PROXY_CONFIG", "SERVICE_ACCOUNT"})
_TAG: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*", re.ASCII)

# fields whose own fields are laid over each other; all others are replaced whole (Istio's ProxyConfig)
_BY_KEY: Final = ("proxyMetadata", "proxyHeaders")


def read(written: Mapping[str, Any], report: Report) -> tuple[ProxySettings | None, tuple[Problem, ...]]:
    """The settings, None where they cannot be honoured, and all that is to be said about them."""
    try:
        settings = msgspec.convert(written, ProxySettings)
    except msgspec.ValidationError as error:
        found = tuple(report.error(each.path, each.message, each.hint) for each in faults(_KIND, written))
        return None, found or (report.error("", f"{error}.", "Compare it with Istio's ProxyConfig."),)
    wrong = tuple(_wrong(settings, report))
    if wrong:
        return None, wrong
    return settings, tuple(without_effect(settings, "", report))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the mesh, of a namespace, of a workload, the later over the earlier, field by field."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            before = result.get(name)
            if name in _BY_KEY and isinstance(before, Mapping) and isinstance(value, Mapping):
                result[name] = {**before, **value}
            else:
                result[name] = value
    return result


def check_variables(variables: Mapping[str, str], field: str, report: Report) -> Iterator[Problem]:
    """Each name must be one that a variable can have, and none of the agent's own."""
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            hint = "Use letters, digits and _, as in ISTIO_META_DNS_CAPTURE."
            yield report.error(field, f'"{name}" cannot be the name of a variable.', hint)
        elif name in _OWN:
            yield report.error(f"{field}.{name}", "is set by the injection itself.", "Take it out.")


def _wrong(settings: ProxySettings, report: Report) -> Iterator[Problem]:
    address = settings.discovery_address
    if address is not None and not ((found := _ADDRESS.fullmatch(address)) and 0 < int(found[2]) < 65536):
        hint = "Write host:port, as in istiod.istio-system.svc:15012."
        yield report.error("discoveryAddress", f'"{address}" is not an address.', hint)
    yield from check_duration(settings.drain_duration, "drainDuration", report)
    yield from check_duration(settings.termination_drain_duration, "terminationDrainDuration", report, zero=True)
    yield from check_duration(settings.file_flush_interval, "fileFlushInterval", report)
    yield from check_variables(settings.proxy_metadata or {}, "proxyMetadata", report)
    if settings.proxy_stats_matcher is not None:
        for index, pattern in enumerate(settings.proxy_stats_matcher.inclusion_regexps):
            yield from check_regex(pattern, f"proxyStatsMatcher.inclusionRegexps[{index}]", report)
    for index, tag in enumerate(settings.extra_stat_tags or ()):
        if not _TAG.fullmatch(tag):
            hint = "Use letters, digits and _."
            yield report.error(f"extraStatTags[{index}]", f'"{tag}" cannot be the name of a label.', hint)
    for index, certificate in enumerate(settings.ca_certificates_pem or ()):
        if not _is_certificate(certificate):
            hint = "Write each as PEM, from -----BEGIN CERTIFICATE----- to its end."
            yield report.error(f"caCertificatesPem[{index}]", "is not a certificate.", hint)
    if settings.connection_settings is not None:
        yield from _connections(settings.connection_settings, report)


def _is_certificate(text: str) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def _connections(settings: ConnectionSettings, report: Report) -> Iterator[Problem]:
    for each in msgspec.structs.fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, str) and each.name.endswith(("_timeout", "_duration")):
            yield from check_duration(value, f"connectionSettings.{each.encode_name}", report, zero=True)
