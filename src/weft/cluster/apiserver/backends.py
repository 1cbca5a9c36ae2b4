"""The ready endpoints behind a Service's port, as its EndpointSlices tell."""

from weft.cluster.apiserver.cluster import Cluster


def ready(cluster: Cluster, namespace: str, service: str, port: str) -> list[tuple[str, int]]:
    """The addresses and numbers that serve the Service's port of this name."""
    found = []
    for row in cluster.store.rows("discovery.k8s.io/endpointslices", namespace):
        piece = row.decode()
        if (piece["metadata"].get("labels") or {}).get("kubernetes.io/service-name") != service:
            continue
        ports = [
            item["port"] for item in piece.get("ports") or () if item.get("name", "") == port and item.get("port")
        ]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready", True) and ports:
                found += [(address, ports[0]) for address in endpoint.get("addresses") or ()]
    return found
