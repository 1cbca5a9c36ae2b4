"""What Envoy's admin interface says it has, as `proxy-config` shows it: objects, chosen and put in order.

`dump` is the JSON of `/config_dump`, `clusters_json` that of `/clusters?format=json`; both name fields with
underscores. The functions whose names end in `_objects` give what `-o json` prints: names in camel case.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_FIELD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_FREE = {"filter_metadata"}
"""Fields whose content is the user's own, or the mesh's: its keys are no field names."""


@dataclass(frozen=True, slots=True)
class ListenerFilter:
    """Which listeners to show; empty values choose all. `type` is HTTP, TCP, HTTP+TCP or UNKNOWN."""

    address: str = ""
    port: int = 0
    type: str = ""

    def takes(self, listener: Json) -> bool:
        """Whether the listener is wanted."""
        return (
            self.address.lower() in {"", address_of(listener).lower()}
            and self.port in {0, port_of(listener)}
            and self.type.lower() in {"", type_of(listener).lower()}
        )


@dataclass(frozen=True, slots=True)
class ClusterFilter:
    """Which clusters to show; empty values choose all. They are looked for in the cluster's name."""

    fqdn: str = ""
    port: int = 0
    subset: str = ""
    direction: str = ""

    def takes(self, cluster: Json) -> bool:
        """Whether the cluster is wanted."""
        name = cluster["name"]
        port = f"|{self.port}|" if self.port else ""
        return all(part in name for part in (self.fqdn, self.subset, self.direction, port))


@dataclass(frozen=True, slots=True)
class EndpointFilter:
    """Which endpoints to show; empty values choose all."""

    address: str = ""
    port: int = 0
    cluster: str = ""
    status: str = ""

    def takes(self, cluster: str, host: Json) -> bool:
        """Whether the endpoint is wanted."""
        address, port = host_address(host)
        return (
            self.address.lower() in {"", address.lower()}
            and self.port in {0, port}
            and self.cluster.lower() in {"", cluster.lower()}
            and self.status.lower() in {"", health_of(host).lower()}
        )


def listeners(dump: Json, chosen: ListenerFilter) -> list[Json]:
    """The active listeners, by port, address and type."""
    section = _section(dump, "ListenersConfigDump")
    states = [*section.get("static_listeners", ())]
    states += [entry["active_state"] for entry in section.get("dynamic_listeners", ()) if "active_state" in entry]
    found = _unpacked(states, "listener")
    wanted = [listener for listener in found if chosen.takes(listener)]
    return sorted(wanted, key=lambda listener: (port_of(listener), address_of(listener), type_of(listener)))


def routes(dump: Json, name: str = "") -> list[Json]:
    """The route configurations: those that came by RDS, then those inside listeners; by name."""
    section = _section(dump, "RoutesConfigDump")
    found: list[Json] = []
    for kind in ("dynamic_route_configs", "static_route_configs"):
        configs = _unpacked(section.get(kind, ()), "route_config")
        found += sorted(configs, key=lambda config: str(config.get("name", "")))
    return [config for config in found if not name or config.get("name") == name]


def clusters(dump: Json, chosen: ClusterFilter) -> list[Json]:
    """The clusters: by host, subset, port and direction."""
    section = _section(dump, "ClustersConfigDump")
    entries = [*section.get("static_clusters", ()), *section.get("dynamic_active_clusters", ())]
    found = _unpacked(entries, "cluster")
    wanted = [cluster for cluster in found if chosen.takes(cluster)]
    return sorted(wanted, key=lambda cluster: _order(cluster["name"]))


def hosts(clusters_json: Json, chosen: EndpointFilter) -> Iterator[tuple[str, Json]]:
    """The endpoints with the names of their clusters."""
    for status in clusters_json.get("cluster_statuses", ()):
        for host in status.get("host_statuses", ()):
            if chosen.takes(status["name"], host):
                yield status["name"], host


def listener_objects(dump: Json, chosen: ListenerFilter) -> list[Json]:
    """What `proxy-config listener -o json` prints."""
    return [camel_case(listener) for listener in listeners(dump, chosen)]


def route_objects(dump: Json, name: str = "") -> list[Json]:
    """What `proxy-config route -o json` prints."""
    return [camel_case(config) for config in routes(dump, name)]


def cluster_objects(dump: Json, chosen: ClusterFilter) -> list[Json]:
    """What `proxy-config cluster -o json` prints."""
    return [camel_case(cluster) for cluster in clusters(dump, chosen)]


def endpoint_objects(clusters_json: Json, chosen: EndpointFilter) -> list[Json]:
    """What `proxy-config endpoint -o json` prints: clusters with those of their endpoints that are wanted."""
    found = []
    for status in clusters_json.get("cluster_statuses", ()):
        wanted = [host for host in status.get("host_statuses", ()) if chosen.takes(status["name"], host)]
        if wanted:
            found.append(camel_case({**status, "host_statuses": wanted}))
    return found


def camel_case(value: Any) -> Any:
    """`value` with field names as protobuf's JSON spells them, which is how istioctl prints."""
    match value:
        case dict():
            # Envoy lists fields by number, istioctl as they are declared; that differs for a route's name
            named = {"name": value["name"]} if "match" in value and "name" in value else {}
            items = (named | value).items()
            return {_camel(key): item if key in _FREE else camel_case(item) for key, item in items}
        case list():
            return [camel_case(item) for item in value]
        case _:
            return value


def parse_cluster_name(name: str) -> tuple[str, int, str, str] | None:
    """Direction, port, subset and host of `outbound|80|v1|host`; None for other names."""
    match name.split("|"):
        case [direction, port, subset, host] if port.isdigit():
            return direction, int(port), subset, host
        case _:
            return None


def port_of(listener: Json) -> int:
    """The port that a listener stands for; 0 where it has none."""
    return int(listener.get("address", {}).get("socket_address", {}).get("port_value", 0))


def address_of(listener: Json) -> str:
    """The address that a listener stands for."""
    address = listener.get("address", {})
    return str(address.get("socket_address", {}).get("address") or address.get("pipe", {}).get("path", ""))


def type_of(listener: Json) -> str:
    """HTTP, TCP, HTTP+TCP or UNKNOWN, by the filters of its chains."""
    names = {each["name"] for chain in filter_chains(listener) for each in chain.get("filters", ())}
    http = "envoy.filters.network.http_connection_manager" in names
    tcp = "envoy.filters.network.tcp_proxy" in names
    return {(True, True): "HTTP+TCP", (True, False): "HTTP", (False, True): "TCP"}.get((http, tcp), "UNKNOWN")


def filter_chains(listener: Json) -> list[Json]:
    """The listener's chains, the default one last."""
    default = listener.get("default_filter_chain")
    return [*listener.get("filter_chains", ()), *([default] if default else [])]


def host_address(host: Json) -> tuple[str, int]:
    """Address and port of an endpoint; `unix://PATH` and 0 for a socket in the file system."""
    address = host.get("address", {})
    if "pipe" in address:
        return f"unix://{address['pipe']['path']}", 0
    where = address.get("socket_address", {})
    return where.get("address", ""), int(where.get("port_value", 0))


def health_of(host: Json) -> str:
    """HEALTHY, UNHEALTHY and so on, as the control plane said."""
    return str(host.get("health_status", {}).get("eds_health_status", "UNKNOWN"))


def _section(dump: Json, kind: str) -> Json:
    sections: list[Json] = dump.get("configs", [])
    return next((section for section in sections if str(section.get("@type", "")).endswith(f".{kind}")), {})


def _unpacked(entries: Iterable[Json], field: str) -> list[Json]:
    """The objects in `field`, without the type that the admin interface adds because they come inside an Any."""
    return [{k: v for k, v in entry[field].items() if k != "@type"} for entry in entries if field in entry]


def _order(name: str) -> tuple[str, str, int, str]:
    parsed = parse_cluster_name(name)
    if parsed is None:
        return name, "", 0, ""
    direction, port, subset, host = parsed
    return host, subset, port, direction


def _camel(key: str) -> str:
    if not _FIELD.fullmatch(key):
        return key
    return re.sub(r"_(.)", lambda found: found.group(1).upper(), key)
