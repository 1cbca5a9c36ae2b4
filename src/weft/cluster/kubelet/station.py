"""What the pods of one node share: the runtime, the images, the cluster's API, and the node's own facts."""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from weft.adapters.cri.client import Runtime
from weft.cluster.kubelet.environment import NodeFacts
from weft.cluster.kubelet.images import Images
from weft.cluster.kubelet.objects import Objects, Reference
from weft.cluster.kubelet.podspec import ClusterDns
from weft.cluster.kubelet.recorder import Recorder
from weft.cluster.kubelet.volumes import Token

Json = dict[str, Any]
Pod = Mapping[str, Any]
_CNI = ("/etc/cni", "/opt/cni")
_SOCKETS = ("istio-cni", "spidernet")


class Issued(NamedTuple):
    """A service account token, and when it was made and ends, in epoch seconds."""

    token: str
    made: float
    ends: float


class ClusterError(Exception):
    """The cluster's API did not do what was asked for; to be tried again."""


class Cluster(Protocol):
    """What the kubelet asks of the cluster. Every coroutine may raise ClusterError."""

    async def patch_status(self, pod: Pod, patch: Json) -> None:
        """Merge into the pod's status; a pod that is gone is no error."""

    async def remove(self, pod: Pod) -> None:
        """Delete the pod's object for good, if it is still the same pod."""

    async def issue(self, pod: Pod, token: Token) -> Issued:
        """A token of the pod's service account, bound to the pod."""

    async def services(self, namespace: str) -> Sequence[Json]:
        """The services of a namespace."""

    async def runtime_handler(self, name: str) -> str:
        """The handler that a RuntimeClass names; ConfigError where there is no such class."""

    def follow(self, reference: Reference, changed: Callable[[], None]) -> None:
        """Call `changed` whenever the object appears, changes or goes."""

    def unfollow(self, reference: Reference, changed: Callable[[], None]) -> None:
        """Stop what `follow` began."""

    async def objects(self, references: frozenset[Reference]) -> Objects:
        """Followed objects as they are now, and with a bound claim its volume."""


@dataclass(frozen=True, slots=True)
class Station:
    """One node's kubelet, as its pods see it. `api` is the API's service address.

    `folder` is HOME/nodes/NODE, and `run` where what is short-lived lies.
    """

    runtime: Runtime
    images: Images
    cluster: Cluster
    recorder: Recorder
    node: NodeFacts
    folder: Path
    run: Path
    cgroup_parent: str
    clock: Callable[[], float]
    dns: ClusterDns = field(default_factory=ClusterDns)
    api: tuple[str, int] = ("10.96.0.1", 443)

    def pod_folder(self, uid: str) -> Path:
        """Where a pod's volumes and files lie."""
        return self.folder / "pods" / uid

    def on_node(self, path: str) -> str:
        """Where a path of the node lies on the machine: a node has plugins, pod networks, and sockets for them."""
        clean = "/" + posixpath.normpath(path).lstrip("/")
        own = dict.fromkeys(_CNI, self.folder / "cni")
        # which networks pods have, and their addresses: it lasts
        own["/var/lib/cni"] = self.folder / "cni" / "lib"
        own |= {f"{top}/{name}": self.run / name for name in _SOCKETS for top in ("/var/run", "/run")}
        for top, place in own.items():
            if f"{clean}/".startswith(f"{top}/"):
                return f"{place}{clean.removeprefix(top)}"
        return path

    @property
    def logs(self) -> Path:
        """Where the folders of pods' logs lie."""
        return self.folder / "logs"

    def pod_cgroup(self, uid: str) -> str:
        """The cgroup of a pod, below the root of each hierarchy."""
        return f"{self.cgroup_parent}/pod{uid}"
