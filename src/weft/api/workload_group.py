"""WorkloadGroup (networking.istio.io): what its workloads have in common, and how they are probed."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.shape import Port, Resource, Shape, UInt
from weft.api.workload_entry import WorkloadEntrySpec


class GroupMetadata(Shape, frozen=True):
    """Metadata of the entries that are made for a group."""

    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class HttpHeader(Shape, frozen=True):
    """A header of a probe's request."""

    name: str = ""
    value: str = ""


class HttpProbe(Shape, frozen=True):
    """A request that must be answered with 200 to 399."""

    port: Port
    path: str = "/"
    host: Annotated[str, Meta(description="The workload itself by default.")] = ""
    scheme: Annotated[Literal["HTTP", "HTTPS", ""], Meta(description="HTTP by default.")] = ""
    http_headers: tuple[HttpHeader, ...] = ()


class TcpProbe(Shape, frozen=True):
    """A connection that must be accepted."""

    port: Port
    host: Annotated[str, Meta(description="The workload itself by default.")] = ""


class ExecProbe(Shape, frozen=True):
    """A command that must end with 0."""

    command: tuple[str, ...]


class GrpcProbe(Shape, frozen=True):
    """gRPC's health service, which must answer SERVING."""

    port: Port
    service: Annotated[str, Meta(description="The service asked about; empty is the whole server.")] = ""


class Probe(Shape, frozen=True):
    """How the workload's agent finds out whether it is healthy."""

    initial_delay_seconds: UInt = 0
    timeout_seconds: UInt | None = None
    period_seconds: UInt | None = None
    success_threshold: UInt | None = None
    failure_threshold: UInt | None = None
    http_get: HttpProbe | None = None
    tcp_socket: TcpProbe | None = None
    exec: ExecProbe | None = None
    grpc: GrpcProbe | None = None


class WorkloadGroupSpec(Shape, frozen=True):
    """The entry of each workload, and its probe."""

    template: Annotated[WorkloadEntrySpec, Meta(description="Each entry's spec, without address.")]
    metadata: GroupMetadata | None = None
    probe: Probe | None = None


class WorkloadGroup(Resource, frozen=True, kw_only=True):
    """A template for workloads outside the cluster."""

    spec: WorkloadGroupSpec
