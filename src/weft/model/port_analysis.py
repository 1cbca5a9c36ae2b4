"""What is odd about the ports of services: names that do not tell the protocol, and addresses that two claim."""

from collections.abc import Iterable, Iterator
from typing import Final

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.clients import EVERYWHERE
from weft.model.registered import Registered
from weft.model.services import Protocol, Service, ServicePort

# those of Kubernetes itself, as Istio's analysis has it
_SYSTEM: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", "local-path-storage"})


def problems(services: Iterable[Registered], root_namespace: str) -> Iterator[Problem]:
    """Everything odd; services come in the order in which the first claim of an address counts.

    Nobody is told of names in namespaces that belong to Kubernetes or to the mesh.
    """
    others = {*_SYSTEM, root_namespace}
    listed = [each for shared in services for each in shared.all]
    for registered in listed:
        if registered.service.kubernetes and registered.service.namespace not in others:
            yield from _names(registered)
    yield from _claims(listed)


def _names(registered: Registered) -> Iterator[Problem]:
    for port in registered.service.ports:
        if port.protocol is Protocol.AUTO:
            message = (
                f'the name "{port.name}" does not tell what port {port.number} speaks: it is found out each time.'
            )
            hint = "Begin it with the protocol, as in http-web, or set appProtocol."
            yield _report(registered).info("spec.ports", message, hint, codes.PORT_NAME)


def _claims(listed: list[Registered]) -> Iterator[Problem]:
    """Two services of connections at one address and port: nothing tells them apart. HTTP goes by its host."""
    taken: dict[tuple[str, int], Registered] = {}
    for http in (False, True):
        for registered in listed:
            for port in registered.service.ports:
                if port.protocol.is_http is not http:
                    continue
                for address in _claimed(registered.service, port):
                    place = (address, port.number)
                    first = taken.get(place) if http else taken.setdefault(place, registered)
                    if first is not None and first is not registered and _meet(first, registered):
                        yield _shadowed(registered, place, first)


def _claimed(service: Service, port: ServicePort) -> tuple[str, ...]:
    """The addresses at which the port takes every connection; empty for any address."""
    if service.headless or service.external_name:
        return ()
    plain = tuple(each for each in service.addresses if "/" not in each)
    if port.protocol.is_http:
        return plain
    if port.protocol in {Protocol.TLS, Protocol.HTTPS}:
        # of entries, the server's name tells them apart
        return plain if service.kubernetes else ()
    return service.addresses or ("",)


def _meet(one: Registered, other: Registered) -> bool:
    """Whether some client sees both."""
    a, b = one.listing.export_to, other.listing.export_to
    return EVERYWHERE in a or EVERYWHERE in b or not a.isdisjoint(b)


def _shadowed(registered: Registered, place: tuple[str, int], first: Registered) -> Problem:
    address, number = place
    where = f"{address}:{number}" if address else f"port {number} of any address"
    message = f'{where} belongs to "{first.service.hostname}" already, so connections there do not reach this one.'
    hint = "Give one of them another address or port."
    return _report(registered).warning("spec.ports", message, hint, codes.SHADOWED)


def _report(registered: Registered) -> Report:
    service, listing = registered.service, registered.listing
    kind = "Service" if service.kubernetes else "ServiceEntry"
    return Report(At(kind=kind, namespace=service.namespace, name=listing.origin or service.name))
