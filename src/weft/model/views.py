"""What one proxy is to know, out of a snapshot."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from weft.model.authorization import Authorization
from weft.model.clients import Client, sorted_labels
from weft.model.external_authorization import Provider
from weft.model.inbound import served
from weft.model.kubernetes import Workload
from weft.model.locality import NETWORK, place_labels
from weft.model.registered import Registered
from weft.model.router_view import Edge
from weft.model.scopes import scoped, with_proxy_port
from weft.model.services import Endpoint, InboundPort, Labels, Proxy, ProxyKind
from weft.model.sidecars import Capture
from weft.model.snapshot import Snapshot
from weft.model.topology import topology
from weft.model.view import WHOLE_MESH, ScopeView, View

SELF_DISCOVERY: Final = ("ENABLE_SELF_DISCOVERY", "true")
"""The entry of a proxy's metadata by which it asks for the workloads like its own."""

UNCAPTURED: Final = ("INTERCEPTION_MODE", "NONE")
"""In the metadata of a sidecar that nothing leads traffic to: the application dials its listeners itself."""


def view(snapshot: Snapshot, proxy: Proxy) -> View:
    """The services that a proxy sees, resolved for it, and the ports of its own workload.

    Proxies of one namespace that no rule tells apart by labels get the very same tuple of services. Inbound ports
    that the proxy already has are kept; else those of the services that select it are filled in.
    """
    client = Client(proxy.namespace, _labels(proxy)).narrowed(snapshot.label_keys)
    directory, memo = snapshot.directory, snapshot.memo
    patches = snapshot.directory.envoy_filters.patches(proxy)
    authorization = directory.authorizations.of(proxy, directory.services)
    tokens = directory.request_authentications.tokens(proxy.namespace, proxy.labels, directory.issuers_keys)
    if proxy.kind is ProxyKind.ROUTER:
        gateways = snapshot.directory.gateways.selecting(proxy.labels)
        edge = Edge(client, gateways, port_targets(snapshot, proxy), topology(proxy, snapshot.mesh))
        services = memo.services(directory, client)
        router = memo.routers(edge, directory, services)
        providers = memo.besides(directory, client, services, _asked(authorization))
        return View(
            proxy,
            services,
            snapshot.domain,
            snapshot.mesh,
            router=router,
            scope=ScopeView(reached=providers) if providers else WHOLE_MESH,
            patches=patches,
            client=client.labels,
            authorization=authorization,
            tokens=tokens,
        )
    sidecar = snapshot.directory.sidecars.find(proxy.namespace, proxy.labels)
    if sidecar is None:
        services, hosts, scope = memo.services(directory, client), memo.hosts(directory, client), WHOLE_MESH
    else:
        services, hosts, scope = scoped(sidecar, client, directory, memo)
    if providers := memo.besides(directory, client, (*services, *scope.reached), _asked(authorization)):
        scope = replace(scope, reached=(*scope.reached, *providers))
    if UNCAPTURED in proxy.metadata:
        scope = replace(scope, capture=Capture.DIALLED)
    if snapshot.mesh.ports.proxy:
        scope = with_proxy_port(scope, services, snapshot.mesh.ports.proxy)
    known = with_inbound(snapshot, proxy)
    return View(
        known,
        services,
        snapshot.domain,
        snapshot.mesh,
        hosts=hosts,
        patches=patches,
        scope=scope,
        client=client.labels,
        tokens=tokens,
        peers=peers(snapshot, proxy) if SELF_DISCOVERY in proxy.metadata else (),
        served=served(known, sidecar, snapshot.directory),
        authorization=authorization,
        peer_modes=snapshot.directory.peer_authentications.modes(proxy.namespace, proxy.labels),
    )


def _asked(authorization: Authorization | None) -> tuple[Provider, ...]:
    """The providers that a proxy asks."""
    custom = authorization.custom if authorization else ()
    return tuple(each.asked for each in custom if isinstance(each.asked, Provider))


def with_inbound(snapshot: Snapshot, proxy: Proxy) -> Proxy:
    """The sidecar with the ports that services lead to; those that it has already are kept."""
    if proxy.inbound or proxy.kind is ProxyKind.ROUTER:
        return proxy
    return replace(proxy, inbound=inbound_ports(snapshot, proxy))


def proxy_of(snapshot: Snapshot, namespace: str, pod: str) -> Proxy | None:
    """The proxy of a pod as the cluster knows it; None before there is one with an address."""
    found = snapshot.workloads.get((namespace, pod))
    if found is None or not found.address:
        return None
    return Proxy(
        name=pod,
        namespace=namespace,
        address=found.address,
        labels=found.labels,
        service_account=found.service_account,
        locality=found.locality,
        node=found.node,
    )


def peers(snapshot: Snapshot, proxy: Proxy) -> tuple[Endpoint, ...]:
    """The pods of a proxy's workload, sorted by address."""
    own = snapshot.workloads.get((proxy.namespace, proxy.name))
    if own is None:
        return ()
    alike = (
        each for each in snapshot.workloads.values() if (each.namespace, each.name) == (own.namespace, own.name)
    )
    found = (Endpoint(each.address, 0, locality=each.locality) for each in alike if each.address)
    return tuple(sorted(found, key=lambda each: each.address))


def _labels(proxy: Proxy) -> Labels:
    """The labels of its pod, and where it is (Istio adds the same to a workload's labels)."""
    known = place_labels(proxy.locality, proxy.node, dict(proxy.labels).get(NETWORK, ""))
    return sorted_labels(dict(proxy.labels) | known)


def inbound_ports(snapshot: Snapshot, proxy: Proxy) -> tuple[InboundPort, ...]:
    """The ports of a proxy's workload that services lead to, sorted; where several do, the first by hostname.

    A service leads to the pods that its selector fits, ready or not; one without a selector to its endpoints, and
    to a workload that is no pod at the ports that its WorkloadEntry names.
    """
    found: dict[int, InboundPort] = {}
    for port in _led_to(snapshot, proxy):
        found.setdefault(port.number, port)
    return tuple(found[number] for number in sorted(found))


def port_targets(snapshot: Snapshot, proxy: Proxy) -> tuple[tuple[int, int], ...]:
    """The ports of the services that lead to a proxy's pod, each with the pod's port behind it, sorted."""
    found: dict[int, int] = {}
    for port in _led_to(snapshot, proxy):
        found.setdefault(port.service_port, port.number)
    return tuple(sorted(found.items()))


def _led_to(snapshot: Snapshot, proxy: Proxy) -> tuple[InboundPort, ...]:
    """The ports of the services that lead to a proxy's pod, in the order of the services."""
    workload = snapshot.workloads.get((proxy.namespace, proxy.name))
    services = snapshot.memo.of_namespace(snapshot.directory, proxy.namespace)
    return snapshot.memo.inbound(proxy, services, workload, _ports)


def _ports(proxy: Proxy, services: tuple[Registered, ...], workload: Workload | None) -> tuple[InboundPort, ...]:
    labels = set(proxy.labels if workload is None else workload.labels)
    found: list[InboundPort] = []
    for registered in services:
        listing = registered.listing
        if not listing.selector:
            found += _listed(registered, proxy.address)
        elif set(listing.selector) <= labels:
            # an entry may name ports of its own, which only its endpoints tell
            own = tuple(_listed(registered, proxy.address)) if workload is None else ()
            found += own or _selected(registered, workload)
    return tuple(found)


def _selected(registered: Registered, workload: Workload | None) -> Iterator[InboundPort]:
    service, names = registered.service, dict(workload.ports if workload else ())
    for port, target in zip(service.ports, registered.listing.targets, strict=True):
        number = target if isinstance(target, int) else names.get(target, 0)
        if number:
            yield InboundPort(number, port.protocol, service.hostname, port.number, port.name)


def _listed(registered: Registered, address: str) -> Iterator[InboundPort]:
    service = registered.service
    for port, endpoints in zip(service.ports, registered.endpoints, strict=True):
        for number in {each.port for each in endpoints if each.address == address}:
            yield InboundPort(number, port.protocol, service.hostname, port.number, port.name)
