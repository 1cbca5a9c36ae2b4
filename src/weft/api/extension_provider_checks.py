"""What must hold of the providers of a MeshConfig beyond their shape."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from weft.api import codes
from weft.api.checks import check_duration
from weft.api.extension_providers import TELEMETRY, ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider
from weft.api.report import Report
from weft.base.names import host_fault, is_dns_label, is_header_name
from weft.base.problem import Problem

_STATUSES: Final = frozenset(
    {100, *range(200, 209), 226, *range(300, 306), 307, 308, *range(400, 418)}
    | {421, 422, 423, 424, 426, 428, 429, 431, *range(500, 509), 510, 511}
)
"""envoy.type.v3.StatusCode."""


def check_providers(providers: Iterable[ExtensionProvider], place: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with providers."""
    names: set[str] = set()
    for index, each in enumerate(providers):
        here = f"{place}[{index}]"
        if not each.name:
            yield report.error(f"{here}.name", "there is no name.", "Write one for policies to name it by.")
        elif each.name in names:
            yield report.error(f"{here}.name", f'"{each.name}" is there twice.', "Give each its own name.")
        names.add(each.name)
        yield from _kind(each, here, report)


def _kind(provider: ExtensionProvider, place: str, report: Report) -> Iterator[Problem]:
    http, grpc = provider.envoy_ext_authz_http, provider.envoy_ext_authz_grpc
    kinds = [http, grpc, *(getattr(provider, name) for name in TELEMETRY)]
    given = sum(each is not None for each in kinds)
    if given != 1:
        message = "says not what it is." if not given else "is several things at once."
        yield report.error(place, message, "Write one of envoyExtAuthzHttp, envoyExtAuthzGrpc, and the like.")
    if http is not None:
        yield from _asked(http, f"{place}.envoyExtAuthzHttp", report)
        yield from _http(http, f"{place}.envoyExtAuthzHttp", report)
    if grpc is not None:
        yield from _asked(grpc, f"{place}.envoyExtAuthzGrpc", report)


def _asked(provider: ExtAuthzHttp | ExtAuthzGrpc, place: str, report: Report) -> Iterator[Problem]:
    namespace, mark, host = provider.service.rpartition("/")
    fault = host_fault(host, wildcard=False)
    if not fault and "." not in host:
        fault = f'"{host}" is no full name'
    if not fault and mark and not is_dns_label(namespace):
        fault = f'"{namespace}" is not a namespace'
    if fault:
        yield report.error(
            f"{place}.service", f"{fault}.", "Write NAME.NAMESPACE.svc.cluster.local, or NAMESPACE/HOST."
        )
    if provider.port is None:
        yield report.error(f"{place}.port", "there is no port.", "Write one of the service's ports.")
    yield from check_duration(provider.timeout, f"{place}.timeout", report)
    status = provider.status_on_error
    if status and not (status.isascii() and status.isdecimal() and int(status) in _STATUSES):
        yield report.error(f"{place}.statusOnError", f'"{status}" is not a status.', 'Write one in quotes: "503".')
    body = provider.include_request_body_in_check
    if body is not None and not body.max_request_bytes:
        field = f"{place}.includeRequestBodyInCheck.maxRequestBytes"
        yield report.error(field, "is 0, so that no body fits.", "Write how many bytes to show, such as 4096.")


def _http(provider: ExtAuthzHttp, place: str, report: Report) -> Iterator[Problem]:
    prefix = provider.path_prefix
    if prefix and (not prefix.startswith("/") or set(prefix) & set("?# ")):
        yield report.error(
            f"{place}.pathPrefix", f'"{prefix}" is not a path.', "Begin with /, and without a query."
        )
    if provider.include_headers_in_check:
        hint = "Write includeRequestHeadersInCheck."
        yield report.warning(f"{place}.includeHeadersInCheck", "is deprecated.", hint, codes.DEPRECATED)
    for name, headers in (
        ("includeHeadersInCheck", provider.include_headers_in_check),
        ("includeRequestHeadersInCheck", provider.include_request_headers_in_check),
        ("headersToUpstreamOnAllow", provider.headers_to_upstream_on_allow),
        ("headersToDownstreamOnDeny", provider.headers_to_downstream_on_deny),
        ("headersToDownstreamOnAllow", provider.headers_to_downstream_on_allow),
    ):
        for index, each in enumerate(headers):
            bare = each.removeprefix("*") if each.startswith("*") else each.removesuffix("*")
            if not is_header_name(bare) or "*" in bare:
                hint = "Write a name, x-prefix-* or *-suffix."
                yield report.error(f"{place}.{name}[{index}]", f'"{each}" names no headers.', hint)
    yield from _added(
        provider.include_additional_headers_in_check, f"{place}.includeAdditionalHeadersInCheck", report
    )


def _added(headers: Mapping[str, str], place: str, report: Report) -> Iterator[Problem]:
    for name, value in headers.items():
        if not is_header_name(name):
            yield report.error(f'{place}["{name}"]', f'"{name}" is not a header.', "Write its name: x-provider.")
        if any(ord(each) < 32 or ord(each) == 127 for each in value):
            yield report.error(f'{place}["{name}"]', "holds control characters.", "Write printable ones.")
