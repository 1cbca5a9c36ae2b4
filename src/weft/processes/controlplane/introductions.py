"""Whether a proxy is who it says: its node, held to what it proved and to what the cluster knows of its pod.

A projected token is bound to its pod, so a pod can introduce itself as nothing but itself. Whoever comes without
such a bond (a VM, a caller with a certificate) may take neither a pod's name that runs as another account, nor a
pod's address.
"""

import grpc

from weft.adapters.grpc_server import Peer, RefusedError
from weft.model.snapshot import Snapshot
from weft.processes.controlplane.connection import Client
from weft.processes.controlplane.identities import Caller
from weft.xds.wire import Node

_LONGEST_ID = 1024
"""Characters: a pod's and a namespace's name are at most 253 and 63, and both are in it twice at most."""


def introduced(node: Node | None, caller: Caller | None, peer: Peer) -> Client:
    """The proxy as it says, where that agrees with who it proved to be; RefusedError where it does not."""
    if node is None or not node.id:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the first request names no node")
    if len(node.id) > _LONGEST_ID or not node.id.isprintable():
        # it goes into logs and tables
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the node's id is no line of text of usual length")
    if caller is None:
        return Client(node, None, peer.address)
    client = Client(node, caller.identity, peer.address, bound=bool(caller.pod))
    identity, metadata = caller.identity, node.metadata
    pod, _, id_namespace = client.name.rpartition(".")
    namespace = metadata.get("NAMESPACE") or id_namespace
    account = metadata.get("SERVICE_ACCOUNT") or identity.service_account
    if {namespace, id_namespace} != {identity.namespace} or account != identity.service_account:
        said = f"{node.id} says it is {namespace}/{account}"
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, f"{said}, its token says {identity}")
    if caller.pod and caller.pod != pod:
        said = f"{node.id} says it is the pod {pod}"
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, f"{said}, its token is that of the pod {caller.pod}")
    return client


def claims_another(snapshot: Snapshot, client: Client) -> str:
    """What a proxy claims that is a pod's of another account, for its ears; "" where there is nothing of the kind.

    Only of callers that no pod's token has proved to be that pod.
    """
    if client.identity is None or client.bound:
        return ""
    identity = client.identity
    pod, _, namespace = client.name.rpartition(".")
    if known := snapshot.workloads.get((namespace, pod)):
        other = known.service_account != identity.service_account
        return f"the pod {namespace}/{pod} does not run as {identity.service_account}" if other else ""
    address = client.told_address
    if address and any(each.address == address for each in snapshot.workloads.values()):
        return f"{address} is the address of a pod, and {client.name} is none"
    return ""
