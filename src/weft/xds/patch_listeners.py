"""Changes of EnvoyFilters to listeners: the listener, its filters, its chains, and the filters in those."""

from collections.abc import Sequence
from typing import Any, Final

from weft.api.envoy_filter_checks import MANAGER
from weft.model.patches import Context, FilterClass, ListenerMatch, Operation, Part, Patch
from weft.xds import encode, names
from weft.xds.patch_lists import edited, put
from weft.xds.patch_merge import merge, merge_any
from weft.xds.patch_routes import PARTS as ROUTE_PARTS
from weft.xds.patch_routes import patch_table
from weft.xds.proto import http_connection_manager_pb2, listener_components_pb2

PARTS: Final = ROUTE_PARTS | {
    Part.LISTENER,
    Part.LISTENER_FILTER,
    Part.FILTER_CHAIN,
    Part.NETWORK_FILTER,
    Part.HTTP_FILTER,
}
"""What may change a listener: route tables can be inside."""

_MANAGER: Any = http_connection_manager_pb2.HttpConnectionManager
_HTTP_FILTER: Any = http_connection_manager_pb2.HttpFilter
_PIECES: Any = listener_components_pb2
_MANAGER_TYPE: Final = f"type.googleapis.com/{_MANAGER.DESCRIPTOR.full_name}"
_VIRTUAL: Final = frozenset({names.VIRTUAL_INBOUND, names.VIRTUAL_OUTBOUND})
_LAST: Final = frozenset(
    {
        *(MANAGER, "envoy.filters.network.tcp_proxy", "envoy.filters.network.redis_proxy"),
        *("envoy.filters.network.thrift_proxy", "envoy.filters.network.dubbo_proxy"),
        *("envoy.filters.network.echo", "envoy.filters.network.direct_response", "envoy.filters.http.router"),
        "envoy.filters.network.generic_proxy",
    }
)
"""Filters that end a list: Envoy refuses one with something behind them."""

_AUTHENTICATION: Final = frozenset({"envoy.filters.http.jwt_authn"})
_AUTHORIZATION: Final = frozenset({"envoy.filters.http.rbac", "envoy.filters.http.ext_authz"})


def patch_listener(listener: Any, patches: Sequence[Patch], context: Context) -> bool | None:
    """Change a Listener in place; whether anything was changed, None where it is to go."""
    changed = False
    chosen = [each for each in patches if each.part in ROUTE_PARTS or _matches(each, listener)]
    for patch in _of(chosen, Part.LISTENER):
        if patch.operation is Operation.REMOVE:
            return None
        if patch.operation.merges:
            _merge(listener, patch)
            changed = True
    for patch in _of(chosen, Part.LISTENER_FILTER):
        changed |= _list_filter(listener.listener_filters, patch)
    return _chains(listener, chosen, context) or changed


def _chains(listener: Any, patches: Sequence[Patch], context: Context) -> bool:
    changed = False
    kept = []
    for chain in listener.filter_chains:
        found = _chain(listener, chain, patches, context) if chain.filters else False
        changed |= found is not False
        kept.extend([] if found is None else [chain])
    added = [
        _PIECES.FilterChain.FromString(each.value)
        for each in _of(patches, Part.FILTER_CHAIN)
        if each.operation is Operation.ADD
    ]
    if added or len(kept) < len(listener.filter_chains):
        put(listener.filter_chains, [*kept, *added])
        changed = True
    if listener.HasField("default_filter_chain"):
        found = _chain(listener, listener.default_filter_chain, patches, context)
        changed |= found is not False
        if found is None:
            listener.ClearField("default_filter_chain")
    return changed


def _chain(listener: Any, chain: Any, patches: Sequence[Patch], context: Context) -> bool | None:
    changed = False
    fits = [each for each in patches if each.part in ROUTE_PARTS or _chain_matches(each.listener, listener, chain)]
    for patch in _of(fits, Part.FILTER_CHAIN):
        if patch.operation is Operation.REMOVE:
            return None
        if patch.operation.merges:
            _merge_chain(chain, patch)
            changed = True
    for patch in _of(fits, Part.NETWORK_FILTER):
        changed |= _list_network_filter(chain, patch)
    for each in chain.filters:
        changed |= _network_filter(each, fits, context)
    return changed


def _merge_chain(chain: Any, patch: Patch) -> None:
    value = _PIECES.FilterChain.FromString(patch.value)
    if value.HasField("transport_socket") and value.transport_socket.name != chain.transport_socket.name:
        chain.ClearField("transport_socket")  # one of another kind replaces it
    merge(chain, value, replace_lists=patch.operation is Operation.MERGE_AND_REPLACE_LIST)


def _list_filter(filters: Any, patch: Patch) -> bool:
    """One operation on listener filters."""
    wanted = patch.listener.listener_filter
    value = _PIECES.ListenerFilter.FromString(patch.value)
    if patch.operation.merges:
        merged = [_merge_typed(each, value, patch) for each in filters if wanted in {"", each.name}]
        return any(merged)
    return _edit(filters, patch, value, wanted, len(filters))


def _list_network_filter(chain: Any, patch: Patch) -> bool:
    value = _PIECES.Filter.FromString(patch.value)
    end = len(chain.filters)
    if chain.filters and chain.filters[-1].name in _LAST and value.name not in _LAST:
        end -= 1
    return _edit(chain.filters, patch, value, patch.listener.chain.filter, end)


def _network_filter(each: Any, patches: Sequence[Patch], context: Context) -> bool:
    changed = False
    for patch in _of(patches, Part.NETWORK_FILTER):
        if patch.operation.merges and patch.listener.chain.filter in {"", each.name}:
            changed |= _merge_typed(each, _PIECES.Filter.FromString(patch.value), patch)
    if each.typed_config.type_url != _MANAGER_TYPE:
        return changed
    inside = [
        patch
        for patch in patches
        if patch.part in ROUTE_PARTS
        or (patch.part is Part.HTTP_FILTER and patch.listener.chain.filter in {"", each.name})
    ]
    if not inside:
        return changed
    manager = _MANAGER.FromString(each.typed_config.value)
    if not _manager(manager, inside, context):
        return changed
    each.typed_config.CopyFrom(encode.packed(manager))
    return True


def _manager(manager: Any, patches: Sequence[Patch], context: Context) -> bool:
    changed = False
    http = _of(patches, Part.HTTP_FILTER)
    for patch in http:
        value = _HTTP_FILTER.FromString(patch.value)
        end = _place(manager.http_filters, value.name, patch.filter_class)
        changed |= _edit(manager.http_filters, patch, value, patch.listener.chain.sub_filter, end)
    for patch in http:
        if patch.operation.merges and patch.listener.chain.sub_filter:
            value = _HTTP_FILTER.FromString(patch.value)
            for each in manager.http_filters:
                if each.name == patch.listener.chain.sub_filter:
                    changed |= _merge_typed(each, value, patch)
    if manager.HasField("route_config"):
        changed |= patch_table(
            manager.route_config, [each for each in patches if each.part in ROUTE_PARTS], context
        )
    return changed


def _place(filters: Sequence[Any], name: str, filter_class: FilterClass) -> int:
    """Where ADD puts an HTTP filter: before the router, behind which Envoy takes nothing, or behind its class."""
    end = len(filters)
    if filters and filters[-1].name in _LAST and name not in _LAST:
        end -= 1
    if filter_class not in {FilterClass.AUTHN, FilterClass.AUTHZ}:
        return end
    before = _AUTHENTICATION if filter_class is FilterClass.AUTHN else _AUTHENTICATION | _AUTHORIZATION
    return max((at + 1 for at, each in enumerate(filters) if each.name in before), default=0)


def _edit(field: Any, patch: Patch, value: Any, wanted: str, end: int) -> bool:
    """One operation on a list of filters, which are told apart by name."""

    def takes(each: Any) -> bool:
        return bool(each.name == wanted)

    items = edited(field, patch.operation, value, takes if wanted else None, end)
    if items is None:
        return False
    put(field, items)
    return True


def _merge_typed(each: Any, value: Any, patch: Patch) -> bool:
    """Merge a filter. One of another type does not fit, and changes nothing."""
    if value.HasField("typed_config"):
        if not each.HasField("typed_config") or each.typed_config.type_url != value.typed_config.type_url:
            return False
        replace_lists = patch.operation is Operation.MERGE_AND_REPLACE_LIST
        merge_any(each.typed_config, value.typed_config, replace_lists=replace_lists)
        value.ClearField("typed_config")
    merge(each, value)
    return True


def _merge(message: Any, patch: Patch) -> None:
    replace_lists = patch.operation is Operation.MERGE_AND_REPLACE_LIST
    merge(message, type(message).FromString(patch.value), replace_lists=replace_lists)


def _of(patches: Sequence[Patch], part: Part) -> list[Patch]:
    return [each for each in patches if each.part is part]


def _matches(patch: Patch, listener: Any) -> bool:
    match = patch.listener
    if match.name and match.name != listener.name:
        return False
    if patch.part is not Part.LISTENER and listener.name in _VIRTUAL:
        return True  # their chains have the ports
    return not match.port or match.port == listener.address.socket_address.port_value


def _chain_matches(match: ListenerMatch, listener: Any, chain: Any) -> bool:
    wanted, has = match.chain, chain.filter_chain_match
    if match.port and listener.name in _VIRTUAL and has.destination_port.value != match.port:
        return False
    return (
        wanted.name in {"", chain.name}
        and (not wanted.sni or wanted.sni in has.server_names)
        and wanted.transport_protocol in {"", has.transport_protocol}
        and set(wanted.application_protocols) <= set(has.application_protocols)
        and wanted.destination_port in {0, has.destination_port.value}
        and wanted.transport_socket in {"", chain.transport_socket.name}
    )
