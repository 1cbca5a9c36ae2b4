"""From ServiceEntries to the registry's services: one for each host, and what several say of one host."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from weft.api import service_entry as api
from weft.model.allocation import allocated
from weft.model.clients import exported_to, sorted_labels
from weft.model.kubernetes import PROTOCOLS, SERVER_FIRST, Listing
from weft.model.registered import LeftOut, Registered
from weft.model.rule import Rule
from weft.model.services import Endpoint, Labels, Protocol, Resolution, Service, ServicePort
from weft.model.workload_entries import EntryWorkload, described

_BY_NAME: Final = frozenset({Resolution.DNS, Resolution.DNS_ROUND_ROBIN})
_READABLE: Final = frozenset({Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.HTTPS, Protocol.TLS})


@dataclass(frozen=True, slots=True)
class EntryRule(Rule):
    """A ServiceEntry. `selector` None: the endpoints are its own; `()` selects every workload of the namespace."""

    listings: tuple[Listing, ...]
    selector: Labels | None
    workloads: tuple[EntryWorkload, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names that it has services for."""
        return tuple(each.service.hostname for each in self.listings)

    def selects(self, labels: Labels) -> bool:
        """Whether a workload of the namespace with these labels is one of its endpoints."""
        return self.selector is not None and set(self.selector) <= set(labels)

    def endpoints(self, listing: Listing, selected: Iterable[EntryWorkload]) -> tuple[tuple[Endpoint, ...], ...]:
        """The endpoints of each port of one of its listings."""
        service = listing.service
        workloads = [*self.workloads, *selected]
        if not workloads and self.selector is None and service.resolution in _BY_NAME:
            return tuple((_itself(service, target),) for target in listing.targets)
        return tuple(
            in_order(
                each.endpoint(each.port(port.name) or _number(target), inside=not service.external)
                for each in workloads
                if each.address and (service.resolution is not Resolution.STATIC or each.is_told)
            )
            for port, target in zip(service.ports, listing.targets, strict=True)
        )

    def unreachable(self, listing: Listing, selected: Iterable[EntryWorkload]) -> tuple[LeftOut, ...]:
        """The workloads that it selects and cannot lead to: the DNS is asked only where the resolution says so."""
        if listing.service.resolution is not Resolution.STATIC:
            return ()
        hint = "Write its address there, or resolution: DNS here."
        return tuple(
            LeftOut(
                self.namespace,
                self.name,
                "spec.resolution",
                f'STATIC leaves out workload "{each.name}", whose address "{each.address}" is a name',
                hint,
            )
            for each in selected
            if each.address and not each.is_told
        )


def hidden(rule: EntryRule, host: str) -> LeftOut:
    """A host of an entry that is Kubernetes' own already."""
    reason = f'has no effect: "{host}" is a Service of Kubernetes, which goes before'
    return LeftOut(rule.namespace, rule.name, f"spec.hosts[{rule.hosts.index(host)}]", reason, "Take it out.")


def entry_rule(source: api.ServiceEntry, trust_domain: str) -> EntryRule:
    """Translate a ServiceEntry that has passed its checks."""
    meta, spec = source.metadata, source.spec
    resolution = Resolution(spec.resolution or "NONE")
    ports = [port for port in spec.ports if _carried(port, resolution)]
    dialled = resolution in {Resolution.NONE, Resolution.DYNAMIC_DNS}
    selector = None if spec.workload_selector is None else sorted_labels(spec.workload_selector.labels)
    listings = tuple(
        Listing(
            service=Service(
                hostname=host.lower(),
                name=host.lower(),
                namespace=meta.namespace,
                addresses=_single(spec.addresses),
                ports=tuple(
                    ServicePort(each.name, each.number, _protocol(each), (each.target_port or 0) if dialled else 0)
                    for each in ports
                ),
                resolution=resolution,
                external=spec.location != "MESH_INTERNAL",
                allocated=allocated(source, host),
                subject_alt_names=spec.subject_alt_names,
                kubernetes=False,
            ),
            selector=selector or (),
            targets=tuple(each.target_port or each.number for each in ports),
            export_to=exported_to(spec.export_to, meta.namespace),
            origin=meta.name,
        )
        for host in spec.hosts
    )
    workloads = (described(each, namespace=meta.namespace, trust_domain=trust_domain) for each in spec.endpoints)
    return EntryRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        listings=listings,
        selector=selector,
        workloads=tuple(workloads),
    )


def joins(first: Listing, other: Listing) -> bool:
    """Whether two entries of one namespace describe one service, so that their ports and endpoints add up."""
    one, two = first.service, other.service
    return (
        (one.namespace, one.resolution, one.external) == (two.namespace, two.resolution, two.external)
        and first.selector == other.selector
        and first.export_to == other.export_to
    )


def joined(first: Registered, other: Registered) -> Registered:
    """One service out of two entries: of a port that both have the first's stands, with the endpoints of both."""
    service, more = first.service, other.service
    numbers = {port.number: index for index, port in enumerate(service.ports)}
    ports, targets, found = list(service.ports), list(first.listing.targets), list(first.endpoints)
    for port, target, each in zip(more.ports, other.listing.targets, other.endpoints, strict=True):
        index = numbers.get(port.number)
        if index is None:
            ports.append(port)
            targets.append(target)
            found.append(each)
        elif ports[index].name == port.name:
            found[index] = in_order((*found[index], *each))
    merged = replace(
        service,
        ports=tuple(ports),
        addresses=(addresses := tuple(dict.fromkeys((*service.addresses, *more.addresses)))),
        allocated=() if addresses else (*service.allocated, *more.allocated),
        subject_alt_names=tuple(dict.fromkeys((*service.subject_alt_names, *more.subject_alt_names))),
    )
    return replace(
        first, listing=replace(first.listing, service=merged, targets=tuple(targets)), endpoints=tuple(found)
    )


def _carried(port: api.EntryPort, resolution: Resolution) -> bool:
    protocol = _protocol(port)
    if resolution is Resolution.DYNAMIC_DNS:
        return protocol in _READABLE
    return protocol is not Protocol.UDP


def _protocol(port: api.EntryPort) -> Protocol:
    if port.protocol:
        return PROTOCOLS[port.protocol.lower()]
    return Protocol.TCP if port.number in SERVER_FIRST else Protocol.AUTO


def _single(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses, with ranges of one address as that address."""
    return tuple(each.removesuffix("/32" if ":" not in each else "/128") for each in dict.fromkeys(addresses))


def _itself(service: Service, target: int | str) -> Endpoint:
    return Endpoint(service.hostname, _number(target), namespace=service.namespace)


def _number(target: int | str) -> int:
    return target if isinstance(target, int) else 0


def in_order(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Sorted by address, each place once: the first that names it."""
    found: dict[tuple[str, int], Endpoint] = {}
    for each in endpoints:
        found.setdefault((each.address, each.port), each)
    return tuple(found[place] for place in sorted(found))
