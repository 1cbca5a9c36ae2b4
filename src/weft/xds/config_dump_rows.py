"""The rows of `proxy-config`'s tables, in istioctl's words."""

from collections.abc import Iterable
from dataclasses import dataclass

from weft.xds.config_dump import (
    ClusterFilter,
    EndpointFilter,
    Json,
    ListenerFilter,
    address_of,
    clusters,
    filter_chains,
    health_of,
    host_address,
    hosts,
    listeners,
    parse_cluster_name,
    port_of,
    routes,
)

_BLACK_HOLE = "BlackHoleCluster"
_KNOWN_PROTOCOLS = {
    # HTTP/1.0 is meant too; users know the text of the walkthrough
    ("http/1.0", "http/1.1", "h2c"): "http/1.1,h2c",
    ("istio-peer-exchange", "istio"): "TCP TLS",
    ("istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "Istio HTTP Plain",
    ("http/1.0", "http/1.1", "h2c", "istio-http/1.0", "istio-http/1.1", "istio-h2"): "HTTP TLS",
}
_DOMAINS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class ListenerRow:
    """One filter chain: the connections it takes, and where they go."""

    addresses: str
    port: int
    match: str
    destination: str


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route of a virtual host. `virtual_service` is `name.namespace`, empty without a rule."""

    name: str
    virtual_host: str
    domains: str
    match: str
    virtual_service: str


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One cluster; `port`, `subset` and `direction` are `-` where its name has none."""

    fqdn: str
    port: str
    subset: str
    direction: str
    type: str
    destination_rule: str


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint of a cluster."""

    endpoint: str
    status: str
    outlier_check: str
    cluster: str


def listener_rows(dump: Json, chosen: ListenerFilter | None = None) -> list[ListenerRow]:
    """A row for each filter chain."""
    rows: list[ListenerRow] = []
    for listener in listeners(dump, chosen or ListenerFilter()):
        described = [(_chain_match(chain), _destination(chain)) for chain in filter_chains(listener)]
        described.sort(key=lambda row: row[1], reverse=True)
        rows += [ListenerRow(address_of(listener), port_of(listener), *row) for row in described]
    return rows


def route_rows(dump: Json, name: str = "") -> list[RouteRow]:
    """A row for each route, but those that merely let unknown hosts pass."""
    rows = []
    for config in routes(dump, name):
        for host in config.get("virtual_hosts", ()):
            fixed = (config.get("name", ""), host["name"], _domains(host.get("domains", [])))
            rows += [
                RouteRow(*fixed, _route_match(route), _rule(route))
                for route in host.get("routes", ())
                if route.get("route", {}).get("cluster") != "PassthroughCluster"
            ]
            if not host.get("routes"):
                rows.append(RouteRow(*fixed, "/*", "404"))
    return rows


def cluster_rows(dump: Json, chosen: ClusterFilter | None = None) -> list[ClusterRow]:
    """A row for each cluster."""
    rows = []
    for cluster in clusters(dump, chosen or ClusterFilter()):
        kind = cluster.get("type") or cluster.get("cluster_type", {}).get("name") or "STATIC"
        parsed = parse_cluster_name(cluster["name"])
        if parsed is None:
            row = ClusterRow(cluster["name"], "-", "-", "-", kind, _rule(cluster))
        else:
            direction, port, subset, host = parsed
            row = ClusterRow(host, str(port), subset or "-", direction, kind, _rule(cluster))
        rows.append(row)
    return rows


def endpoint_rows(clusters_json: Json, chosen: EndpointFilter | None = None) -> list[EndpointRow]:
    """A row for each endpoint, by address, port and cluster."""
    found = sorted(
        hosts(clusters_json, chosen or EndpointFilter()), key=lambda found: (*host_address(found[1]), found[0])
    )
    rows = []
    for cluster, host in found:
        address, port = host_address(host)
        failed = host.get("health_status", {}).get("failed_outlier_check", False)
        where = f"{address}:{port}" if port else address
        rows.append(EndpointRow(where, health_of(host), "FAILED" if failed else "OK", cluster))
    return rows


def _chain_match(chain: Json) -> str:
    match = chain.get("filter_chain_match", {})
    words = []
    if names := match.get("server_names"):
        words.append(f"SNI: {','.join(names)}")
    if transport := match.get("transport_protocol"):
        words.append(f"Trans: {transport}")
    if protocols := match.get("application_protocols"):
        words.append(f"App: {_KNOWN_PROTOCOLS.get(tuple(protocols), ','.join(protocols))}")
    port = f":{match['destination_port']}" if "destination_port" in match else ""
    ranges = [_block(each) for each in match.get("prefix_ranges", ())]
    if ranges or port:
        words.append(f"Addr: {','.join(ranges) or '*'}{port}")
    if sources := match.get("source_prefix_ranges"):
        words.append(f"Source: {','.join(map(_block, sources))}")
    return "; ".join(words) or "ALL"


def _block(block: Json) -> str:
    return f"{block['address_prefix']}/{block.get('prefix_len', 0)}"


def _destination(chain: Json) -> str:
    for each in chain.get("filters", ()):
        config = each.get("typed_config", {})
        match each["name"]:
            case "envoy.filters.network.http_connection_manager":
                if "route_config" in config:
                    return _inline_routes(config["route_config"])
                table = config.get("rds", {}).get("route_config_name", "")
                return f"Route: {table}" if table else "HTTP"
            case "envoy.filters.network.tcp_proxy" if config.get("cluster") != _BLACK_HOLE:
                shares = config.get("weighted_clusters", {}).get("clusters", ())
                return _shared(shares) if shares else _cluster(config.get("cluster", ""))
            case _:
                continue
    return "Non-HTTP/Non-TCP"


def _shared(clusters: Iterable[Json]) -> str:
    listed = (f"{each['name']} ({each['weight']})" for each in clusters)
    return f"Clusters: {', '.join(listed)}"


def _cluster(name: str) -> str:
    return name if "Cluster" in name else f"Cluster: {name}"


def _inline_routes(config: Json) -> str:
    virtual_hosts = config.get("virtual_hosts", [])
    match virtual_hosts:
        case [{"domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": str(cluster)}}]}]:
            return _cluster(cluster)
    shown = []
    for host in virtual_hosts:
        domains = "" if host.get("domains") == ["*"] else "/".join(host.get("domains", ()))
        paths = ", ".join(_route_match(route) for route in host.get("routes", ()))
        shown.append(f"{domains} {paths}".strip())
    return f"Inline Route: {'; '.join(shown)}"


def _route_match(route: Json) -> str:
    match route.get("match", {}):
        case {"prefix": str(prefix)}:
            return f"{prefix}*"
        case {"path": str(path)}:
            return path
        case {"path_separated_prefix": str(prefix)}:
            return f"PathPrefix:{prefix}"
        case {"safe_regex": {"regex": str(regex)}}:
            return f"regex {regex}"
        case _:
            return ""


def _domains(domains: list[str]) -> str:
    if len(domains) == 1:
        return domains[0]
    # `nginx.sidecar.svc` says nothing more where `nginx.sidecar` is listed too
    known = set(domains)
    suffixes = (".svc.cluster.local", ".svc")
    telling = [
        name
        for name in domains
        if ":" not in name and not any(name.endswith(end) and name.removesuffix(end) in known for end in suffixes)
    ]
    more = len(telling) - _DOMAINS_SHOWN
    return ", ".join(telling[:_DOMAINS_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _rule(described: Json) -> str:
    path = described.get("metadata", {}).get("filter_metadata", {}).get("istio", {}).get("config", "")
    match path.split("/"):
        case ["", "apis", "networking.istio.io", _, "namespaces", namespace, _, name]:
            return f"{name}.{namespace}"
        case [""]:
            return ""
        case _:
            return "<unknown>"
