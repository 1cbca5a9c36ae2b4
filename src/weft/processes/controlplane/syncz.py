"""What is told of the proxies: how far each is, and what each is to have."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import any_pb2, json_format

from weft.processes.controlplane.connection import Connection
from weft.xds.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, Resource, Resources

_NAMES = {
    CLUSTER: "cluster",
    LISTENER: "listener",
    ENDPOINT: "endpoint",
    ROUTE: "route",
    "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig": "extensionconfig",
}
_TYPES = {"sidecar": "SIDECAR", "router": "ROUTER", "waypoint": "WAYPOINT", "ztunnel": "ZTUNNEL"}


def syncz(connections: Iterable[Connection], *, istiod: str) -> list[dict[str, Any]]:
    """One entry for each proxy, sorted by name, under the keys of Istio's `/debug/syncz`.

    `X_sent` and `X_acked` are nonces; `errors` holds what the proxy rejected: type → name → its words.
    """
    entries = [_entry(one, istiod) for one in connections]
    return sorted(entries, key=lambda entry: str(entry["proxy"]))


def config_dump(resources: Resources) -> dict[str, Any]:
    """A proxy's resources as JSON. A body that cannot be read is given in base64."""
    return {
        "configs": [_dumped(one) for by_name in resources.values() for _, one in sorted(by_name.items())],
    }


def _entry(connection: Connection, istiod: str) -> dict[str, Any]:
    client, status = connection.client, connection.status()
    entry: dict[str, Any] = {
        "proxy": client.name,
        "proxy_type": _TYPES.get(client.node.id.partition("~")[0], "SIDECAR"),
        "cluster_id": str(client.node.metadata.get("CLUSTER_ID") or "Kubernetes"),
        "istio_version": str(client.node.metadata.get("ISTIO_VERSION") or ""),
        "istiod": istiod,
        "identity": str(client.identity or ""),
        "errors": {_NAMES.get(url, url): dict(one.held) for url, one in status.items() if one.held},
        "versions": {_NAMES.get(url, url): dict(one.versions) for url, one in status.items()},
    }
    for url, name in _NAMES.items():
        entry[f"{name}_sent"] = status[url].nonce_sent if url in status else ""
        entry[f"{name}_acked"] = status[url].nonce_acked if url in status else ""
    return entry


def _dumped(resource: Resource) -> Mapping[str, Any]:
    entry: dict[str, Any] = {"type_url": resource.type_url, "name": resource.name, "version": resource.version}
    packed = any_pb2.Any(type_url=resource.type_url, value=resource.body)
    try:
        entry["resource"] = json_format.MessageToDict(packed, preserving_proto_field_name=True)
    except (TypeError, ValueError):
        # a message, or one inside it, whose description is not loaded here
        entry["encoded"] = base64.b64encode(resource.body).decode()
    return entry
