"""Changes of EnvoyFilters to clusters."""

from collections.abc import Sequence
from typing import Any

from weft.model.patches import ClusterMatch, Operation, Part, Patch
from weft.xds import names
from weft.xds.patch_merge import merge, merge_any
from weft.xds.proto import cluster_pb2

PARTS = frozenset({Part.CLUSTER})


def patch_cluster(cluster: Any, patches: Sequence[Patch]) -> bool | None:
    """Change a Cluster in place; whether anything was changed, None where it is to go."""
    changed = False
    for patch in patches:
        if not _matches(patch.cluster, cluster):
            continue
        if patch.operation is Operation.REMOVE:
            return None
        if patch.operation.merges:
            value = cluster_pb2.Cluster.FromString(patch.value)
            replace_lists = patch.operation is Operation.MERGE_AND_REPLACE_LIST
            if value.HasField("transport_socket"):
                _merge_socket(cluster, value.transport_socket, replace_lists=replace_lists)
                value.ClearField("transport_socket")
            merge(cluster, value, replace_lists=replace_lists)
            changed = True
    return changed


def _merge_socket(cluster: Any, socket: Any, *, replace_lists: bool) -> None:
    """Merge a transport socket with that of its name, which may be one of several to choose from."""
    if cluster.transport_socket_matches:
        chosen = [each.transport_socket for each in cluster.transport_socket_matches]
        found = next((each for each in chosen if each.name == socket.name), None)
        if found is None:
            return  # both one and several are more than Envoy takes
    else:
        found = cluster.transport_socket
        if found.name != socket.name:
            found.CopyFrom(socket)
            return
    merge_any(found.typed_config, socket.typed_config, replace_lists=replace_lists)


def _matches(match: ClusterMatch, cluster: Any) -> bool:
    if match.name:
        return bool(match.name == cluster.name)
    subset, host = (*cluster.name.split("|"), "", "", "")[2:4]
    hosts = {host} if host else set(_services(cluster))
    return (
        match.service in {"", *hosts}
        and match.subset in {"", subset}
        and (not match.port or match.port == names.port_of(cluster.name))
    )


def _services(cluster: Any) -> list[str]:
    """The services that an inbound cluster serves."""
    istio = cluster.metadata.filter_metadata
    if "istio" not in istio or "services" not in istio["istio"].fields:
        return []
    listed = istio["istio"].fields["services"].list_value.values
    return [each.struct_value.fields["host"].string_value for each in listed]
