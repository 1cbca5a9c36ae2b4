"""Where a path of the `proxy` subresource leads (`registry/core/*/strategy.go`, ResourceLocation)."""

from dataclasses import dataclass
from ipaddress import ip_address

from weft.cluster.apiserver import backends, errors
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind

KUBELET_PORT = "10250"


@dataclass(frozen=True, slots=True)
class Target:
    """A server to pass requests to. `kubelet`: it knows the API server by its certificate, and the reverse."""

    scheme: str
    address: str
    port: str
    kubelet: bool = False

    @property
    def origin(self) -> str:
        """`http://10.244.0.7:8080`."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.scheme}://{host}:{self.port}" if self.port else f"{self.scheme}://{host}"


@dataclass(frozen=True, slots=True)
class Reference:
    """`[SCHEME:]NAME[:PORT]`, as a path names the object and what of it is meant."""

    name: str
    port: str = ""
    scheme: str = "http"

    @classmethod
    def read(cls, kind: Kind, text: str) -> "Reference":
        """Read it; 400 where it is malformed."""
        match text.split(":"):
            case [name]:
                found = cls(name)
            case [name, port]:
                found = cls(name, port)
            case ["" | "http" | "https" as scheme, name, port]:
                found = cls(name, port, scheme or "http")
            case _:
                found = cls("")
        if not found.name:
            raise errors.bad_request(f'invalid {kind.singular} request "{text}": [SCHEME:]NAME[:PORT] is wanted')
        return found


def resolve(cluster: Cluster, kind: Kind, namespace: str, text: str) -> Target:
    """The server that the path names; raises 404, 400 or 503 as Kubernetes does."""
    reference = Reference.read(kind, text)
    obj = cluster.core(kind.plural, namespace, reference.name)
    if obj is None:
        raise errors.not_found(kind, reference.name)
    match kind.plural:
        case "pods":
            return _pod(obj, reference)
        case "services":
            return _service(cluster, obj, reference)
        case _:
            return _node(obj, reference)


def _pod(pod: Obj, reference: Reference) -> Target:
    address = (pod.get("status") or {}).get("podIP")
    if not address or ip_address(address).is_loopback:
        raise errors.bad_request("address not allowed")
    ports = [port for part in pod["spec"]["containers"] for port in (part.get("ports") or ())]
    usual = str(ports[0]["containerPort"]) if ports else ""
    return Target(reference.scheme, str(address), reference.port or usual)


def _service(cluster: Cluster, service: Obj, reference: Reference) -> Target:
    meta, port = service["metadata"], reference.port
    if port.isdigit():
        known = service["spec"].get("ports") or ()
        found = next((item for item in known if item["port"] == int(port)), None)
        if found is None:
            raise _unavailable(f'no service port {port} found for service "{meta["name"]}"')
        port = found.get("name", "")
    choices = backends.ready(cluster, meta["namespace"], meta["name"], port)
    if not choices:
        raise _unavailable(f'no endpoints available for service "{meta["name"]}"')
    address, number = cluster.world.chance.choice(choices)
    return Target(reference.scheme, address, str(number))


def _node(node: Obj, reference: Reference) -> Target:
    addresses = (node.get("status") or {}).get("addresses") or ()
    address = next((item["address"] for item in addresses if item.get("type") == "InternalIP"), None)
    if address is None:
        raise _unavailable(f'no address of node "{reference.name}" is known: is its kubelet running?')
    if reference.port in {"", KUBELET_PORT}:
        return Target("https", str(address), KUBELET_PORT, kubelet=True)
    return Target(reference.scheme, str(address), reference.port)


def _unavailable(message: str) -> errors.StatusError:
    return errors.StatusError(503, "ServiceUnavailable", message)


def unreachable(error: Exception) -> errors.StatusError:
    """503: the server that a proxy request leads to does not answer."""
    return _unavailable(f"error trying to reach service: {error or type(error).__name__}")
