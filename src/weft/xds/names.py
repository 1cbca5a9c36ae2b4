"""The names that tie Envoy resources to each other, spelled as Istio spells them."""

BLACK_HOLE = "BlackHoleCluster"
PASSTHROUGH = "PassthroughCluster"
DYNAMIC_DNS = "AllowAnyDynamicDNSCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughClusterIpv4"

VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"

LOCAL_CLUSTER = "local_cluster"
SDS_CLUSTER = "sds-grpc"
WORKLOAD_CERTIFICATE = "default"
TRUST_ROOTS = "ROOTCA"

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
PROXY_PORTS = frozenset({15000, 15001, 15002, 15004, 15006, 15008, 15020, 15021, 15053, 15090})
"""Ports of the sidecar itself: a listener on 0.0.0.0 at one of them would collide with it."""


def outbound_cluster(hostname: str, port: int, subset: str = "") -> str:
    """`outbound|80|v1|nginx.sidecar.svc.cluster.local`; `port` is the service's port."""
    return f"outbound|{port}|{subset}|{hostname}"


def inbound_cluster(port: int) -> str:
    """`inbound|80||`; `port` is the pod's port (as Istio names it since 1.12)."""
    return f"inbound|{port}||"


def sni(hostname: str, port: int, subset: str = "") -> str:
    """The server name that a sidecar asks for: `outbound_.80_.v1_.nginx.sidecar.svc.cluster.local`."""
    return f"outbound_.{port}_.{subset}_.{hostname}"


def secret(name: str) -> str:
    """A Secret in the namespace of the proxy's pod, as istiod gives it: `kubernetes://NAME`."""
    return name if "://" in name else f"kubernetes://{name}"


FILES = ("file-cert:", "file-root:")
"""What the names of secrets begin with that are files of the pod."""


def file_certificate(path: str, key: str) -> str:
    """A certificate in files of the pod, as the agent gives it: `file-cert:CHAIN~KEY`."""
    return f"file-cert:{path}~{key}"


def file_roots(path: str, revoked: str = "") -> str:
    """Roots in a file of the pod, as the agent gives them: `file-root:PATH`, `file-root:PATH~CRL`."""
    return f"file-root:{path}~{revoked}" if revoked else f"file-root:{path}"


def config_path(rule: str, kind: str) -> str:
    """Where a rule lives in the Kubernetes API. `rule` is `name.namespace`, `kind` such as `virtual-service`."""
    name, _, namespace = rule.rpartition(".")  # a namespace holds no dot, a name may
    return f"/apis/networking.istio.io/v1/namespaces/{namespace}/{kind}/{name}"


def port_of(name: str) -> int:
    """The port in the name of a cluster, or of an inbound route table; 0 where it has none."""
    parts = name.split("|")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
