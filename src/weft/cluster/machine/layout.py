"""What a cluster is called and where it lies: names, addresses and paths, all of them from its home folder."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

LAN = IPv4Network("192.168.49.0/24")
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/12")
API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"
RUN = Path("/run/weft")
NETNS = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Node:
    """One node: a network namespace with a containerd and a node process in it. Numbers start at 1."""

    number: int
    name: str
    ip: IPv4Address
    pods: IPv4Network
    namespace: str
    home: Path
    """What lasts: certificates, containerd's images, pods' volumes."""
    run: Path
    """What does not outlive the machine's uptime: containerd's state and sockets."""

    @property
    def certificates(self) -> tuple[Path, Path]:
        """The kubelet's certificate and key: its identity as a client, and its server's."""
        return self.home / "kubelet.crt", self.home / "kubelet.key"

    @property
    def network(self) -> Path:
        """The certificate and key of what enforces network policies, without their endings."""
        return self.home / "network"

    @property
    def network_kubeconfig(self) -> Path:
        """The kubeconfig of what enforces network policies."""
        return self.home / "network.kubeconfig"


@dataclass(frozen=True)
class Layout:
    """A cluster's plan. Two layouts with one home are one cluster; the home must be absolute."""

    home: Path
    node_count: int = 1
    pods: IPv4Network = PODS
    services: IPv4Network = SERVICES
    lan: IPv4Network = LAN
    api_port: int = API_PORT
    upstreams: tuple[str, ...] = ()
    """The resolvers that the cluster's DNS asks about names outside of the cluster, from the machine's network."""
    run_root: Path = field(default=RUN)
    underlay: bool = False
    """Whether nodes have addresses on the underlay, with a gateway and a host beyond it, and pods may, too."""

    @cached_property
    def id(self) -> str:
        """Six hexadecimal digits that name everything this cluster puts on the machine."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:6]

    @property
    def tag(self) -> str:
        """`weft-ID`: the machine's link, the pods' cgroup, and the prefix of the namespaces."""
        return f"weft-{self.id}"

    @property
    def lan_namespace(self) -> str:
        """The network namespace with the bridge that joins the nodes and the machine."""
        return f"{self.tag}-lan"

    @property
    def outside_namespace(self) -> str:
        """The network namespace of the host beyond the underlay's gateway."""
        return f"{self.tag}-out"

    @property
    def machine_ip(self) -> IPv4Address:
        """The machine's own address on the LAN, and the API server's."""
        return self.lan[1]

    @property
    def api_service_ip(self) -> IPv4Address:
        """The ClusterIP of the service `kubernetes`: the first of the range."""
        return self.services[1]

    @property
    def dns_ip(self) -> IPv4Address:
        """The ClusterIP of the service `kube-dns`: the tenth of the range, as everywhere."""
        return self.services[10]

    @property
    def server(self) -> str:
        """The API server's URL as the machine reaches it."""
        return f"https://127.0.0.1:{self.api_port}"

    @property
    def lan_server(self) -> str:
        """The API server's URL as nodes and pods reach it."""
        return f"https://{self.machine_ip}:{self.api_port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.home / "kubeconfig"

    @property
    def pki(self) -> Path:
        """The folder of the cluster's certificates and keys."""
        return self.home / "pki"

    @property
    def run(self) -> Path:
        """The folder of everything short-lived."""
        return self.run_root / self.id

    @property
    def node_folders(self) -> tuple[str, str]:
        """Where a node's /etc/cni/net.d and /var/run/istio-cni lie; $(NODE_NAME) stands for the node's name."""
        return f"{self.home}/nodes/$(NODE_NAME)/cni/net.d", f"{self.run}/$(NODE_NAME)/istio-cni"

    @property
    def underlay_folders(self) -> tuple[str, str, str, str]:
        """Where a node's /etc/cni/net.d, /opt/cni/bin, /var/run/spidernet and /var/lib/cni/multus lie."""
        cni = f"{self.home}/nodes/$(NODE_NAME)/cni"
        return f"{cni}/net.d", f"{cni}/bin", f"{self.run}/$(NODE_NAME)/spidernet", f"{cni}/lib/multus"

    def log(self, name: str) -> Path:
        """A process's log file: `apiserver`, `node-NODE`, `containerd-NODE`."""
        return self.home / "log" / f"{name}.log"

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes in order; IndexError where a range is too small for them (preflight says so first)."""
        return tuple(self._node(number) for number in range(1, self.node_count + 1))

    def _node(self, number: int) -> Node:
        name = "weft" if number == 1 else f"weft-{number}"
        return Node(
            number=number,
            name=name,
            ip=self.lan[number + 1],
            pods=_nth(self.pods, number - 1),
            namespace=f"{self.tag}-{number}",
            home=self.home / "nodes" / name,
            run=self.run / name,
        )


def _nth(pods: IPv4Network, index: int) -> IPv4Network:
    """The index-th /24 of the pods' range (the range itself where it is no larger)."""
    if pods.prefixlen >= 24:
        if index:
            raise IndexError(index)
        return pods
    return IPv4Network((int(pods.network_address) + (index << 8), 24))
