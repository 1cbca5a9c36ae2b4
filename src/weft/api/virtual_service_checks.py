"""What must hold of a VirtualService beyond its shape, and what works otherwise than it looks."""

from collections.abc import Iterator, Mapping
from typing import Final

from weft.api import codes, http_route_checks, stream_route_checks
from weft.api.checks import check_comparison, check_duration, check_export_to, check_host, check_labels
from weft.api.faults import key_path
from weft.api.report import Report
from weft.api.virtual_service import (
    Fault,
    HttpMatch,
    HttpRoute,
    Retries,
    StringMatch,
    TcpMatch,
    TlsMatch,
    VirtualService,
    VirtualServiceSpec,
)
from weft.base.claims import CLAIMS, claim_path
from weft.base.grpc_status import GRPC_STATUSES, grpc_status
from weft.base.names import host_fault, is_dns_label, is_header_name, nearest
from weft.base.problem import Problem

MESH: Final = "mesh"
"""The gateway that stands for all sidecars."""

# Envoy, x-envoy-retry-on and x-envoy-retry-grpc-on (router filter)
_RETRY_ON: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_PSEUDO: Final = frozenset({"uri", "scheme", "method", "authority"})
_HUNDRED: Final = 100


def check(rule: VirtualService, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a rule, or works otherwise than it looks."""
    spec = rule.spec
    yield from _hosts(rule, report)
    yield from check_export_to(spec.export_to, "spec.exportTo", report)
    yield from _gateways(spec.gateways, "spec.gateways", report)
    if not (spec.http or spec.tls or spec.tcp):
        yield report.error("spec.http", "there are no routes.", "Add at least one entry with a route.")
    closed = ""
    for index, route in enumerate(spec.http):
        field = f"spec.http[{index}]"
        if closed:
            message = f"{closed} already takes every request, so this route is never reached."
            yield report.warning(field, message, "Put the route without match last.", codes.UNREACHABLE)
        yield from _route(route, field, report)
        if not closed and _takes_all(route):
            closed = field
    yield from stream_route_checks.check(spec, report)
    yield from _match_gateways(spec, report)
    yield from _claims_in_sidecars(spec, report)


def _match_gateways(spec: VirtualServiceSpec, report: Report) -> Iterator[Problem]:
    """Check the gateways of matches: one that the rule is not bound to brings nothing."""
    matches: dict[str, list[tuple[HttpMatch | TlsMatch | TcpMatch, ...]]] = {
        "http": [each.match for each in spec.http],
        "tls": [each.match for each in spec.tls],
        "tcp": [each.match for each in spec.tcp],
    }
    for kind, routes in matches.items():
        for index, route in enumerate(routes):
            for position, match in enumerate(route):
                field = f"spec.{kind}[{index}].match[{position}].gateways"
                yield from _gateways(match.gateways, field, report)
                for place, gateway in enumerate(match.gateways):
                    if spec.hosts and gateway not in (spec.gateways or (MESH,)):
                        message = f'"{gateway}" is not among spec.gateways, so nothing comes by it.'
                        yield report.warning(f"{field}[{place}]", message, "Add it there, or take it out here.")


def _claims_in_sidecars(spec: VirtualServiceSpec, report: Report) -> Iterator[Problem]:
    """Claims are known where a token has been verified: before the route is chosen, that is at gateways only."""
    if not spec.hosts or MESH not in (spec.gateways or (MESH,)):
        return
    for index, route in enumerate(spec.http):
        for position, match in enumerate(route.match):
            if match.gateways and MESH not in match.gateways:
                continue
            for name in ("headers", "withoutHeaders"):
                asked = match.headers if name == "headers" else match.without_headers
                for claim in filter(claim_path, asked):
                    field = key_path(f"spec.http[{index}].match[{position}].{name}", claim)
                    message = "claims are matched at gateways only: for sidecars this match never holds."
                    yield report.warning(field, message, "Name gateways.", codes.INEFFECTIVE_MATCH)


def _hosts(rule: VirtualService, report: Report) -> Iterator[Problem]:
    hosts = rule.spec.hosts
    spec = rule.spec
    if not hosts and (spec.gateways or spec.tls or spec.tcp or not spec.http):
        hint = "Name the service whose requests are to be routed. Only a delegate has none, and no gateways."
        yield report.error("spec.hosts", "there are no hosts.", hint)
    seen: dict[str, int] = {}
    for index, host in enumerate(hosts):
        yield from check_host(host, f"spec.hosts[{index}]", report, wildcard=True)
        first = seen.setdefault(host.lower(), index)
        if first != index:
            hint = "Take one of them out."
            yield report.error(f"spec.hosts[{index}]", f'"{host}" is already in spec.hosts[{first}].', hint)


def _gateways(gateways: tuple[str, ...], field: str, report: Report) -> Iterator[Problem]:
    for index, gateway in enumerate(gateways):
        *namespace, name = gateway.split("/")
        if len(namespace) > 1 or host_fault(name, wildcard=False) or not all(map(_is_place, namespace)):
            hint = f'Write the name of a Gateway, "namespace/name", or "{MESH}" for all sidecars.'
            yield report.error(f"{field}[{index}]", f'"{gateway}" cannot be a gateway.', hint)


def _is_place(namespace: str) -> bool:
    return namespace == "." or is_dns_label(namespace)


def _takes_all(route: HttpRoute) -> bool:
    return not route.match or any(match == HttpMatch(name=match.name) for match in route.match)


def _route(route: HttpRoute, field: str, report: Report) -> Iterator[Problem]:
    yield from _weights(route, field, report)
    for index, each in enumerate(route.route):
        yield from check_host(
            each.destination.host, f"{field}.route[{index}].destination.host", report, wildcard=False
        )
    for index, match in enumerate(route.match):
        yield from _match(match, f"{field}.match[{index}]", report)
    # 0s switches the timeout off, as Envoy reads it
    yield from check_duration(route.timeout, f"{field}.timeout", report, zero=True)
    if route.retries is not None:
        yield from _retries(route.retries, f"{field}.retries", report)
    if route.fault is not None:
        yield from _fault(route.fault, f"{field}.fault", report)
    yield from http_route_checks.check(route, field, report)


def _weights(route: HttpRoute, field: str, report: Report) -> Iterator[Problem]:
    if len(route.route) < 2:
        return
    missing = [index for index, each in enumerate(route.route) if each.weight is None]
    for index in missing:
        hint = "Give every destination of a route its weight; 0 means none of the requests."
        yield report.warning(f"{field}.route[{index}]", "has no weight, so it gets no requests.", hint)
    total = sum(each.weight or 0 for each in route.route)
    if total == 0:
        yield report.error(f"{field}.route", "all weights are 0.", "Give weights that sum to 100.")
    elif total != _HUNDRED:
        shares = ", ".join(f"{(each.weight or 0) * 100 / total:.4g} %" for each in route.route)
        message = f"the weights sum to {total}, not 100; Envoy scales them to {shares}."
        yield report.warning(f"{field}.route", message, "Write weights that sum to 100.")


def _match(match: HttpMatch, field: str, report: Report) -> Iterator[Problem]:
    for name in ("uri", "scheme", "method", "authority"):
        comparison: StringMatch | None = getattr(match, name)
        if comparison is not None:
            yield from check_comparison(comparison, f"{field}.{name}", report, presence=False)
    yield from _headers(match.headers, f"{field}.headers", report)
    yield from _headers(match.without_headers, f"{field}.withoutHeaders", report)
    for name, comparison in match.query_params.items():
        yield from check_comparison(comparison, key_path(f"{field}.queryParams", name), report, presence=True)
    if match.stat_prefix == "":
        yield report.error(f"{field}.statPrefix", "is empty.", "Write a name, or take it out.")
    yield from check_labels(match.source_labels, f"{field}.sourceLabels", report)


def _headers(headers: Mapping[str, StringMatch], field: str, report: Report) -> Iterator[Problem]:
    for name, comparison in headers.items():
        here = key_path(field, name)
        if name.startswith("@"):
            if not claim_path(name):
                hint = f"Write {CLAIMS}.NAME, or {CLAIMS}[NAME][NESTED]."
                yield report.error(here, f'"{name}" is no claim of a token.', hint)
        elif not is_header_name(name.removeprefix(":")):
            yield report.error(
                here, f'"{name}" cannot be the name of a header.', "Use letters, digits and dashes."
            )
        elif name in _PSEUDO:
            message = f'"{name}" is compared with a header of that name, not with the request\'s {name}.'
            yield report.warning(here, message, f"Write {name}: beside headers: instead.")
        elif name != name.lower():
            hint = f"Write {name.lower()}."
            yield report.info(here, "is compared in lower case, as Envoy sees all headers.", hint)
        yield from check_comparison(comparison, here, report, presence=True)


def _retries(retries: Retries, field: str, report: Report) -> Iterator[Problem]:
    yield from check_duration(retries.per_try_timeout, f"{field}.perTryTimeout", report)
    yield from check_duration(retries.backoff, f"{field}.backoff", report)
    if not retries.attempts and (retries.per_try_timeout or retries.retry_on):
        message = "attempts is 0, so nothing is tried again."
        yield report.warning(field, message, "Set attempts to 1 or more, or take the rest out.")
    for word in filter(None, (each.strip() for each in retries.retry_on.split(","))):
        is_status = word.isascii() and word.isdigit() and 100 <= int(word) <= 599
        if word not in _RETRY_ON and not is_status:
            near = nearest(word, _RETRY_ON)
            hint = (
                f'Did you mean "{near}"?' if near else f"Known: {', '.join(sorted(_RETRY_ON))}, and HTTP statuses."
            )
            yield report.error(f"{field}.retryOn", f'"{word}" is not a reason to retry.', hint)


def _fault(fault: Fault, field: str, report: Report) -> Iterator[Problem]:
    abort, delay = fault.abort, fault.delay
    if abort is None and delay is None:
        yield report.error(field, "there is neither abort nor delay.", "Add one, or take fault out.")
    if abort is not None:
        given = [
            name
            for name, value in (
                ("httpStatus", abort.http_status),
                ("grpcStatus", abort.grpc_status),
                ("http2Error", abort.http2_error),
            )
            if value is not None
        ]
        if len(given) != 1:
            message = f"{' and '.join(given)} exclude each other." if given else "there is no status."
            yield report.error(f"{field}.abort", message, "Give httpStatus or grpcStatus.")
        if abort.grpc_status is not None and grpc_status(abort.grpc_status) is None:
            near = nearest(abort.grpc_status.upper(), GRPC_STATUSES)
            hint = f'Did you mean "{near}"?' if near else "Write a name such as UNAVAILABLE, or a number up to 16."
            yield report.error(f"{field}.abort.grpcStatus", f'"{abort.grpc_status}" is no status of gRPC.', hint)
        if abort.percentage is None:
            yield _no_share(f"{field}.abort", "aborted", report)
    if delay is not None:
        if delay.fixed_delay is None and delay.exponential_delay is None:
            yield report.error(f"{field}.delay", "there is no duration.", "Add fixedDelay: 5s.")
        yield from check_duration(delay.fixed_delay, f"{field}.delay.fixedDelay", report)
        yield from check_duration(delay.exponential_delay, f"{field}.delay.exponentialDelay", report)
        if delay.percent is not None:
            hint = f"Write percentage: {{value: {delay.percent}}}."
            yield report.warning(f"{field}.delay.percent", "is deprecated.", hint, codes.DEPRECATED)
        elif delay.percentage is None:
            yield _no_share(f"{field}.delay", "delayed", report)


def _no_share(field: str, what: str, report: Report) -> Problem:
    message = f"there is no percentage, so no request is {what}."
    return report.warning(field, message, "Add percentage: {value: 100}, or less.")
