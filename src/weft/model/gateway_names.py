"""How VirtualServices refer to gateways."""

from weft.api.virtual_service_checks import MESH

_OWN = "."


def gateway_path(written: str, namespace: str) -> str:
    """`namespace/name` of a gateway as a VirtualService in `namespace` refers to it; MESH stays.

    Istio's ways to write it: `name`, `ns/name`, `./name`, and of old `name.ns` and `name.ns.svc.cluster.local`.
    """
    if written == MESH:
        return MESH
    where, slash, name = written.rpartition("/")
    if slash:
        return f"{namespace if where == _OWN else where}/{name}"
    name, dot, rest = written.partition(".")
    return f"{rest.partition('.')[0] if dot else namespace}/{name}"
