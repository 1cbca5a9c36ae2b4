"""WorkloadEntry (networking.istio.io): a workload that is no pod, such as a virtual machine."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from weft.api.shape import Metadata, Port, Resource, Shape, UInt

UNIX: Final = "unix://"
"""How an address begins that is a socket's path; `unix://@name` is an abstract socket."""
HEALTHY: Final = "Healthy"
"""The condition that tells whether a workload passes its group's probe."""
HEALTH_CHECKED: Final = "proxy.istio.io/health-checks-enabled"
"""Annotation of an entry whose workload is probed: until its first report it counts as unhealthy."""


class WorkloadEntrySpec(Shape, frozen=True):
    """Where a workload is, and what it is taken for."""

    address: Annotated[
        str, Meta(description="An IP address, a DNS name, or unix:// and the path of a socket.")
    ] = ""
    ports: Annotated[
        dict[str, Port], Meta(description="The workload's ports by the names of the service's ports.")
    ] = field(default_factory=dict)
    labels: Annotated[dict[str, str], Meta(description="Labels, as a pod has them.")] = field(default_factory=dict)
    network: Annotated[str, Meta(description="The network that the address belongs to.")] = ""
    locality: Annotated[str, Meta(description="region/zone/subzone, from the left as far as known.")] = ""
    weight: Annotated[UInt | None, Meta(description="Its share beside the other endpoints; 1 by default.")] = None
    service_account: Annotated[
        str, Meta(description="The account whose identity the workload has; then it is spoken to by mTLS.")
    ] = ""


class EntryMetadata(Metadata, frozen=True):
    """Metadata of an entry: its labels and annotations count as well. The control plane writes into its status."""

    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class Condition(Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition of a status; only what is asked for."""

    type: str = ""
    status: str = ""


class WorkloadEntryStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the control plane has found out about a workload."""

    conditions: tuple[Condition, ...] | None = None


class WorkloadEntry(Resource, frozen=True):
    """A workload outside the cluster, such as a virtual machine."""

    metadata: EntryMetadata = EntryMetadata()
    spec: WorkloadEntrySpec = WorkloadEntrySpec()
    status: WorkloadEntryStatus = WorkloadEntryStatus()
