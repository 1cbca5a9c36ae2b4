"""What the proxies that obey a Sidecar get to see."""

from dataclasses import replace

from weft.model.clients import Client
from weft.model.resolution import Directory
from weft.model.services import Protocol
from weft.model.sidecars import Capture, Listening, SidecarRule
from weft.model.unregistered import PORT
from weft.model.view import EgressView, HostView, ScopeView, ServiceView
from weft.model.view_memo import ViewMemo

Services = tuple[ServiceView, ...]
Hosts = tuple[HostView, ...]


def scoped(
    rule: SidecarRule, client: Client, directory: Directory, memo: ViewMemo
) -> tuple[Services, Hosts, ScopeView]:
    """The services on listeners of their own ports, the hosts without one, and all else of the outbound side."""
    services: Services = ()
    hosts: Hosts = ()
    listeners: list[EgressView] = []
    reached: dict[str, ServiceView] = {}
    address, capture = "", Capture.LED
    for each in rule.egress:
        seen_by = replace(client, imports=each.imports(client.namespace))
        seen = memo.services(directory, seen_by)
        reached |= {view.service.hostname: view for view in memo.reached(directory, seen_by)}
        if each.listening is None:
            services, address, capture = seen, each.address, each.capture
            hosts = memo.hosts(directory, seen_by)
        else:
            known = memo.hosts(directory, seen_by) if _routes_unregistered(each.listening) else ()
            listeners.append(EgressView(each.listening, seen, known))
    listed = {view.service.hostname for view in services}
    more = tuple(view for name, view in sorted(reached.items()) if name not in listed)
    return services, hosts, ScopeView(tuple(listeners), more, rule.unlisted, address, capture, rule.full_name)


def _routes_unregistered(listening: Listening) -> bool:
    return listening.port == PORT and listening.protocol.is_http


def with_proxy_port(scope: ScopeView, services: Services, port: int) -> ScopeView:
    """With a port on the loopback where the sidecar serves as an HTTP proxy (MeshConfig, proxyHttpPort)."""
    listening = Listening(port, Protocol.HTTP, "127.0.0.1", Capture.DIALLED, proxy=True, table="http_proxy")
    return replace(scope, egress=(*scope.egress, EgressView(listening, services)))
