"""From WorkloadEntries, wherever they are written, to the registry's endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from weft.api.workload_entry import HEALTH_CHECKED, HEALTHY, UNIX, WorkloadEntry, WorkloadEntrySpec
from weft.api.workload_entry_checks import is_address
from weft.base.names import spiffe_id
from weft.model.clients import sorted_labels
from weft.model.kubernetes import TLS_MODE
from weft.model.locality import LEVELS, NETWORK
from weft.model.locality import locality as pod_locality
from weft.model.services import Endpoint, Labels

_WORKLOAD_NAME: Final = "service.istio.io/workload-name"


@dataclass(frozen=True, slots=True)
class EntryWorkload:
    """A workload that is no pod. `ports` are its own, by the names of service ports."""

    name: str
    namespace: str
    address: str
    labels: Labels
    ports: tuple[tuple[str, int], ...]
    mutual_tls: bool
    identity: str
    locality: str
    network: str
    weight: int
    healthy: bool
    node: str = ""

    def port(self, *names: str) -> int:
        """The number of the first of these ports that it has; 0 if none."""
        own = dict(self.ports)
        return next((own[name] for name in names if name in own), 0)

    @property
    def is_told(self) -> bool:
        """Whether its address can be told to proxies as it is, without the DNS."""
        return self.address.startswith(UNIX) or is_address(self.address)

    def endpoint(self, port: int, *, inside: bool = True) -> Endpoint:
        """Its endpoint at a port of its own; with `inside` False, one of a service outside the mesh."""
        return Endpoint(
            address=self.address,
            port=0 if self.address.startswith(UNIX) else port,
            labels=self.labels,
            mutual_tls=self.mutual_tls and inside,
            healthy=self.healthy,
            identity=self.identity,
            workload=self.name,
            namespace=self.namespace,
            node=self.node,
            locality=self.locality,
            weight=self.weight,
            network=self.network,
        )


def entry_workload(source: WorkloadEntry, trust_domain: str) -> EntryWorkload:
    """Describe the workload of a WorkloadEntry."""
    meta = source.metadata
    return described(
        source.spec,
        name=meta.name,
        namespace=meta.namespace,
        trust_domain=trust_domain,
        labels={**(meta.labels or {}), **source.spec.labels},
        healthy=_is_healthy(source),
    )


def described(
    spec: WorkloadEntrySpec,
    *,
    namespace: str,
    trust_domain: str,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    healthy: bool = True,
) -> EntryWorkload:
    """Describe a workload by its spec. `labels` are those in force, the spec's own by default."""
    own = dict(spec.labels if labels is None else labels)
    locality = spec.locality or pod_locality(own, "")
    network = spec.network or own.get(NETWORK, "")
    # clients prefer endpoints and choose subsets by where they are, as if it were labels (Istio adds the same)
    places = dict(zip(LEVELS, locality.split("/"), strict=False)) if locality else {}
    places |= {NETWORK: network} if network else {}
    return EntryWorkload(
        name=own.get(_WORKLOAD_NAME, name),
        namespace=namespace,
        address=spec.address,
        labels=sorted_labels(places | own),
        ports=tuple(sorted(spec.ports.items())),
        # an account is the sign of a sidecar, as the label is
        mutual_tls=own.get(TLS_MODE, "istio" if spec.service_account else "") == "istio",
        identity=spiffe_id(trust_domain, namespace, spec.service_account) if spec.service_account else "",
        locality=locality,
        network=network,
        weight=spec.weight or 1,
        healthy=healthy,
    )


def _is_healthy(source: WorkloadEntry) -> bool:
    """What its condition says; without one, whether nobody is to probe it."""
    told = next((each.status for each in source.status.conditions or () if each.type == HEALTHY), "")
    probed = (source.metadata.annotations or {}).get(HEALTH_CHECKED, "") == "true"
    return told != "False" if told else not probed
