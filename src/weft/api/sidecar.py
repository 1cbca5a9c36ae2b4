"""Sidecar (networking.istio.io): what the proxies of some workloads get to see, and what they listen on."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.gateway import ServerTls
from weft.api.shape import Resource, Shape
from weft.api.traffic_policy import ConnectionPool
from weft.api.virtual_service import Destination

CaptureMode = Literal["DEFAULT", "IPTABLES", "NONE"]


class LabelSelector(Shape, frozen=True):
    """Workloads by labels of their pods."""

    labels: Annotated[dict[str, str], Meta(description="Labels that a pod must have.")] = field(
        default_factory=dict
    )


class ListenerPort(Shape, frozen=True):
    """A port that the proxy listens on."""

    number: Annotated[
        Annotated[int, Meta(ge=0, le=65535)], Meta(description="1 to 65535; 0 goes with a Unix socket.")
    ] = 0
    protocol: Annotated[
        str,
        Meta(description="HTTP, HTTP2, GRPC, HTTPS, TLS, TCP, MONGO, MYSQL or REDIS; outbound HTTP_PROXY too."),
    ] = ""
    name: str = ""
    target_port: Annotated[int | None, Meta(description="Without effect: a Sidecar's port has no other.")] = None


class IngressListener(Shape, frozen=True):
    """A port of the workload, and where in the pod its traffic goes."""

    port: ListenerPort
    bind: Annotated[str, Meta(description="The address to listen on, where captureMode is NONE.")] = ""
    capture_mode: CaptureMode = "DEFAULT"
    default_endpoint: Annotated[
        str, Meta(description="127.0.0.1:PORT, 0.0.0.0:PORT (the pod's address) or unix:///PATH.")
    ] = ""
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None


class EgressListener(Shape, frozen=True):
    """Hosts that the workload calls. One without a port stands for all ports and comes last."""

    hosts: Annotated[
        tuple[str, ...], Meta(description="NAMESPACE/HOST; `.` is its own namespace, `*` all, `~` leaves out.")
    ] = ()
    port: ListenerPort | None = None
    bind: Annotated[str, Meta(description="The address to listen on, or unix:///PATH.")] = ""
    capture_mode: CaptureMode = "DEFAULT"


class OutboundTrafficPolicy(Shape, frozen=True):
    """What becomes of traffic to hosts that are not listed."""

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"
    egress_proxy: Annotated[Destination | None, Meta(description="Where it goes instead of its own way.")] = None


class SidecarSpec(Shape, frozen=True):
    """What proxies see and listen on."""

    workload_selector: Annotated[
        LabelSelector | None, Meta(description="Without it: all workloads of the namespace.")
    ] = None
    ingress: tuple[IngressListener, ...] = ()
    egress: tuple[EgressListener, ...] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class Sidecar(Resource, frozen=True):
    """The scope of some workloads' proxies."""

    spec: SidecarSpec = SidecarSpec()
