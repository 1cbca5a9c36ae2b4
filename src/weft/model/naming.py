"""Under which names a service is told to the DNS servers of proxies; these keep them in a `NameTable`."""

from collections.abc import Iterable
from ipaddress import ip_address

from weft.model.name_table import KUBERNETES, Named
from weft.model.services import Service
from weft.model.view import ServiceView


def named(view: ServiceView) -> tuple[Named, ...]:
    """The names of one service: its own and, where it is headless, those of its pods; none without addresses."""
    service = view.service
    if not service.headless:
        # what a proxy captures is IPv4: an address of the other kind would lead past it
        allocated = (each for each in service.allocated if ":" not in each)
        addresses = _addresses(service.addresses or allocated)
        return (_named(service, addresses),) if addresses else ()
    every: set[str] = set()
    pods: dict[str, set[str]] = {}
    for port in view.ports:
        for endpoint in port.endpoints:
            if endpoint.healthy:
                every.add(endpoint.address)
                if endpoint.hostname:
                    pods.setdefault(endpoint.hostname, set()).add(endpoint.address)
    if not every:
        return ()
    own = _named(service, _addresses(every))
    below = (
        Named(
            hostname=f"{pod}.{service.hostname}",
            addresses=_addresses(addresses),
            registry=KUBERNETES,
            shortname=f"{pod}.{service.name}",
            namespace=service.namespace,
        )
        for pod, addresses in sorted(pods.items())
    )
    return (own, *below)


def _named(service: Service, addresses: tuple[str, ...]) -> Named:
    if not service.kubernetes:
        return Named(service.hostname, addresses)
    return Named(service.hostname, addresses, KUBERNETES, service.name, service.namespace)


def _addresses(written: Iterable[str]) -> tuple[str, ...]:
    """Those that a record can hold, in stable order: no ranges."""
    found = []
    for each in written:
        try:
            found.append(ip_address(each))
        except ValueError:
            continue
    return tuple(str(each) for each in sorted(found, key=lambda each: (each.version, int(each))))
