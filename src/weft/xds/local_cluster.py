"""The cluster of a proxy's own workload, by whose zones Envoy tells what evenly fits in its own (`local_cluster`).

Envoy knows it from its bootstrap, where ISTIO_META_ENABLE_SELF_DISCOVERY asks for it; its endpoints come by EDS.
"""

from weft.model.placing import groups
from weft.model.services import Endpoint
from weft.model.view import View
from weft.xds import endpoints
from weft.xds.endpoints import Assignment
from weft.xds.memo import Memo
from weft.xds.names import LOCAL_CLUSTER
from weft.xds.resource import ENDPOINT, Resource, ResourceMap, Resources


class LocalClusters:
    """Adds the endpoints of proxies' own workloads, and remembers them."""

    def __init__(self) -> None:
        self._assignments: Memo[tuple[Endpoint, ...], Resource] = Memo(_assignment)
        self._together: Memo[tuple[Resources, Resource], Resources] = Memo(_together, capacity=4096)

    def beside(self, resources: Resources, view: View) -> Resources:
        """The resources of a proxy, with its workload's endpoints where it asks for them."""
        if not view.peers:
            return resources
        place = (view.proxy.namespace, view.proxy.labels)
        return self._together(place, (resources, self._assignments(place, view.peers)))


def _assignment(peers: tuple[Endpoint, ...]) -> Resource:
    return endpoints.assignment(Assignment(LOCAL_CLUSTER, groups(peers, None, ())))


def _together(value: tuple[Resources, Resource]) -> Resources:
    resources, own = value
    return {**resources, ENDPOINT: ResourceMap({**resources[ENDPOINT], own.name: own})}
