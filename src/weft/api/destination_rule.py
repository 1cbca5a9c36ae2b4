"""DestinationRule (networking.istio.io): subsets of a host, and how clients talk to it."""

from typing import Annotated

from msgspec import Meta, field

from weft.api.shape import ExportTo, Host, Resource, Shape, WorkloadSelector
from weft.api.traffic_policy import TrafficPolicy


class Subset(Shape, frozen=True):
    """A named part of a host's endpoints."""

    name: Annotated[str, Meta(description="The name that routes refer to.")]
    labels: Annotated[dict[str, str], Meta(description="Labels that the endpoints' pods must have.")] = field(
        default_factory=dict
    )
    traffic_policy: Annotated[
        TrafficPolicy | None, Meta(description="Overrides the host's policy field by field.")
    ] = None


class DestinationRuleSpec(Shape, frozen=True):
    """Policy and subsets of one host."""

    host: Host
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: ExportTo = ()
    workload_selector: Annotated[
        WorkloadSelector | None, Meta(description="Clients in this namespace for which the rule is in force.")
    ] = None


class DestinationRule(Resource, frozen=True, kw_only=True):
    """How clients talk to a host."""

    spec: DestinationRuleSpec
