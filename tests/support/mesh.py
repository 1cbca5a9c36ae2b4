"""Views for tests: the services of the walkthrough's cluster, and pieces to make others from."""

from weft.model.routing import Destination, HostRoutes, HttpRoute
from weft.model.services import Endpoint, InboundPort, Labels, Protocol, Proxy, Service, ServicePort
from weft.model.traffic import HostTraffic
from weft.model.view import PortView, ServiceView, View


def endpoint(
    address: str, port: int, *, namespace: str = "sidecar", account: str = "default", labels: Labels = ()
) -> Endpoint:
    """An endpoint with a sidecar."""
    return Endpoint(
        address,
        port,
        labels=labels,
        mutual_tls=True,
        identity=f"spiffe://cluster.local/ns/{namespace}/sa/{account}",
        workload="workload",
        namespace=namespace,
    )


def service_view(
    name: str,
    address: str,
    ports: list[tuple[str, int, Protocol]],
    *,
    namespace: str = "sidecar",
    endpoints: tuple[Endpoint, ...] = (),
    routes: HostRoutes | None = None,
    traffic: HostTraffic | None = None,
    headless: bool = False,
) -> ServiceView:
    """A service whose ports all have the same endpoints, with routes to itself unless others are given."""
    hostname = f"{name}.{namespace}.svc.cluster.local"
    service = Service(
        hostname=hostname,
        name=name,
        namespace=namespace,
        addresses=() if headless else (address,),
        ports=tuple(ServicePort(*port) for port in ports),
        headless=headless,
    )
    views = tuple(PortView(number, endpoints, routes or to_itself(hostname, number)) for _, number, _ in ports)
    return ServiceView(service, traffic or HostTraffic(), views)


def to_itself(hostname: str, port: int) -> HostRoutes:
    """The routes of a service without rules."""
    return HostRoutes((HttpRoute((Destination(hostname, port, "", 100),)),))


def view(*services: ServiceView, namespace: str = "sidecar", inbound: tuple[InboundPort, ...] = ()) -> View:
    """The view of a proxy at 10.244.0.7."""
    proxy = Proxy("toolbox", namespace, "10.244.0.7", inbound=inbound)
    return View(proxy, tuple(sorted(services, key=lambda each: each.service.hostname)))


NGINX_INBOUND = InboundPort(80, Protocol.HTTP, "nginx.sidecar.svc.cluster.local", 80)


def walkthrough() -> View:
    """What toolbox saw in namespace sidecar, once nginx ran there."""
    system = "istio-system"
    return view(
        service_view("kubernetes", "10.96.0.1", [("https", 443, Protocol.HTTPS)], namespace="default"),
        service_view(
            "istio-egressgateway",
            "10.101.85.142",
            [("http2", 80, Protocol.HTTP2), ("https", 443, Protocol.HTTPS)],
            namespace=system,
        ),
        service_view(
            "istio-ingressgateway",
            "10.108.4.104",
            [
                ("status-port", 15021, Protocol.AUTO),
                ("http2", 80, Protocol.HTTP2),
                ("https", 443, Protocol.HTTPS),
                ("tcp", 31400, Protocol.TCP),
                ("tls", 15443, Protocol.TLS),
            ],
            namespace=system,
        ),
        service_view(
            "istiod",
            "10.107.180.168",
            [
                ("grpc-xds", 15010, Protocol.GRPC),
                ("https-dns", 15012, Protocol.HTTPS),
                ("https-webhook", 443, Protocol.HTTPS),
                ("http-monitoring", 15014, Protocol.HTTP),
            ],
            namespace=system,
        ),
        service_view(
            "kube-dns",
            "10.96.0.10",
            [("dns", 53, Protocol.UDP), ("dns-tcp", 53, Protocol.TCP), ("metrics", 9153, Protocol.AUTO)],
            namespace="kube-system",
        ),
        service_view(
            "nginx",
            "10.100.93.113",
            [("http", 80, Protocol.HTTP)],
            endpoints=(endpoint("10.244.0.6", 80),),
        ),
        inbound=(NGINX_INBOUND,),
    )
