"""What the rules for connections mean for one port and one client.

Every VirtualService that names the host counts, the oldest first: connections cannot be sent back to ask the next
rule, so that their routes are joined, and of two with the same match the first wins (Istio does the same).
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weft.api.virtual_service_checks import MESH
from weft.model.clients import Client
from weft.model.resolution import Directory, resolve
from weft.model.routing import Destination, Unresolved
from weft.model.routing_rule import RoutingRule
from weft.model.services import Protocol, Service, ServicePort
from weft.model.stream_rules import StreamRule
from weft.model.streams import EVERY, StreamMatch, StreamRoute, disjoint
from weft.model.traffic import Tunnel


def stream_routes(
    service: Service, port: ServicePort, rules: Iterable[RoutingRule], client: Client, directory: Directory
) -> tuple[StreamRoute, ...]:
    """The routes of a sidecar's connections to a service port, none where all go to the service itself.

    `rules` name the service, oldest first. TLS routes hold on ports of protocol TLS and HTTPS, TCP routes on TCP
    ports, and on AUTO ports for what turns out not to be HTTP. What no TCP route takes goes to the service itself.
    """
    if port.protocol.is_http:
        return ()
    tls = port.protocol in {Protocol.TLS, Protocol.HTTPS}
    found = [
        StreamRoute(match, to, rule.full_name, tunnel(to, client, directory))
        for rule in rules
        for each in (rule.streams.tls if tls else rule.streams.tcp)
        for to in (destinations(each, port.number, client, directory),)
        for match in matches(each, client, port.number)
    ]
    if found and not tls:
        itself = (Destination(service.hostname, port.number, "", 100),)
        found.append(StreamRoute(EVERY, itself, tunnel=tunnel(itself, client, directory)))
    told_apart = disjoint([each.match for each in found])
    return tuple(
        found[index] if match is found[index].match else replace(found[index], match=match)
        for index, match in told_apart
    )


def matches(rule: StreamRule, client: Client, port: int, gateway: str = MESH) -> Iterator[StreamMatch]:
    """What remains to be tested on a connection of this client to this port."""
    for each in rule.conditions:
        if each.may_hold(client, port, gateway):
            yield each.match


def destinations(
    rule: StreamRule, port: int, client: Client, directory: Directory
) -> tuple[Destination | Unresolved, ...]:
    """The destinations of a route with their shares; those with none are left out."""
    found = ((each.weight, resolve(each, port, client, directory)) for each in rule.targets if each.weight)
    return tuple(
        each if isinstance(each, Destination) else Unresolved(each.reason, weight) for weight, each in found
    )


def tunnel(targets: tuple[Destination | Unresolved, ...], client: Client, directory: Directory) -> Tunnel | None:
    """The tunnel through the only destination of a route; several are reached without (Istio, TunnelSettings)."""
    match targets:
        case [Destination() as only] if only.hostname in directory.services:
            traffic = directory.traffic(directory.services[only.hostname].service, client)
            subset = next((each for each in traffic.subsets if each.name == only.subset), None)
            return (subset or traffic).at(only.port).tunnel
        case _:
            return None
