"""Changes of EnvoyFilters to route tables: the table, its virtual hosts, their routes."""

import re
from collections.abc import Sequence
from typing import Any

from weft.model.patches import Context, Operation, Part, Patch, TableMatch
from weft.xds import names
from weft.xds.patch_lists import edited, put
from weft.xds.patch_merge import merge
from weft.xds.proto import route_components_pb2

PARTS = frozenset({Part.ROUTE_CONFIGURATION, Part.VIRTUAL_HOST, Part.HTTP_ROUTE})

_CHANGES = frozenset({Operation.MERGE, Operation.MERGE_AND_REPLACE_LIST, Operation.REMOVE})
_ACTIONS = {"route": "ROUTE", "redirect": "REDIRECT", "direct_response": "DIRECT_RESPONSE"}
_HTTPS = re.compile(r"https\.(?P<port>\d+)\.(?P<name>[^.]+)\.(?P<gateway>.+)\.(?P<namespace>[^.]+)")
_VIRTUAL_HOST: Any = route_components_pb2.VirtualHost
_ROUTE: Any = route_components_pb2.Route


def patch_table(table: Any, patches: Sequence[Patch], context: Context) -> bool:
    """Change a RouteConfiguration in place; whether anything was changed."""
    chosen = [each for each in patches if _table_matches(each.table, table, context)]
    changed = False
    for patch in chosen:
        if patch.part is Part.ROUTE_CONFIGURATION and patch.operation.merges:
            value = type(table).FromString(patch.value)
            merge(table, value, replace_lists=patch.operation is Operation.MERGE_AND_REPLACE_LIST)
            changed = True
    hosts = [each for each in chosen if each.part is Part.VIRTUAL_HOST]
    routes = [each for each in chosen if each.part is Part.HTTP_ROUTE]
    if hosts or routes:
        kept: list[Any] = []
        for host in table.virtual_hosts:
            found = _virtual_host(host, hosts, routes)
            changed = changed or found is not host
            kept.extend([] if found is None else [found])
        added = [_VIRTUAL_HOST.FromString(each.value) for each in hosts if each.operation is Operation.ADD]
        if changed or added:
            put(table.virtual_hosts, [*kept, *added])
            return True
    return changed


def _virtual_host(host: Any, hosts: Sequence[Patch], routes: Sequence[Patch]) -> Any | None:
    """The virtual host after all changes: the very same where there are none, None where it goes."""
    found = host
    for patch in hosts:
        if patch.operation is Operation.ADD or not _host_matches(patch.table, found):
            continue
        match patch.operation:
            case Operation.REMOVE:
                return None
            case Operation.REPLACE:
                found = _VIRTUAL_HOST.FromString(patch.value)
            case operation if operation.merges:
                value = _VIRTUAL_HOST.FromString(patch.value)
                found = _copied(found, host)
                merge(found, value, replace_lists=operation is Operation.MERGE_AND_REPLACE_LIST)
            case _:
                pass
    # as in Istio, what is there is changed first, and what is added stays as it is
    for patch in sorted(routes, key=lambda each: each.operation not in _CHANGES):
        if _host_matches(patch.table, found):
            found = _routes(found, host, patch)
    return found


def _routes(found: Any, original: Any, patch: Patch) -> Any:
    value, match = _ROUTE.FromString(patch.value), patch.table

    def takes(route: Any) -> bool:
        return _route_matches(match, route)

    if patch.operation.merges:
        if not any(takes(each) for each in found.routes):
            return found
        found = _copied(found, original)
        for route in found.routes:
            if takes(route):
                merge(route, value, replace_lists=patch.operation is Operation.MERGE_AND_REPLACE_LIST)
        return found
    if (
        patch.operation is Operation.INSERT_FIRST
        and match.by_route
        and not any(takes(each) for each in found.routes)
    ):
        return found
    # without a route named, REMOVE takes all of a virtual host's
    named = takes if match.by_route or patch.operation is Operation.REMOVE else None
    items = edited(found.routes, patch.operation, value, named, len(found.routes))
    if items is None or patch.operation is Operation.REPLACE:
        return found
    found = _copied(found, original)
    put(found.routes, items)
    return found


def _copied(found: Any, original: Any) -> Any:
    return type(found).FromString(found.SerializeToString()) if found is original else found


def _table_matches(match: TableMatch, table: Any, context: Context) -> bool:
    if match.name and match.name != table.name:
        return False
    port, port_name, gateway = _described(table.name)
    if context is not Context.GATEWAY:
        return match.port in {0, port}
    # a gateway's Service may lead from the port that clients dial, which its virtual hosts name, to another one
    dialled = {each.name.rpartition(":")[2] for each in table.virtual_hosts}
    if match.port and match.port != port and str(match.port) not in dialled:
        return False
    return match.port_name in {"", port_name} and match.gateway in {"", gateway}


def _described(name: str) -> tuple[int, str, str]:
    """The port of a table, and of a gateway's the server's port name and the Gateway, as far as its name tells."""
    if found := _HTTPS.fullmatch(name):
        return int(found["port"]), found["name"], f"{found['namespace']}/{found['gateway']}"
    if name.startswith("inbound|"):
        return names.port_of(name), "", ""
    last = re.split(r"[.:]", name)[-1]
    return (int(last) if last.isdigit() else 0), "", ""


def _host_matches(match: TableMatch, host: Any) -> bool:
    if match.virtual_host and match.virtual_host != host.name:
        return False
    return not match.domain or match.domain.lower() in {each.lower() for each in host.domains}


def _route_matches(match: TableMatch, route: Any) -> bool:
    if match.route and match.route != route.name:
        return False
    return match.action == "ANY" or match.action == _ACTIONS.get(route.WhichOneof("action"))
