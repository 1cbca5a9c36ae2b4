"""The listeners that a Sidecar names: one port or socket for some of the services."""

from dataclasses import replace

from weft.model.services import Protocol, Resolution
from weft.model.sidecars import Capture, Listening
from weft.model.streams import EVERY
from weft.model.view import EgressView
from weft.xds.ground import Ground
from weft.xds.listeners import ANYWHERE, OutboundListener
from weft.xds.service_listeners import stream_parts, to_itself, without_repetition
from weft.xds.streams import Stream


def table(listening: Listening) -> str:
    """The name of the table of the listener's requests."""
    if listening.table:
        return listening.table
    return str(listening.port) if listening.port else listening.address


def ports_matter(listening: Listening) -> bool:
    """Whether requests say by their host's port which of its ports they are for."""
    return listening.proxy or not listening.port


def egress_listener(view: EgressView, ground: Ground) -> OutboundListener:
    """The listener; what comes is what its port's protocol says, whatever the services' ports do."""
    listening, mesh = view.listening, ground.mesh
    bound = listening.capture is Capture.DIALLED
    requests = listening.protocol.is_http
    return OutboundListener(
        address=listening.address or ANYWHERE,
        port=listening.port,
        table=table(listening) if requests else "",
        streams=() if requests else without_repetition(_streams(view, bound=bound)),
        otherwise=ground.otherwise.connections,
        silence=mesh.http_silence if requests else mesh.silence,
        bound=bound,
        looks_up=ground.otherwise.looks_up
        or any(each.service.resolution is Resolution.DYNAMIC_DNS for each in view.services),
    )


def _streams(view: EgressView, *, bound: bool) -> list[Stream]:
    """The routes of connections to each service: told apart by the address dialled, where it is the service's."""
    found: list[Stream] = []
    for each in view.services:
        blocks = () if bound or view.listening.address else each.service.addresses
        for port, port_view in zip(each.service.ports, each.ports, strict=True):
            if port.protocol is Protocol.UDP:
                continue
            routes = port_view.streams or (to_itself(each, port, EVERY),)
            narrowed = (
                replace(one, match=replace(one.match, destinations=one.match.destinations or blocks))
                for one in routes
            )
            found += stream_parts(each, port, narrowed)
    return found
