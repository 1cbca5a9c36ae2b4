"""What can be said of an EnvoyFilter by itself."""

from collections.abc import Iterator
from typing import Final

from weft.api import codes
from weft.api.checks import check_labels, check_regex
from weft.api.envoy_filter import ConfigPatch, EnvoyFilter, FilterMatch, ListenerMatch, Match, Patch, TargetRef
from weft.api.envoy_values import misfits
from weft.api.istio_filters import stock_replacement
from weft.api.report import Report
from weft.base.problem import Problem

MANAGER: Final = "envoy.filters.network.http_connection_manager"

MESSAGES: Final = {
    "LISTENER": "envoy.config.listener.v3.Listener",
    "LISTENER_FILTER": "envoy.config.listener.v3.ListenerFilter",
    "FILTER_CHAIN": "envoy.config.listener.v3.FilterChain",
    "NETWORK_FILTER": "envoy.config.listener.v3.Filter",
    "HTTP_FILTER": "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    "ROUTE_CONFIGURATION": "envoy.config.route.v3.RouteConfiguration",
    "VIRTUAL_HOST": "envoy.config.route.v3.VirtualHost",
    "HTTP_ROUTE": "envoy.config.route.v3.Route",
    "CLUSTER": "envoy.config.cluster.v3.Cluster",
    "EXTENSION_CONFIG": "envoy.config.core.v3.TypedExtensionConfig",
    "BOOTSTRAP": "envoy.config.bootstrap.v3.Bootstrap",
}
"""The message that a patch's value is, by what it applies to."""

OLD_NAMES: Final = {
    "envoy.http_connection_manager": MANAGER,
    "envoy.tcp_proxy": "envoy.filters.network.tcp_proxy",
    "envoy.mongo_proxy": "envoy.filters.network.mongo_proxy",
    "envoy.redis_proxy": "envoy.filters.network.redis_proxy",
    "envoy.ratelimit": "envoy.filters.network.ratelimit",
    "envoy.router": "envoy.filters.http.router",
    "envoy.fault": "envoy.filters.http.fault",
    "envoy.cors": "envoy.filters.http.cors",
    "envoy.lua": "envoy.filters.http.lua",
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
    "envoy.ext_authz": "envoy.filters.http.ext_authz",
    "envoy.buffer": "envoy.filters.http.buffer",
    "envoy.gzip": "envoy.filters.http.compressor",
    "envoy.grpc_web": "envoy.filters.http.grpc_web",
    "envoy.health_check": "envoy.filters.http.health_check",
    "envoy.listener.tls_inspector": "envoy.filters.listener.tls_inspector",
    "envoy.listener.http_inspector": "envoy.filters.listener.http_inspector",
    "envoy.listener.original_dst": "envoy.filters.listener.original_dst",
    "envoy.listener.proxy_protocol": "envoy.filters.listener.proxy_protocol",
}
"""Names that filters had before, by which they are still found."""

_LISTENER_PARTS: Final = frozenset(
    {"LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER"}
)
_ROUTE_PARTS: Final = frozenset({"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"})
_REPLACEABLE: Final = frozenset({"NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER", "VIRTUAL_HOST"})
_RELATIVE: Final = frozenset({"REMOVE", "REPLACE", "INSERT_BEFORE", "INSERT_AFTER"})
_MERGES: Final = frozenset({"MERGE", "MERGE_AND_REPLACE_LIST"})
_GATEWAY_API: Final = "gateway.networking.k8s.io"


def check(source: EnvoyFilter, report: Report) -> Iterator[Problem]:
    """All that is wrong with an EnvoyFilter, or works otherwise than it looks."""
    spec = source.spec
    if spec.workload_selector is not None:
        yield from _selector(spec.workload_selector.labels, spec.target_refs, report)
    for index, ref in enumerate(spec.target_refs):
        yield from _target(ref, f"spec.targetRefs[{index}]", source.metadata.namespace, report)
    for index, each in enumerate(spec.config_patches):
        yield from _patch(each, spec.priority, f"spec.configPatches[{index}]", report)


def _selector(labels: dict[str, str], refs: tuple[TargetRef, ...], report: Report) -> Iterator[Problem]:
    field = "spec.workloadSelector"
    yield from check_labels(labels, f"{field}.labels", report)
    if refs:
        yield report.error(field, "workloadSelector and targetRefs exclude each other.", "Keep one of them.")
    elif not labels:
        hint = "Name labels, or take workloadSelector out."
        yield report.warning(field, "selects by no label, so all workloads of the namespace are meant.", hint)


def _target(ref: TargetRef, field: str, own: str, report: Report) -> Iterator[Problem]:
    if ref.namespace not in {"", own}:
        message = f'a target is in the namespace of the EnvoyFilter, not in "{ref.namespace}".'
        hint = f"Take it out, or write the EnvoyFilter in {ref.namespace}."
        yield report.error(f"{field}.namespace", message, hint)
    if not ref.kind or not ref.name:
        yield report.error(field, "a target needs kind and name.", "Add them.")
    elif (ref.group, ref.kind) != (_GATEWAY_API, "Gateway"):
        message = f"targets of kind {ref.kind} are waypoints, which are not acted on yet."
        yield report.warning(field, message, f"Target a Gateway of {_GATEWAY_API}.", codes.NOT_ACTED_ON)


def _patch(each: ConfigPatch, priority: int, field: str, report: Report) -> Iterator[Problem]:
    if each.apply_to is None:
        yield report.error(f"{field}.applyTo", "says not what to change.", f"Use one of {', '.join(MESSAGES)}.")
        return
    if each.patch is None:
        yield report.error(f"{field}.patch", "the patch is missing.", "Add operation and value.")
        return
    if each.patch.operation is None:
        hint = "Use MERGE, ADD, REMOVE, INSERT_BEFORE, INSERT_AFTER, INSERT_FIRST or REPLACE."
        yield report.error(f"{field}.patch.operation", "says not what to do.", hint)
        return
    if each.match is not None:
        yield from _match(each.match, each.apply_to, f"{field}.match", report)
    yield from _operation(each.patch, each.apply_to, f"{field}.patch", report)
    yield from _order(each, each.patch, priority, field, report)
    yield from _value(each.patch, each.apply_to, f"{field}.patch", report)


def _value(patch: Patch, apply_to: str, field: str, report: Report) -> Iterator[Problem]:
    if patch.value is None:
        if patch.operation != "REMOVE":
            hint = f"Write it as a {MESSAGES[apply_to].rpartition('.')[2]} of Envoy."
            yield report.error(f"{field}.value", "the value is missing.", hint)
        return
    for each in misfits(MESSAGES[apply_to], patch.value, f"{field}.value"):
        tell = report.warning if each.unknown else report.error
        yield tell(each.fault.path, each.fault.message, each.fault.hint)


def _operation(patch: Patch, apply_to: str, field: str, report: Report) -> Iterator[Problem]:
    """Operations that have no effect on what they are for."""
    operation, here = str(patch.operation), f"{field}.operation"
    no_effect = f"{operation} has no effect on {apply_to}."
    if apply_to in {"ROUTE_CONFIGURATION", "BOOTSTRAP"} and operation not in _MERGES:
        code = {"ADD": codes.FILTER_ADDS_WRONGLY, "REMOVE": codes.FILTER_REMOVES_WRONGLY}
        code["REPLACE"] = codes.FILTER_REPLACES_WRONGLY
        yield report.warning(here, no_effect, "Use MERGE.", code.get(operation, codes.SCHEMA_WARNING))
    elif apply_to == "EXTENSION_CONFIG" and operation != "ADD":
        yield report.warning(here, no_effect, "Use ADD.")
    elif operation == "REPLACE" and apply_to not in _REPLACEABLE:
        hint = f"Use MERGE, or REPLACE with {', '.join(sorted(_REPLACEABLE))}."
        yield report.warning(here, no_effect, hint, codes.FILTER_REPLACES_WRONGLY)
    if patch.filter_class != "UNSPECIFIED" and (operation, apply_to) != ("ADD", "HTTP_FILTER"):
        message = "has an effect on ADD of an HTTP_FILTER only."
        yield report.warning(f"{field}.filterClass", message, "Take it out, or use ADD.")


def _order(each: ConfigPatch, patch: Patch, priority: int, field: str, report: Report) -> Iterator[Problem]:
    """Operations whose outcome depends on what other EnvoyFilters did before (IST0151, IST0155)."""
    if priority or patch.operation not in _RELATIVE:
        return
    hint = "Set spec.priority, or use INSERT_FIRST or ADD."
    place = f"{field}.patch.operation"
    if each.match and each.match.proxy and each.match.proxy.proxy_version:
        message = (
            f"{patch.operation} for one version of the proxy only: after an upgrade the order may be another."
        )
        yield report.warning(place, message, hint, codes.RELATIVE_FOR_VERSION)
    else:
        # Info, where Istio warns: the order among EnvoyFilters is a fixed one, and this is how most are written
        message = f"{patch.operation} depends on what older EnvoyFilters of the same priority did."
        yield report.info(place, message, hint, codes.RELATIVE_WITHOUT_PRIORITY)


def _match(match: Match, apply_to: str, field: str, report: Report) -> Iterator[Problem]:
    if match.context == "WAYPOINT":
        hint = "Use GATEWAY, SIDECAR_INBOUND, SIDECAR_OUTBOUND or ANY."
        yield report.warning(f"{field}.context", "waypoints are not acted on yet.", hint, codes.NOT_ACTED_ON)
    if match.proxy and match.proxy.proxy_version:
        yield from check_regex(match.proxy.proxy_version, f"{field}.proxy.proxyVersion", report)
    given = {
        "listener": match.listener,
        "routeConfiguration": match.route_configuration,
        "cluster": match.cluster,
        "waypoint": match.waypoint,
    }
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        yield report.error(field, f"{' and '.join(names)} exclude each other.", "Keep one of them.")
        return
    wanted = _kind_of_match(apply_to)
    if wanted and names and names[0] not in {wanted, "waypoint"}:
        message = f"a match of a {names[0]} does not go with applyTo: {apply_to}."
        yield report.error(f"{field}.{names[0]}", message, f"Match by {wanted}.")
    elif match.listener is not None:
        yield from _listener(match.listener, apply_to, f"{field}.listener", report)


def _kind_of_match(apply_to: str) -> str:
    if apply_to in _LISTENER_PARTS:
        return "listener"
    if apply_to in _ROUTE_PARTS:
        return "routeConfiguration"
    return "cluster" if apply_to == "CLUSTER" else ""


def _listener(match: ListenerMatch, apply_to: str, field: str, report: Report) -> Iterator[Problem]:
    if match.port_name:
        message = "has no effect, as in Istio: listeners do not know the names of ports."
        yield report.warning(f"{field}.portName", message, "Use portNumber.")
    if match.listener_filter:
        yield from _name(match.listener_filter, f"{field}.listenerFilter", report)
    chain = match.filter_chain
    if chain is not None and chain.filter is not None:
        yield from _filter(chain.filter, apply_to, f"{field}.filterChain.filter", report)


def _filter(match: FilterMatch, apply_to: str, field: str, report: Report) -> Iterator[Problem]:
    if not match.name:
        yield report.error(f"{field}.name", "names no filter.", f"Write one, such as {MANAGER}.")
        return
    yield from _name(match.name, f"{field}.name", report)
    if apply_to not in {"NETWORK_FILTER", "HTTP_FILTER"}:
        message = f"has no effect on {apply_to}."
        yield report.warning(field, message, "Take it out, or match by other fields of filterChain.")
    inner = match.sub_filter
    if inner is None:
        return
    here = f"{field}.subFilter"
    if apply_to != "HTTP_FILTER":
        yield report.error(here, "a subFilter is for applyTo: HTTP_FILTER only.", "Take it out.")
    elif OLD_NAMES.get(match.name, match.name) != MANAGER:
        yield report.error(here, f"only {MANAGER} has filters inside.", f"Name it in {field}.name.")
    elif not inner.name:
        hint = "Write one, such as envoy.filters.http.router."
        yield report.error(f"{here}.name", "names no filter.", hint)
    else:
        yield from _name(inner.name, f"{here}.name", report)


def _name(name: str, field: str, report: Report) -> Iterator[Problem]:
    if name in OLD_NAMES:
        message = f'"{name}" is an old name, which still works.'
        yield report.warning(field, message, f'Write "{OLD_NAMES[name]}".', codes.DEPRECATED)
    elif replacement := stock_replacement(name):
        message = f'"{name}" is a filter of Istio\'s own Envoy, which stock Envoy has not: nothing matches.'
        yield report.warning(field, message, replacement)
