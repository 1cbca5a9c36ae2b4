"""Where a pod's kubelet is, and what to ask of it."""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from weft.cluster.apiserver import errors
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.streams_kubelet import KubeletTarget

_PORT = 10250
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class Kubelets:
    """Finds kubelets by their nodes. `context` carries the API server's client certificate."""

    cluster: Cluster
    context: ssl.SSLContext | None

    def target(self, pod: Obj, verb: str, container: str, query: Iterable[tuple[str, str]]) -> KubeletTarget:
        """The address of `/exec/NS/POD/CONTAINER?…`, `/attach/…`, `/containerLogs/…` or `/portForward/NS/POD`."""
        meta = pod["metadata"]
        node = pod["spec"].get("nodeName")
        if not node:
            raise errors.bad_request(f"pod {meta['name']} does not have a host assigned")
        parts = [verb, meta["namespace"], meta["name"]]
        if verb != "portForward":
            parts.append(_container(pod, container))
        path = "/".join(quote(part, safe="") for part in parts)
        asked = [(key, value) for key, value in query if key != "container"]
        text = f"?{urlencode(asked)}" if asked else ""
        return KubeletTarget(f"https://{self._address(str(node))}/{path}{text}", self.context)

    def of_node(self, node: str, path: str) -> KubeletTarget:
        """A path of a node's kubelet."""
        return KubeletTarget(f"https://{self._address(node)}/{path}", self.context)

    def _address(self, name: str) -> str:
        status = (self.cluster.core("nodes", "", name) or {}).get("status") or {}
        addresses = status.get("addresses") or ()
        found = next((item["address"] for item in addresses if item.get("type") == "InternalIP"), None)
        if not found:
            raise errors.internal(f'no address of node "{name}" is known: is its kubelet running?')
        endpoint = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}
        return f"{found}:{endpoint.get('Port') or _PORT}"


def _container(pod: Obj, wanted: str) -> str:
    spec = pod["spec"]
    names = [item["name"] for item in spec.get("containers") or ()]
    initial = [item["name"] for item in spec.get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if not wanted:
        usual = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
        if usual in names:
            return str(usual)
        if len(names) == 1:
            return str(names[0])
        more = f" or one of the init containers: [{' '.join(initial)}]" if initial else ""
        raise errors.bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]{more}"
        )
    ephemeral = [item["name"] for item in spec.get("ephemeralContainers") or ()]
    if wanted not in {*names, *initial, *ephemeral}:
        raise errors.bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted
