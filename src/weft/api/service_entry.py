"""ServiceEntry (networking.istio.io): services that the cluster itself does not know."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from weft.api.shape import ExportTo, Port, Resource, Shape
from weft.api.workload_entry import EntryMetadata, WorkloadEntrySpec

AUTO_ALLOCATE: Final = "networking.istio.io/enable-autoallocate-ip"
"""Label: `false` keeps an entry from getting addresses, `true` gives it some where it would get none."""

Location = Literal["MESH_EXTERNAL", "MESH_INTERNAL"]
Resolution = Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]


class EntryPort(Shape, frozen=True):
    """One port of a service."""

    number: Annotated[Port, Meta(description="The port that clients dial.")]
    name: Annotated[str, Meta(description="A name of its own; endpoints give their ports by it.")]
    protocol: Annotated[
        str,
        Meta(description="HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, MYSQL, REDIS; else it is learned."),
    ] = ""
    target_port: Annotated[Port | None, Meta(description="The endpoints' port, if it is another one.")] = None


class LabelSelector(Shape, frozen=True):
    """Workloads by their labels."""

    labels: dict[str, str] = field(default_factory=dict)


class ServiceEntrySpec(Shape, frozen=True):
    """Hosts, what their ports speak, and who answers for them."""

    hosts: Annotated[
        tuple[str, ...], Meta(description="The names that clients ask for; *.x stands for all names below x.")
    ]
    addresses: Annotated[
        tuple[str, ...],
        Meta(description="Addresses and ranges that clients dial; else some are allocated."),
    ] = ()
    ports: tuple[EntryPort, ...] = ()
    location: Annotated[
        Location | None, Meta(description="MESH_INTERNAL workloads are part of the mesh: mTLS is spoken to them.")
    ] = None
    resolution: Annotated[Resolution | None, Meta(description="How endpoints are found; NONE by default.")] = None
    endpoints: tuple[WorkloadEntrySpec, ...] = ()
    workload_selector: Annotated[
        LabelSelector | None,
        Meta(description="Endpoints: pods and WorkloadEntries of this namespace."),
    ] = None
    export_to: ExportTo = ()
    subject_alt_names: Annotated[
        tuple[str, ...], Meta(description="Names, one of which the server's certificate must carry.")
    ] = ()


class AllocatedAddress(Struct, frozen=True, kw_only=True, rename="camel"):
    """An address that the control plane chose for a host."""

    value: str = ""
    host: str = ""


class ServiceEntryStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the control plane has added to an entry."""

    addresses: tuple[AllocatedAddress, ...] | None = None


class ServiceEntry(Resource, frozen=True, kw_only=True):
    """Services that the cluster itself does not know."""

    metadata: EntryMetadata = EntryMetadata()
    spec: ServiceEntrySpec
    status: ServiceEntryStatus = ServiceEntryStatus()
